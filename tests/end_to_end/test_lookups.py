"""A workspace that lies elsewhere is looked up once for each build: every look-up is a round trip or two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support.fake_bases import add_base
from topcoat import pipeline
from topcoat.cli.main import main
from topcoat.errors import WorkspaceChanged
from topcoat.specs import Role, Workspace
from topcoat.testing.registry import FakeRegistry
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin


class CountedFileSystem(MemoryFileSystem):
    """Files in memory, and how often somebody asked what is at the root of them."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    root: ClassVar[str] = "/code"
    lookups: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + str(path).removeprefix("counted://").strip("/")

    def exists(self, path: str, **kwargs: Any) -> bool:
        if path == self.root:
            self.lookups.append(path)
        return bool(super().exists(path, **kwargs))


@pytest.fixture
def files() -> Iterator[CountedFileSystem]:
    """The workspace ``counted://code``, with nothing counted yet."""
    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    system = CountedFileSystem()
    system.pipe({"/code/train.py": b"print('trained')\n", "/code/.torchxignore": b"*.log\n"})
    system.lookups.clear()
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    CountedFileSystem.clear_instance_cache()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        add_base(running)
        yield running


WORKSPACE = Workspace({"counted://code": ""})


@pytest.mark.parametrize("dockerfile", [False, True])
def test_topcoat_build_looks_a_workspace_up_once(
    files: CountedFileSystem, registry: FakeRegistry, dockerfile: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if dockerfile:
        files.pipe("/code/Dockerfile.torchx", b"ARG IMAGE\nFROM $IMAGE\nCOPY train.py /made/\n")
    words = ["--image", f"{registry.host}/base:1", "--image-repo", f"{registry.host}/app"]
    for _ in range(2):
        files.lookups.clear()
        assert main(["build", "--workspace", "counted://code", *words]) == 0
        assert files.lookups == ["/code"]
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert "@sha256:" in first


def test_a_scheduler_looks_a_workspace_up_once(files: CountedFileSystem, registry: FakeRegistry) -> None:
    role = Role("trainer", f"{registry.host}/base:1", workspace=WORKSPACE)
    DockerWorkspaceMixin().build_workspaces([role], {"image_repo": f"{registry.host}/app"})
    assert role.image.startswith("sha256:")
    assert files.lookups == ["/code"]


def test_a_job_directory_looks_a_workspace_up_once(files: CountedFileSystem, tmp_path: Any) -> None:
    DirWorkspaceMixin().build_workspaces([Role("trainer", "", workspace=WORKSPACE)], {"job_dir": str(tmp_path / "job")})
    assert (tmp_path / "job/train.py").exists()
    assert files.lookups == ["/code"]


def test_a_build_that_starts_over_looks_it_up_anew(
    files: CountedFileSystem, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[object] = []
    real = pipeline.scan

    def changing(*args: Any, **kwargs: Any) -> Any:
        collected.append(kwargs["projects"])
        if len(collected) == 1:
            raise WorkspaceChanged("train.py changed")
        return real(*args, **kwargs)

    monkeypatch.setattr(pipeline, "scan", changing)
    words = ["--image", f"{registry.host}/base:1", "--image-repo", f"{registry.host}/app"]
    assert main(["build", "--workspace", "counted://code", *words]) == 0
    assert files.lookups == ["/code", "/code"]
    assert collected[0] is not collected[1]
