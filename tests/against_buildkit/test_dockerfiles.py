"""``Dockerfile.torchx`` without ``RUN``: what we carry out is what BuildKit builds, file system and settings."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.against_buildkit.bases import MTIME, BaseCase, directory, file, link, push_base
from tests.against_buildkit.buildx import Buildx, Built, Refused
from tests.against_buildkit.dockerfiles import RandomDockerfile, write_context
from tests.against_buildkit.exported import ByDesign, differences
from tests.against_buildkit.seeds import seeds
from tests.components.registries import Registry
from tests.support.images import fetch
from tests.support.pushing import fresh
from topcoat.errors import DaemonUnavailable, TopcoatError
from topcoat.specs import Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

_EXACTLY: dict[str, Any] = {"modes": "exact", "mtime": "preserve", "pythonpath": False, "quiet": True}
_SETTINGS = ["Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes", "Healthcheck",
             "Shell", "StopSignal"]  # fmt: skip
_STARTED = int(time.time())
_FIXED_DATE = 315_532_800
_SHOWN = 40

_CONTENT = (
    directory("app"), file("app/kept", mode=0o600), directory("app/dir", 0o700, 5), file("app/a.txt", uid=9),
    directory("data"), directory("data/real", 0o2770, 7), link("link", "data/real"), link("dangling", "missing/x"),
    file("file", mode=0o711), directory("usr"), directory("usr/bin"), link("bin", "usr/bin"), directory("tmp", 0o1777),
    directory("home"), directory("home/me", 0o700, 1000), directory("etc"),
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"),
    file("etc/group", b"you:x:77:\n"),
)  # fmt: skip
_BASES = (
    BaseCase("plain", (_CONTENT,), {}),
    BaseCase(
        "with settings",
        (_CONTENT[:8], _CONTENT[8:]),
        {
            "Env": ["PATH=/bin", "ONE=base", "EMPTY="],
            "Cmd": ["of", "base"],
            "Entrypoint": ["enter"],
            "WorkingDir": "/app",
            "User": "1000",
            "Labels": {"one": "1", "a.b": "base"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
            "Shell": ["/bin/dash", "-c"],
            "StopSignal": "SIGINT",
        },
    ),
    BaseCase("in a linked directory", (_CONTENT,), {"WorkingDir": "/link"}),
)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("seed", seeds(40))
def test_a_dockerfile_is_carried_out_as_buildkit_does(
    seed: int,
    registry: Registry,
    base_layers: Path,
    workspace_root: Path,
    buildx_today: Buildx,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On our side there is no builder.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("PATH", "/nonexistent")
    chance = random.Random(seed)
    bases = [push_base(case, registry, base_layers).by_digest for case in _BASES]
    base = chance.choice([*bases[:2], *bases])
    root = workspace_root / f"workspace{seed}"
    write_context(root, chance)
    plain = chance.random() < 0.8
    text = RandomDockerfile(chance, bases, plain=plain).text()
    (root / "Dockerfile.torchx").write_bytes(text.encode())
    given = {"GIVEN": "by the user"} if chance.random() < 0.3 else {}

    arguments = {"IMAGE": base, "WORKSPACE": str(root), **given}
    built = buildx_today.build(
        root / "Dockerfile.torchx", root, *(f"{name}={value}" for name, value in arguments.items()), config=True
    )
    ours = _carried_out(root, base, fresh(registry), given)

    # Whether wildcards match something depends on the ignore rules.
    if isinstance(ours, Declined) and ours.needs_builder and (not plain or "of the workspace matches" in ours.words):
        return  # a builder's work: there is no image of ours to compare
    all_differences = _differences(built, ours, registry, buildx_today)
    assert not all_differences, "\n".join([f"seed {seed}, IMAGE={base}", *all_differences[:_SHOWN], text])


class Declined(NamedTuple):
    """Our refusal to carry out a Dockerfile, or our wish for a builder."""

    needs_builder: bool
    words: str


def _carried_out(root: Path, base: str, repository: str, arguments: Mapping[str, str]) -> str | Declined:
    """Return the name of the image that we make, or our refusal."""
    cfg: dict[str, Any] = {"image_repo": repository, "build_args": dict(arguments), **_EXACTLY}
    role = Role(name="test", image=base, workspace=Workspace({str(root): ""}))
    try:
        plans = DockerWorkspaceMixin().plan_workspaces([role], cfg)
        assert plans is not None
        plans.carry_out()
    except TopcoatError as error:
        declined = Declined(isinstance(error, DaemonUnavailable), f"{type(error).__name__}: {error}")
    else:
        return role.image
    if declined.needs_builder:
        gc.collect()  # the docker package leaves a socket behind where it cannot connect
    return declined


def _differences(built: Built | Refused, ours: str | TopcoatError, registry: Registry, buildx: Buildx) -> list[str]:
    if isinstance(built, Refused):
        return [] if isinstance(ours, Declined) else [f"BuildKit refuses, and we do not: {built.words}"]
    if isinstance(ours, Declined):
        return [f"BuildKit builds, and we refuse: {ours.words}"]
    fetched = fetch(registry, ours)
    tree = buildx.export(ours)
    # What the build itself makes, as WORKDIR and a here-document do, has the date of the build, or of an earlier one:
    # BuildKit keeps here-documents even with --no-cache.
    made = [path for path, one in built.tree.items() if _STARTED <= one.mtime <= time.time() + 1]
    # Directories that a COPY names or goes through have others too; those that it finds in the context keep theirs.
    made += [path for path, one in tree.items() if one.kind == "dir" and one.mtime in (_FIXED_DATE, MTIME)]
    return [
        *differences(tree, built.tree, ByDesign(made)),
        *_other_settings(fetched.config.get("config") or {}, built.config),
    ]


def _other_settings(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    labels = {name: value for name, value in (ours.get("Labels") or {}).items() if not name.startswith("dev.topcoat.")}
    mine = {**ours, "Labels": labels}
    return [
        f"{name}: {mine.get(name)!r} here, {theirs.get(name)!r} by BuildKit"
        for name in _SETTINGS
        if (mine.get(name) or None) != (theirs.get(name) or None)
    ]
