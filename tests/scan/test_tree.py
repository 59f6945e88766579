"""Local and remote trees: what they list, and that what they read is never torn."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
import pytest
from fsspec import AbstractFileSystem

from topcoat.errors import WorkspaceChanged, WorkspaceError, WorkspaceNotFound
from topcoat.scan.content import Content, digest_at_once, digest_file, read_file
from topcoat.scan.tree import FsspecTree, LocalTree, SourceNode, Tree
from topcoat.tasks import Task
from topcoat.testing.trees import Directory, File, Link, build_tree

BIG = (2 << 20) + 17
NODE = SourceNode("link", "link", 0o777, 0, 0, 0, 0)


def in_time(function: Callable[[], object]) -> object:
    """Return what *function* returns; fail where it waits for something that never comes."""
    task = Task(function)
    task._thread.join(30)
    assert not task._thread.is_alive(), "it hangs"
    return task.result()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user whom permissions bind, which the test is for as long as it lasts."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        nobody = 65534
        root = os.geteuid() == 0
        if root:
            os.chown(directory, nobody, nobody)
            os.seteuid(nobody)
        try:
            yield Path(directory)
        finally:
            if root:
                os.seteuid(0)


@pytest.fixture
def memory() -> Iterator[AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_local_directory_is_listed_with_all_stat_values(tmp_path: Path) -> None:
    build_tree(tmp_path, {"d/file": File("12345", mode=0o640), "d/sub": Directory(mode=0o2750), "d/link": Link("sub")})
    os.mkfifo(tmp_path / "d/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "d/socket"))
        nodes = {node.name: node for node in LocalTree(str(tmp_path)).list("d")}
    st = os.stat(tmp_path / "d/file")
    assert nodes.pop("file") == SourceNode("file", "file", 0o640, 5, st.st_mtime_ns, st.st_ctime_ns, st.st_ino)
    kinds = {name: node.kind for name, node in nodes.items()}
    assert kinds == {"sub": "dir", "link": "link", "fifo": "other", "socket": "other"}
    assert nodes["sub"].mode == 0o2750


def test_a_file_that_is_deleted_while_its_directory_is_listed_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(tmp_path, {"main.py": "", ".main.py.swp": ""})
    scandir = os.scandir

    class Vanishing:
        def __init__(self, path: str) -> None:
            self._members = scandir(path)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            members = list(self._members)
            os.unlink(tmp_path / ".main.py.swp")
            return iter(members)

        def __exit__(self, *_: object) -> None:
            self._members.close()

    monkeypatch.setattr(os, "scandir", Vanishing)
    assert [node.name for node in LocalTree(str(tmp_path)).list("")] == ["main.py"]


def test_names_are_bytes(tmp_path: Path) -> None:
    odd = {b"\xff\xfe", b"new\nline", b" ", b"caf\xc3\xa9", b"caf\xe9", b"back\\slash", b"-rf"}
    build_tree(tmp_path, dict.fromkeys(odd, b"x"))
    tree = LocalTree(str(tmp_path))
    assert {os.fsencode(node.name) for node in tree.list("")} == odd
    assert all(read_file(tree, node.name) == b"x" for node in tree.list(""))


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, BIG])
def test_files_of_all_sizes_are_read_and_hashed_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    build_tree(tmp_path, {"file": content})
    tree = LocalTree(str(tmp_path))
    assert read_file(tree, "file") == content
    with tree.open("file") as source:
        assert b"".join(iter(lambda: source.read(1000), b"")) == content
    assert digest_file(tree, "file") == digest_at_once(tree, "file") == Content(size, hashlib.sha256(content).digest())


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    build_tree(tmp_path, {"file": "", "dangling": Link("nowhere")})
    tree = LocalTree(str(tmp_path))
    calls: list[Callable[[], object]] = [
        lambda: read_file(tree, "gone"),
        lambda: tree.open("gone"),
        lambda: tree.list("gone"),
        lambda: tree.list("file"),
        lambda: tree.readlink("gone", NODE),
        lambda: read_file(tree, "dangling"),
        lambda: tree.stat("dangling"),
    ]
    for call in calls:
        with pytest.raises(WorkspaceNotFound, match=str(tmp_path)):
            call()


def test_a_loop_of_links_is_an_error_in_a_tree(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": Link("b"), "b": Link("a")})
    tree = LocalTree(str(tmp_path))
    assert tree.readlink("a", NODE) == "b"
    with pytest.raises(WorkspaceError, match=r"cannot read .*/a: .*symbolic links"):
        read_file(tree, "a")


def test_an_unreadable_file_is_an_error_that_says_what_to_do(unprivileged: Path) -> None:
    build_tree(unprivileged, {"secret": File("x", mode=0o000), "locked": Directory({"x": ""}, mode=0o000)})
    tree = LocalTree(str(unprivileged))
    for call in (lambda path: read_file(tree, path), tree.open):
        with pytest.raises(WorkspaceError, match=r"cannot read .*/secret: permission denied") as caught:
            call("secret")
        assert "leave it out" in str(caught.value.hint)
    with pytest.raises(WorkspaceError, match=r"cannot read .*/locked: permission denied"):
        tree.list("locked")
    with pytest.raises(WorkspaceError, match=r"cannot read .*/locked: permission denied") as caught:
        LocalTree(str(unprivileged / "locked")).list("")
    # No rule leaves the workspace itself out.
    assert caught.value.hint == "make it readable"
    os.chmod(unprivileged / "locked", 0o700)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_a_fifo_that_replaced_a_file_is_an_error_and_does_not_block(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    tree = LocalTree(str(tmp_path))
    for call in (lambda path: read_file(tree, path), tree.open):
        with pytest.raises(WorkspaceChanged, match="is not a regular file"):
            in_time(lambda call=call: call("file"))  # type: ignore[misc]


def _interfering(monkeypatch: pytest.MonkeyPatch, interfere: Callable[[], object], times: int) -> None:
    """Have *interfere* run after each of the first *times* reads."""
    left = [times]
    open_file = LocalTree.open

    def after() -> None:
        if left[0]:
            left[0] -= 1
            interfere()

    class Source:
        def __init__(self, source: BinaryIO) -> None:
            self._source = source

        def __enter__(self) -> Source:
            return self

        def __exit__(self, *_: object) -> None:
            self._source.close()

        def fileno(self) -> int:
            return self._source.fileno()

        def seek(self, position: int) -> int:
            return self._source.seek(position)

        def read(self, size: int) -> bytes:
            data = self._source.read(size)
            after()
            return data

    monkeypatch.setattr(LocalTree, "open", lambda self, path: cast(BinaryIO, Source(open_file(self, path))))


def _rewrite(path: Path, content: bytes, *, keep_mtime: bool) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    if keep_mtime:
        time.sleep(0.02)  # a tick of the kernel's clock
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_mtime", [False, True], ids=["", "and its mtime is set back"])
@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_is_rewritten_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, keep_mtime: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    time.sleep(0.02)
    _interfering(monkeypatch, lambda: _rewrite(path, b"b" * size, keep_mtime=keep_mtime), times=1)
    digest = digest_file(LocalTree(str(tmp_path)), "file")[:2]
    assert digest == (size, hashlib.sha256(b"b" * size).digest())


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    _interfering(monkeypatch, grow, times=1)
    content = b"a" * size + b"more"
    assert digest_file(LocalTree(str(tmp_path)), "file")[:2] == (len(content), hashlib.sha256(content).digest())


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_always_changes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    versions = itertools.count()
    _interfering(monkeypatch, lambda: path.write_bytes(b"%d" % next(versions) + b"a" * size), times=1000)
    with pytest.raises(WorkspaceChanged, match="file keeps changing while it is read") as caught:
        digest_file(LocalTree(str(tmp_path)), "file")[:2]
    assert "add the line file to .torchxignore" in str(caught.value.hint)


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_always_grows_counts_as_what_it_was_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    _interfering(monkeypatch, grow, times=1000)
    found, digest = digest_file(LocalTree(str(tmp_path)), "file")[:2]
    assert found >= size
    assert digest == hashlib.sha256(path.read_bytes()[:found]).digest()


def test_a_tree_in_memory_is_listed_and_read(memory: AbstractFileSystem) -> None:
    memory.pipe({"/ws/a.py": b"one", "/ws/d/b.py": b"two", "/ws/d/big": b"x" * BIG})
    memory.makedirs("/ws/empty")
    tree = FsspecTree(memory, "/ws/")
    nodes = {node.name: node for node in tree.list("")}
    assert {name: node.kind for name, node in nodes.items()} == {"a.py": "file", "d": "dir", "empty": "dir"}
    assert (nodes["a.py"].size, nodes["a.py"].mode, nodes["d"].mode) == (3, 0o644, 0o755)
    assert nodes["a.py"].mtime > 0
    assert tree.list("empty") == []
    assert read_file(tree, "d/b.py") == b"two"
    assert tree.stat("d/b.py").size == 3
    assert digest_file(tree, "d/big")[:2] == (BIG, hashlib.sha256(b"x" * BIG).digest())
    with pytest.raises(WorkspaceNotFound):
        read_file(tree, "gone")


def test_the_root_of_a_file_system_in_memory_can_be_listed(memory: AbstractFileSystem) -> None:
    memory.pipe("/a.py", b"one")
    tree = FsspecTree(memory, "")
    assert [node.name for node in tree.list("")] == ["a.py"]
    assert read_file(tree, "a.py") == b"one"


def test_a_local_directory_through_fsspec_looks_the_same(tmp_path: Path) -> None:
    build_tree(tmp_path, {"run.sh": File("x", mode=0o755), "d": {}, "link": Link("run.sh"), "dangling": Link("no")})
    trees: tuple[Tree, ...] = (LocalTree(str(tmp_path)), FsspecTree(fsspec.filesystem("file"), str(tmp_path)))
    local, remote = ({node.name: node for node in tree.list("")} for tree in trees)
    assert {name: node.kind for name, node in local.items()} == {name: node.kind for name, node in remote.items()}
    assert local["run.sh"].mode == remote["run.sh"].mode == 0o755
    for name, target in {"link": "run.sh", "dangling": "no"}.items():
        assert trees[0].readlink(name, local[name]) == trees[1].readlink(name, remote[name]) == target


class Listed:
    """A file system that lists what it is told."""

    root_marker = ""

    def __init__(self, *infos: dict[str, Any], error: Exception | None = None) -> None:
        self._infos, self._error = infos, error

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        if self._error is not None:
            raise self._error
        return list(self._infos)


def test_a_marker_object_of_a_directory_is_the_directory() -> None:
    fs = Listed(
        {"name": "bucket/ws/", "type": "file", "size": 0},
        {"name": "bucket/ws", "type": "directory"},
        {"name": "bucket/ws/d", "type": "directory"},
        {"name": "bucket/ws/d/", "type": "directory"},
        {"name": "bucket/ws/f", "type": "file", "size": None},
    )
    nodes = FsspecTree(cast(Any, fs), "bucket/ws").list("")
    assert [(node.name, node.kind, node.size) for node in nodes] == [("d", "dir", 0), ("f", "file", 0)]


def test_an_object_that_is_file_and_directory_at_once_is_an_error() -> None:
    fs = Listed({"name": "bucket/d", "type": "file", "size": 1}, {"name": "bucket/d", "type": "directory"})
    with pytest.raises(WorkspaceError, match="bucket/d is both a file and a directory"):
        FsspecTree(cast(Any, fs), "bucket").list("")


def test_a_failure_of_a_remote_file_system_is_a_workspace_error() -> None:
    class ClientError(Exception):
        pass

    fs = Listed(error=ClientError("token expired"))
    with pytest.raises(WorkspaceError, match="cannot read bucket: token expired"):
        FsspecTree(cast(Any, fs), "bucket").list("")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"mtime": 1.5}, 1_500_000_000),
        ({"LastModified": datetime.fromtimestamp(7)}, 7_000_000_000),
        ({"created": 3}, 3_000_000_000),
        ({"mtime": None, "updated": "2020-01-01"}, 0),
    ],
)
def test_an_mtime_is_read_from_any_of_its_keys(info: dict[str, object], expected: int) -> None:
    fs = Listed({"name": "b/f", "type": "file", "size": 0, **info})
    assert FsspecTree(cast(Any, fs), "b").list("")[0].mtime == expected
