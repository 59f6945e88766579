"""From a workspace's declaration to trees: what is accepted, and what is refused with a hint."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec import AbstractFileSystem

from topcoat.errors import InvalidWorkspace, MissingDependency, WorkspaceError, WorkspaceNotFound
from topcoat.scan.scanner import scan
from topcoat.scan.sources import find_scan_roots
from topcoat.scan.tree import FsspecTree, LocalTree
from topcoat.specs.workspace import Workspace
from topcoat.testing.trees import File, Link, build_tree


@pytest.fixture(autouse=True)
def memory() -> Iterator[AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def test_a_directory_is_a_scan_root(tmp_path: Path) -> None:
    for source in (str(tmp_path), f"file://{tmp_path}", f"{tmp_path}/"):
        (project,) = find_scan_roots(Workspace({source: "lib/x"}))
        assert (project.label, project.target, project.file, project.tree.is_local) == (
            str(tmp_path),
            b"lib/x",
            None,
            True,
        )
        assert isinstance(project.tree, LocalTree)


def test_a_relative_directory_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_scan_roots(Workspace({"ws": ""}))[0].label == str(tmp_path / "ws")
    assert find_scan_roots(Workspace({".": ""}))[0].label == str(tmp_path)


def test_projects_keep_their_order(tmp_path: Path) -> None:
    build_tree(tmp_path, {"b": {}, "a": {}, "c": {}})
    roots = find_scan_roots(Workspace({str(tmp_path / name): name for name in "bac"}))
    assert [project.target for project in roots] == [b"b", b"a", b"c"]


def test_the_target_of_a_single_file_is_its_name_or_the_declared_target(
    tmp_path: Path, memory: AbstractFileSystem
) -> None:
    build_tree(tmp_path, {"train.py": File("x", mode=0o750)})
    memory.pipe("/ws/train.py", b"x")
    for source in (str(tmp_path / "train.py"), "memory://ws/train.py"):
        (project,) = find_scan_roots(Workspace({source: ""}))
        assert (project.target, project.file and project.file.name) == (b"train.py", "train.py")
        (project,) = find_scan_roots(Workspace({source: "lib/main.py"}))
        assert project.target == b"lib/main.py"
        assert project.tree.read("train.py", 1) == b"x"


def test_a_link_to_a_single_file_is_that_file(tmp_path: Path) -> None:
    build_tree(tmp_path, {"real.py": File("12345", mode=0o644), "link.py": Link("real.py")})
    (project,) = find_scan_roots(Workspace({str(tmp_path / "link.py"): ""}))
    assert project.file is not None
    assert (project.file.kind, project.file.mode, project.file.size) == ("file", 0o644, 5)
    assert project.target == b"link.py"


@pytest.mark.parametrize("source", ["gone", "dangling", "file/below"])
def test_a_missing_workspace_is_an_error(tmp_path: Path, source: str) -> None:
    build_tree(tmp_path, {"dangling": Link("gone"), "file": ""})
    with pytest.raises(WorkspaceNotFound, match="does not exist"):
        find_scan_roots(Workspace({str(tmp_path / source): ""}))
    with pytest.raises(WorkspaceNotFound, match="memory://gone does not exist"):
        find_scan_roots(Workspace({"memory://gone": ""}))


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": Link("b"), "b": Link("a")})
    with pytest.raises(WorkspaceError, match="symbolic links"):
        find_scan_roots(Workspace({str(tmp_path / "a"): ""}))


def test_a_special_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in (str(tmp_path / "fifo"), "/dev/null"):
        with pytest.raises(InvalidWorkspace, match="neither a directory nor a file"):
            find_scan_roots(Workspace({source: ""}))


@pytest.mark.parametrize("source", ["~", "/", "link-to-home", "/.//"])
def test_a_home_directory_and_a_root_are_refused(tmp_path: Path, home: Path, source: str) -> None:
    (tmp_path / "link-to-home").symlink_to(home)
    path = str(tmp_path / source) if source.startswith("link") else source
    with pytest.raises(InvalidWorkspace, match="home directory or the root of a file system") as caught:
        find_scan_roots(Workspace({path: ""}))
    assert "--workspace" in str(caught.value.hint)


def test_a_directory_below_the_home_directory_is_accepted(home: Path) -> None:
    (home / "code").mkdir()
    assert find_scan_roots(Workspace({"~/code": ""}))[0].label == str(home / "code")


def test_a_remote_directory_is_named_by_its_url(memory: AbstractFileSystem) -> None:
    memory.pipe("/ws/a.py", b"x")
    (project,) = find_scan_roots(Workspace({"memory://ws": "lib"}))
    assert (project.label, project.target, project.file, project.tree.is_local) == ("memory://ws", b"lib", None, False)
    assert isinstance(project.tree, FsspecTree)


def test_an_edit_since_a_listing_was_cached_is_seen() -> None:
    """File systems of fsspec keep their listings for as long as a process lives."""

    class Caching(AbstractFileSystem):  # type: ignore[misc]
        protocol = "topcoat-caching"
        names: ClassVar[list[str]] = ["one"]

        def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
            if path not in self.dircache:
                self.dircache[path] = [{"name": f"ws/{name}", "type": "file", "size": 0} for name in self.names]
            return list(self.dircache[path])

        def info(self, path: str, **_: object) -> dict[str, Any]:
            return {"name": path, "type": "directory"}

        def invalidate_cache(self, path: str | None = None) -> None:
            self.dircache.clear()

    fsspec.register_implementation("topcoat-caching", Caching, clobber=True)
    for _ in range(2):
        (project,) = find_scan_roots(Workspace({"topcoat-caching://ws": ""}))
        assert [node.name for node in project.tree.list("")] == Caching.names
        Caching.names.append("two")


def test_an_unknown_protocol_and_a_missing_driver_are_different_errors() -> None:
    with pytest.raises(InvalidWorkspace, match="cannot read workspace nosuch://x"):
        find_scan_roots(Workspace({"nosuch://x": ""}))
    fsspec.register_implementation("topcoat-none", "no.such.module.FileSystem", errtxt="pip install it", clobber=True)
    with pytest.raises(MissingDependency, match="cannot read workspace topcoat-none://x: pip install it"):
        find_scan_roots(Workspace({"topcoat-none://x": ""}))


def paths(source: str) -> list[bytes]:
    return [entry.path for entry in scan(Workspace({source: ""})).snapshot]


@pytest.mark.parametrize("name", ["with space", "100%", "a%20b", "é#?;x", "end "])
def test_a_url_made_by_as_uri_is_decoded(tmp_path: Path, name: str) -> None:
    build_tree(tmp_path, {name: {"x.py": ""}, "a b": {"other.py": ""}})
    assert paths((tmp_path / name).as_uri()) == [b"x.py"]
    assert paths(f"file://{tmp_path / name}") in ([b"x.py"], [b"other.py"])


def test_a_name_that_ends_in_a_space_keeps_it(tmp_path: Path) -> None:
    build_tree(tmp_path, {"code ": {"x.py ": "", "y.py": Link("x.py ")}, "code": {"other": ""}})
    workspace = Workspace.from_str(f"{tmp_path}/code ")
    assert [entry.path for entry in scan(workspace).snapshot] == [b"x.py ", b"y.py"]
    assert [entry.path for entry in scan(Workspace.from_str(f" {tmp_path}/code\n")).snapshot] == [b"other"]


def _write_zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "" if name.endswith("/") else "x")


def _write_tar(path: Path, tree: Path, arcname: str) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(tree, arcname)


def test_the_root_of_an_archive_is_scanned_to_its_end(tmp_path: Path) -> None:
    build_tree(tmp_path, {"w": {"a.py": "x", "d": {"e": {"b.py": "x"}}}})
    expected = [b"a.py", b"d", b"d/e", b"d/e/b.py"]
    _write_zip(tmp_path / "plain.zip", "a.py", "d/e/b.py")
    _write_zip(tmp_path / "with-directories.zip", "d/", "d/e/", "a.py", "d/e/b.py")
    _write_tar(tmp_path / "dot.tar", tmp_path / "w", ".")
    _write_tar(tmp_path / "named.tar", tmp_path / "w", "w")
    assert paths(f"zip://::{tmp_path}/plain.zip") == expected
    assert paths(f"zip://::{tmp_path}/with-directories.zip") == expected
    assert paths(f"tar://::{tmp_path}/dot.tar") == expected
    assert paths(f"tar://::{tmp_path}/named.tar") == [b"w", *(b"w/" + path for path in expected)]
    assert paths(f"tar://w::{tmp_path}/named.tar") == expected


def test_a_file_of_procfs_that_states_no_size_is_read_to_its_end() -> None:
    source = Path("/proc/sys/kernel/ostype")
    if not source.exists():
        pytest.skip("this machine has no procfs")
    scanned = scan(Workspace({str(source): ""}))
    (entry,) = scanned.snapshot
    assert scanned.read(entry) == source.read_bytes()
    assert entry.size == len(source.read_bytes()) > source.stat().st_size == 0
