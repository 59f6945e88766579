"""``walk_workspace`` on file systems of this machine, in memory and in an object store."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from tests.components.host import environment
from tests.components.serve import answers, free_port, serve
from tests.support import workspaces
from topcoat.errors import InvalidIgnorePattern, WorkspaceNotFound
from topcoat.workspace import TORCHX_IGNORE, walk_workspace

_TREE = {
    "train.py": "train",
    "pkg/__init__.py": "",
    "pkg/deep/mod.py": "mod",
    "data/big.bin": "big",
    "data/keep/config.yaml": "config",
    "cache/x/y/z": "z",
    "notes.log": "log",
}
_RULES = "*.log\ncache\ndata\n!data/keep/config.yaml\n"
_KEPT = {"train.py", "pkg/__init__.py", "pkg/deep/mod.py", "data/keep/config.yaml", TORCHX_IGNORE}


def _fill(fs: AbstractFileSystem, root: str, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", content.encode())


def _paths(fs: AbstractFileSystem, root: str, **options: str) -> set[str]:
    """Return the relative paths of the files of a walk."""
    start = str(fs._strip_protocol(root)).rstrip("/")
    collected = set()
    for directory, _, files in walk_workspace(fs, root, **options):
        assert directory == start or directory.startswith(f"{start}/")
        collected |= {f"{directory}/{name}"[len(start) + 1 :] for name in files}
    return collected


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = MemoryFileSystem()
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def object_store(logs: Path) -> Iterator[AbstractFileSystem]:
    """An S3 stand-in as a child of the test run, and a file system on it."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    port = free_port()
    env = environment(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    command: list[str | Path] = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serve(command, log=logs / "moto.log", env=env, ready=lambda: answers(("127.0.0.1", port))):
        fs = s3fs.S3FileSystem(
            key="testing",
            secret="testing",
            skip_instance_cache=True,
            client_kwargs={"region_name": "eu-west-1", "endpoint_url": f"http://127.0.0.1:{port}"},
        )
        fs.mkdir("bucket")
        yield fs


@pytest.mark.parametrize("root", ["memory://w", "/w", "/w/"])
def test_a_workspace_in_memory_is_walked_by_its_rules(memory: MemoryFileSystem, root: str) -> None:
    _fill(memory, "/w", {**_TREE, TORCHX_IGNORE: _RULES})
    assert _paths(memory, root) == _KEPT


def test_a_workspace_on_this_machine_is_walked_by_its_rules(tmp_path: Path) -> None:
    workspaces.write(tmp_path, {**_TREE, TORCHX_IGNORE: _RULES})
    assert _paths(LocalFileSystem(), str(tmp_path)) == _KEPT


def test_a_workspace_in_an_object_store_is_walked_by_its_rules(object_store: AbstractFileSystem) -> None:
    _fill(object_store, "bucket/w", {**_TREE, TORCHX_IGNORE: _RULES})
    for root in ("bucket/w", "s3://bucket/w", "s3://bucket/w/"):
        object_store.invalidate_cache()
        assert _paths(object_store, root) == _KEPT
    infos = {
        name: info for _, _, files in walk_workspace(object_store, "s3://bucket/w") for name, info in files.items()
    }
    assert infos["train.py"]["size"] == 5
    assert infos["train.py"]["name"] == "bucket/w/train.py"
    assert "ETag" in infos["train.py"]


def test_directories_come_with_full_paths_and_files_with_what_the_file_system_says(memory: MemoryFileSystem) -> None:
    _fill(memory, "/w", _TREE)
    walked = list(walk_workspace(memory, "/w"))
    assert [(directory, sorted(below)) for directory, below, _ in walked] == [
        ("/w", ["cache", "data", "pkg"]),
        ("/w/cache", ["x"]),
        ("/w/cache/x", ["y"]),
        ("/w/cache/x/y", []),
        ("/w/data", ["keep"]),
        ("/w/data/keep", []),
        ("/w/pkg", ["deep"]),
        ("/w/pkg/deep", []),
    ]
    for directory, _, files in walked:
        for name, info in files.items():
            stored_info = memory.info(f"{directory}/{name}")
            assert {key: info[key] for key in ("name", "type", "size")} == {
                key: stored_info[key] for key in ("name", "type", "size")
            }


class _Counting(LocalFileSystem):  # type: ignore[misc]
    """Notes which directories are listed."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        self.listed.append(str(path))
        return super().ls(path, detail=detail, **kwargs)


def test_a_walk_is_lazy_and_never_looks_into_what_is_left_out(tmp_path: Path) -> None:
    workspaces.write(tmp_path, {**_TREE, TORCHX_IGNORE: _RULES})
    fs = _Counting()
    walk = iter(walk_workspace(fs, str(tmp_path)))
    assert fs.listed == []
    next(walk)
    assert set(fs.listed) == {str(tmp_path)}
    list(walk)
    assert set(fs.listed) == {str(tmp_path / name) for name in ("", "data", "data/keep", "pkg", "pkg/deep")}


def test_exactly_the_named_file_is_obeyed(memory: MemoryFileSystem) -> None:
    _fill(memory, "/w", {**_TREE, TORCHX_IGNORE: "*.py\n", ".dockerignore": "*.log\n", "mine": "data\ncache\npkg\n"})
    everything = _TREE.keys() | {TORCHX_IGNORE, ".dockerignore", "mine"}
    assert _paths(memory, "/w") == everything - {"train.py"}
    assert _paths(memory, "/w", ignore_name=".dockerignore") == everything - {"notes.log"}
    assert _paths(memory, "/w", ignore_name="mine") == {
        "train.py",
        "notes.log",
        TORCHX_IGNORE,
        ".dockerignore",
        "mine",
    }
    assert _paths(memory, "/w", ignore_name="absent") == everything


def test_without_an_ignore_file_nothing_is_left_out(memory: MemoryFileSystem) -> None:
    _fill(memory, "/w", {".git/config": "", "__pycache__/x.pyc": ""})
    assert _paths(memory, "/w") == {".git/config", "__pycache__/x.pyc"}


def test_a_workspace_that_is_not_there(memory: MemoryFileSystem) -> None:
    with pytest.raises(WorkspaceNotFound, match="/absent"):
        list(walk_workspace(memory, "/absent"))


def test_a_bad_pattern_is_named_with_file_and_line(memory: MemoryFileSystem) -> None:
    _fill(memory, "/w", {"a": "", TORCHX_IGNORE: "ok\n[\n"})
    with pytest.raises(InvalidIgnorePattern, match=rf"/w/{TORCHX_IGNORE}.*2"):
        list(walk_workspace(memory, "/w"))


def test_links_are_files_and_are_not_followed(tmp_path: Path) -> None:
    workspaces.write(tmp_path / "w", {"real/x": ""})
    (tmp_path / "w/loop").symlink_to(".")
    (tmp_path / "w/dangling").symlink_to("nowhere")
    assert _paths(LocalFileSystem(), str(tmp_path / "w")) == {"real/x", "loop", "dangling"}
