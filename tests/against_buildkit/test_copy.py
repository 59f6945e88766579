"""``COPY . .`` without a build: our image is the one that BuildKit builds, path by path, after each edit."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.against_buildkit.bases import BaseCase, choose_base, push_base
from tests.against_buildkit.buildx import Buildx, Built, Refused
from tests.against_buildkit.exported import ByDesign, Exported, differences, way_to
from tests.against_buildkit.ignoring import write_ignore_files
from tests.against_buildkit.seeds import seeds
from tests.against_buildkit.trees import DOCKERFILE, IGNORE_FILES, RandomTree
from tests.components.images import Pushed
from tests.components.registries import Registry
from tests.support.pushing import fresh, push
from topcoat.errors import TopcoatError
from topcoat.specs import Workspace

_EXACTLY: dict[str, Any] = {"modes": "exact", "mtime": "preserve", "pythonpath": False}

_SHOWN = 40


class Options(NamedTuple):
    """Where the code goes and whom it belongs to, beyond ``COPY . .``."""

    directory: str = ""
    owner: str = ""

    @property
    def instruction(self) -> str:
        """The ``COPY`` that says the same."""
        owner = [f"--chown={self.owner}"] if self.owner else []
        return " ".join(["COPY", *owner, json.dumps([".", f"{self.directory}/" if self.directory else "."])])


def _options(chance: random.Random) -> Options:
    directory = chance.choice([""] * 6 + ["/opt/code", "/app/src", "/home/me/code/inner"])
    return Options(directory, chance.choice([""] * 6 + ["1000", "1000:2000", "0:33"]))


@pytest.mark.parametrize("seed", seeds(30))
def test_the_image_is_what_copy_gives(
    seed: int, request: pytest.FixtureRequest, registry: Registry, base_layers: Path, workspace_root: Path
) -> None:
    chance = random.Random(seed)
    case, options = choose_base(chance), _options(chance)
    engine = chance.choice(["buildx_classic" if case.engines_agree else "buildx_today", "buildx_today", "buildx_today"])
    buildx: Buildx = request.getfixturevalue(engine)
    base = push_base(case, registry, base_layers, flavour=chance.choice(["oci", "docker"]))
    tree = RandomTree(workspace_root / f"workspace{seed}", chance)
    tree.grow()
    comparison = _Comparison(buildx, case, base, options, fresh(registry), tree)
    for step in range(chance.choice([2, 3, 4])):
        if step:
            tree.edit()
        if not step or chance.random() < 0.2:
            write_ignore_files(tree, comparison.ignore_file, chance)
        problems = comparison.of_directory()
        assert not problems, _report(f"seed {seed}, step {step}, {engine}, {comparison}", problems)


@pytest.mark.parametrize("seed", seeds(5))
def test_names_that_are_no_utf8_are_what_copy_gives(
    seed: int, registry: Registry, base_layers: Path, workspace_root: Path, buildx_today: Buildx
) -> None:
    # BuildKit takes such names from a tar alone, and does not look for a .dockerignore in one.
    chance = random.Random(seed)
    case, options = choose_base(chance), _options(chance)
    base = push_base(case, registry, base_layers)
    tree = RandomTree(workspace_root / "workspace", chance, raw=True)
    (tree.root / ".dockerignore").touch()
    tree.grow()
    comparison = _Comparison(buildx_today, case, base, options, fresh(registry), tree)
    for step in range(2):
        if step:
            tree.edit()
        problems = comparison.of_archive()
        assert not problems, _report(f"seed {seed}, step {step}, {comparison}", problems)


def _report(what: str, problems: list[str]) -> str:
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join([what, *problems[:_SHOWN], *more])


class _Comparison:
    """One workspace over one base, built both ways as often as it is asked for."""

    def __init__(
        self, buildx: Buildx, case: BaseCase, base: Pushed, options: Options, repository: str, tree: RandomTree
    ) -> None:
        self._described = f"base {case.name!r} ({base.reference}), {options.instruction}"
        self._buildx, self._base, self._options = buildx, base, options
        self._repository, self._tree = repository, tree
        self._target = options.directory or case.config.get("WorkingDir") or "/"
        self._builds = 0
        self._text = f"FROM {base.by_digest}\n{options.instruction}\n"
        self._dockerfile = tree.root.parent / "Dockerfile"
        self._dockerfile.write_text(self._text)
        self.ignore_file = Path(f"{self._dockerfile}.dockerignore")

    def __str__(self) -> str:
        return self._described

    def of_directory(self) -> list[str]:
        """Build both ways from the directory and return the differences."""
        return self._differences(self._buildx.build(self._dockerfile, self._anew()), self._patched())

    def of_archive(self) -> list[str]:
        """Build both ways, BuildKit from a tar of the directory, and return the differences."""
        packed = io.BytesIO()
        (self._tree.root / DOCKERFILE).write_text(self._text)
        self._tree.settle()
        with tarfile.open(fileobj=packed, mode="w", encoding="utf-8", errors="surrogateescape") as tar:
            # The first header has to be a plain one for buildx to see that this is a tar.
            for name in sorted(os.listdir(self._tree.root), key=lambda name: (name != DOCKERFILE, name)):
                tar.add(self._tree.root / name, name, filter=_of_root)
        return self._differences(self._buildx.build(DOCKERFILE, packed.getvalue()), self._patched())

    def _anew(self) -> Path:
        """Return the workspace under a name that BuildKit has not seen.

        It keeps what it was sent by the last part of the path, and what changes inside a directory that it has
        already loses it that directory's date.
        """
        self._builds += 1
        root = self._tree.root
        alias = root.parent / f"{root.name}-{self._builds}"
        alias.symlink_to(root)
        return alias

    def _patched(self) -> Mapping[bytes, Exported] | TopcoatError:
        chosen = {"workspace_dir": self._options.directory, "chown": self._options.owner}
        workspace = Workspace({str(self._tree.root): ""})
        try:
            image = push(workspace, self._base, self._repository, **chosen, **_EXACTLY).image
        except TopcoatError as error:
            return error
        return self._buildx.export(image)

    def _differences(self, built: Built | Refused, ours: Mapping[bytes, Exported] | TopcoatError) -> list[str]:
        if isinstance(built, Refused):
            return [] if isinstance(ours, TopcoatError) else [f"BuildKit refuses, and we do not: {built.words}"]
        if isinstance(ours, TopcoatError):
            return [f"BuildKit builds, and we refuse: {type(ours).__name__}: {ours}"]
        way = way_to(built.tree, os.fsencode(self._target))
        target = way[-1] + b"/" if way else b""
        special = {target + path for path in self._tree.special()}
        return differences(ours, built.tree, ByDesign(way, special, self._has_negation()))

    def _has_negation(self) -> bool:
        """Tell whether an ignore file has a rule that brings something back."""
        files = [self._tree.root / name for name in IGNORE_FILES]
        return any(b"!" in file.read_bytes() for file in files if file.exists())


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.mtime = int(member.mtime)
    member.uname = member.gname = ""
    return member
