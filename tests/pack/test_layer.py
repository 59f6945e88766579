"""Packing: a layer is what its group says, to the byte, in constant memory, or it is not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from topcoat.errors import MissingDependency, StateError, WorkspaceChanged, WorkspaceError
from topcoat.oci.compression import compression_of, decompressed
from topcoat.pack import layer as module
from topcoat.pack.cut import EntryGroup, cut
from topcoat.pack.layer import Directory as Parent
from topcoat.pack.layer import Packed, PackOptions, pack
from topcoat.pack.tar import Ownership
from topcoat.scan.scanner import Scan, ScanOptions, scan
from topcoat.scan.tree import LocalTree
from topcoat.specs.workspace import Workspace
from topcoat.state import spool_dir
from topcoat.testing.trees import Directory, File, Link, Tree, assert_same_tree, build_tree

MIB = 1 << 20
PLAIN = PackOptions(b"", (), compression="none")
TREE: Tree = {
    ".torchxignore": "",
    "train.py": "print(1)\n",
    "run.sh": File("#!/bin/sh\n", mode=0o755),
    "src": {"empty": {}, "latest": Link("../train.py"), b"\xff\n": b"odd"},
    "nothing": "",
}


def look(path: Path, **options: Any) -> Scan:
    return scan(Workspace({str(path): ""}), ScanOptions(**options))


def one_group(scanned: Scan) -> EntryGroup:
    return EntryGroup(scanned.snapshot.entries, ())


def packed_tree(path: Path, options: PackOptions = PLAIN) -> Packed:
    scanned = look(path)
    return pack(one_group(scanned), scanned, options)


def members(packed: Packed) -> dict[bytes, tarfile.TarInfo]:
    with tarfile.open(fileobj=packed.blob, encoding="utf-8", errors="surrogateescape") as tar:
        members_by_path = {os.fsencode(member.name): member for member in tar}
    packed.blob.seek(0)
    return members_by_path


def extract(packed: Packed, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    options: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
    tar_file = io.BytesIO(decompressed(packed.blob).read())
    with tarfile.open(fileobj=tar_file, encoding="utf-8", errors="surrogateescape") as tar:
        tar.extractall(directory, **options)


@pytest.fixture
def clean() -> Iterator[None]:
    """Nothing that a test began is still there at its end: no thread, no open file, no file in the spool."""
    spool = spool_dir()
    threads, handles = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
    yield
    # What an earlier test left behind may well end meanwhile.
    assert set(threading.enumerate()) <= threads
    assert set(os.listdir("/proc/self/fd")) <= handles
    assert os.listdir(spool) == []


# What is packed.


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_extracts_to_the_workspace(tmp_path: Path, compression: module.Compression) -> None:
    build_tree(tmp_path / "ws", TREE)
    build_tree(tmp_path / "ws", {"big": bytes(range(256)) * (5 * MIB // 256) + b"x"})
    packed = packed_tree(tmp_path / "ws", PLAIN._replace(compression=compression))
    extract(packed, tmp_path / "out")
    assert_same_tree(tmp_path / "out", tmp_path / "ws")


@pytest.mark.parametrize("size", [100, 5 * MIB, 20 * MIB])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_digests_and_size_are_those_of_the_bytes(tmp_path: Path, size: int, compression: module.Compression) -> None:
    build_tree(tmp_path, {"a": os.urandom(size), "b": "x"})
    layer, blob = packed_tree(tmp_path, PLAIN._replace(compression=compression))
    with blob:
        stored = blob.read()
    tar = decompressed(io.BytesIO(stored)).read()
    assert compression_of(stored) == compression
    assert layer.digest == f"sha256:{hashlib.sha256(stored).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert layer.size == len(stored)


def test_equal_content_gives_equal_layers_everywhere(tmp_path: Path) -> None:
    build_tree(tmp_path / "one", TREE)
    build_tree(tmp_path / "two", TREE)
    for top, _, names in os.walk(tmp_path / "two"):
        for name in names:
            os.utime(os.path.join(top, name), ns=(0, 0), follow_symlinks=False)
            if name == "train.py":
                os.chmod(os.path.join(top, name), 0o600)
    gz = PLAIN._replace(compression="gzip")
    assert packed_tree(tmp_path / "one", gz).layer == packed_tree(tmp_path / "two", gz).layer
    build_tree(tmp_path / "two", {"run.sh": File("#!/bin/sh\n", mode=0o644)})
    assert packed_tree(tmp_path / "one", gz).layer != packed_tree(tmp_path / "two", gz).layer


def test_the_layer_of_a_known_tree_never_changes(tmp_path: Path) -> None:
    """Another value means that every layer that was ever pushed is pushed anew. tarfile arrives at it too."""
    build_tree(tmp_path, TREE)
    packed = packed_tree(tmp_path, PackOptions(b"app/code", (Parent(b"app"), Parent(b"app/code"))))
    assert packed.layer.diff_id == "sha256:0039517c7f20a764c93fabc8793d757a2e8190dbaad61ac0b07f6e2d306961cd"


def test_zstd_gives_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    build_tree(tmp_path, {f"m{number}.py": f"def f{number}(x): return x + {number}\n" * 50 for number in range(200)})
    zstd, gz = PLAIN._replace(compression="zstd"), PLAIN._replace(compression="gzip")
    first, second = packed_tree(tmp_path, zstd), packed_tree(tmp_path, zstd)
    assert first.layer == second.layer
    assert first.blob.read() == second.blob.read()
    assert first.layer.diff_id == packed_tree(tmp_path, gz).layer.diff_id


def test_a_key_of_a_zstd_layer_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    zstandard = pytest.importorskip("zstandard")
    zstd = PLAIN._replace(compression="zstd")
    before = zstd.identity()
    assert ".".join(map(str, zstandard.ZSTD_VERSION)) in before
    monkeypatch.setattr("zstandard.ZSTD_VERSION", (1, 0, 0))
    assert zstd.identity() != before


def test_zstd_is_an_optional_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingDependency, match="zstandard package") as raised:
        PLAIN._replace(compression="zstd").identity()
    assert raised.value.hint == "pip install 'topcoat[zstd]'"
    assert PLAIN._replace(compression="gzip").identity()


def test_gzip_headers_have_no_time_and_no_name(tmp_path: Path) -> None:
    build_tree(tmp_path, TREE)
    head = packed_tree(tmp_path, PLAIN._replace(compression="gzip")).blob.read(10)
    magic, method, flags, mtime = head[:2], head[2], head[3], head[4:8]
    assert (magic, method, flags, mtime) == (b"\x1f\x8b", 8, 0, bytes(4))


def test_every_member_is_below_the_target_and_its_parents_come_first(tmp_path: Path) -> None:
    build_tree(tmp_path, TREE)
    parents = (Parent(b"home", 0o711, Ownership(0, 5)), Parent(b"home/me", 0o700, Ownership(7, 7)))
    options = PLAIN._replace(target=b"home/me", parents=parents, owner=Ownership(1000, 1001))
    packed_members = members(packed_tree(tmp_path, options))
    assert list(packed_members)[:2] == [b"home", b"home/me"]
    assert [
        (packed_members[path].mode, packed_members[path].uid, packed_members[path].gid)
        for path in (b"home", b"home/me")
    ] == [
        (0o711, 0, 5),
        (0o700, 7, 7),
    ]
    below = list(packed_members)[2:]
    assert below == sorted(below)
    assert all(path.startswith(b"home/me/") for path in below)
    assert {(packed_members[path].uid, packed_members[path].gid) for path in below} == {(1000, 1001)}


def test_a_group_repeats_the_directories_above_its_members(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": Directory({"b": Directory({"x": b"1" * MIB, "y": b"2" * MIB}, mode=0o700)}, mode=0o711)})
    scanned = look(tmp_path, modes="exact")
    groups = [group for group in cut(scanned.snapshot.entries) if group.members[0].kind == "file"]
    assert len(groups) == 2
    for group, name in zip(groups, [b"a/b/x", b"a/b/y"], strict=True):
        packed_members = members(pack(group, scanned, PLAIN))
        assert list(packed_members) == [b"a", b"a/b", name]
        assert (packed_members[b"a"].mode, packed_members[b"a/b"].mode) == (0o711, 0o700)


def test_mtimes_are_preserved_on_request_and_derived_from_content_otherwise(tmp_path: Path) -> None:
    build_tree(tmp_path, {"new": File("x", mtime=1_700_000_000_999_999_999), "old": File("x", mtime=-5_000_000_000)})
    packed_members = members(packed_tree(tmp_path, PLAIN._replace(preserve_mtimes=True)))
    assert {name: member.mtime for name, member in packed_members.items()} == {b"new": 1_700_000_000, b"old": 0}
    packed_members = members(packed_tree(tmp_path))
    assert packed_members[b"new"].mtime == packed_members[b"old"].mtime < 946_684_800


def test_an_empty_group_is_an_empty_archive(tmp_path: Path) -> None:
    build_tree(tmp_path, {})
    assert members(packed_tree(tmp_path)) == {}


# How it is packed.


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_memory_use_does_not_depend_on_the_size_of_a_file(tmp_path: Path, compression: module.Compression) -> None:
    size = 96 * MIB
    with (tmp_path / "sparse").open("wb") as out:
        out.truncate(size - 3)
        out.seek(0, os.SEEK_END)
        out.write(b"end")
    scanned = look(tmp_path)
    tracemalloc.start()
    layer, blob = pack(one_group(scanned), scanned, PLAIN._replace(compression=compression))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * MIB
    with blob, tarfile.open(fileobj=decompressed(blob), mode="r|") as tar:
        content = tar.extractfile(next(iter(tar)))
        assert content is not None
        digest = hashlib.sha256()
        while block := content.read(MIB):
            digest.update(block)
    (entry,) = scanned.snapshot.entries
    assert (entry.size, entry.content) == (size, digest.digest())
    assert layer.size > (size if compression == "none" else 0)


@pytest.mark.usefixtures("clean")
def test_a_large_layer_is_spooled_to_an_unnamed_file(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": os.urandom(9 * MIB)})
    with packed_tree(tmp_path).blob as blob:
        assert not isinstance(blob, io.BytesIO)
        assert os.listdir(spool_dir()) == []


def _rewrite(path: Path, size: int) -> None:
    path.write_bytes(b"y" * size)


def _truncate(path: Path, size: int) -> None:
    os.truncate(path, size // 2)


def _remove(path: Path, size: int) -> None:
    path.unlink()


def _replace_by_fifo(path: Path, size: int) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("change", [_rewrite, _truncate, _remove, _replace_by_fifo])
@pytest.mark.parametrize("size", [1000, 2 * MIB, 10 * MIB])
def test_a_file_that_changed_since_the_scan_fails_the_layer_and_leaves_nothing_behind(
    tmp_path: Path, change: Callable[[Path, int], None], size: int
) -> None:
    build_tree(tmp_path, {"a": "1", "m": b"x" * size, "z": "2"})
    scanned = look(tmp_path)
    change(tmp_path / "m", size)
    with pytest.raises(WorkspaceChanged, match=r"changed after it was scanned|not a regular file"):
        pack(one_group(scanned), scanned, PLAIN)


@pytest.mark.parametrize("size", [0, 1000, 2 * MIB, 10 * MIB])
def test_a_file_that_grew_since_the_scan_is_packed_as_it_was_scanned(tmp_path: Path, size: int) -> None:
    build_tree(tmp_path, {"a": "1", "run.log": b"x" * size, "z": "2"})
    scanned = look(tmp_path)
    before = pack(one_group(scanned), scanned, PLAIN)
    before.blob.close()
    with (tmp_path / "run.log").open("ab") as log:
        log.write(b"another line\n")
    after = pack(one_group(scanned), scanned, PLAIN)
    after.blob.close()
    assert after.layer == before.layer


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("change", [_rewrite, _truncate])
def test_a_file_that_changes_while_it_is_packed_fails_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, int], None]
) -> None:
    size = 5 * MIB
    build_tree(tmp_path, {"m": os.urandom(size)})
    scanned = look(tmp_path)
    path, opened = tmp_path / "m", LocalTree.open

    def open_and_change(self: LocalTree, name: str) -> BinaryIO:
        source = opened(self, name)
        assert source.read(MIB)
        change(path, size)
        source.seek(0)
        return source

    monkeypatch.setattr(LocalTree, "open", open_and_change)
    with pytest.raises(WorkspaceChanged, match="m changed after it was scanned"):
        pack(one_group(scanned), scanned, PLAIN)


@pytest.mark.usefixtures("clean")
def test_a_source_that_fails_while_it_is_packed_is_a_workspace_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(tmp_path, {"m": b"x" * 5 * MIB})
    scanned = look(tmp_path)

    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalTree, "open", lambda self, path: Failing())
    with pytest.raises(WorkspaceError, match="cannot read m: Input/output error"):
        pack(one_group(scanned), scanned, PLAIN)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("size", [100, 5 * MIB, 32 * MIB])
def test_a_full_disk_is_a_state_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    build_tree(tmp_path, {"m": os.urandom(size)})
    scanned = look(tmp_path)

    def full_disk(what: str, size: int) -> BinaryIO:
        return Path("/dev/full").open("w+b")

    monkeypatch.setattr(module, "_MAX_IN_MEMORY", 0)
    monkeypatch.setattr(module, "spool_file", full_disk)
    with pytest.raises(StateError, match="No space left on device") as caught:
        pack(one_group(scanned), scanned, PLAIN)
    assert "XDG_CACHE_HOME" in str(caught.value.hint)


@pytest.mark.usefixtures("clean")
def test_a_spool_that_cannot_be_created_is_a_state_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    build_tree(tmp_path, {"m": b"x" * 9 * MIB})
    scanned = look(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StateError, match=r"cannot spool a layer in .*: Permission denied"):
        pack(one_group(scanned), scanned, PLAIN)


@pytest.mark.usefixtures("clean")
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tree(tmp_path, {"m": b"x" * 20 * MIB})
    scanned = look(tmp_path)
    stream = module._stream

    def interrupted(entry: Any, scanned: Scan) -> Iterator[bytes]:
        blocks = stream(entry, scanned)
        yield next(blocks)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(one_group(scanned), scanned, PLAIN)


# What options decide.


@pytest.mark.parametrize(
    "change",
    [
        {"target": b"other"},
        {"parents": (Parent(b"app", 0o700),)},
        {"parents": (Parent(b"app", owner=Ownership(1, 1)),)},
        {"owner": Ownership(1000, 1000)},
        {"preserve_mtimes": True},
        {"compression": "none"},
    ],
    ids=str,
)
def test_all_options_are_part_of_their_identity(change: dict[str, Any]) -> None:
    options = PackOptions(b"app", (Parent(b"app"),))
    assert options.identity() == PackOptions(b"app", (Parent(b"app"),)).identity()
    assert options._replace(**change).identity() != options.identity()


def test_without_isal_zlib_compresses_and_only_the_stored_bytes_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("isal")
    build_tree(tmp_path, TREE)
    options = PLAIN._replace(compression="gzip")
    fast, identity = packed_tree(tmp_path, options), options.identity()
    assert "isal " in identity
    monkeypatch.setitem(sys.modules, "isal", None)
    assert "zlib " in options.identity()
    slow = packed_tree(tmp_path, options)
    assert slow.layer.diff_id == fast.layer.diff_id
    assert gzip.decompress(slow.blob.read()) == gzip.decompress(fast.blob.read())
    assert options.identity() != identity
    assert PLAIN.identity() == PLAIN.identity()


def test_an_entry_with_an_owner_of_its_own_keeps_it(tmp_path: Path) -> None:
    build_tree(tmp_path, TREE)
    scanned = look(tmp_path)
    owners = {b"run.sh": (7, 8), b"src": (0, 0), b"src/latest": (0, 0)}
    entries = [entry._replace(owner=owners.get(entry.path)) for entry in scanned.snapshot]
    packed_members = members(pack(EntryGroup(tuple(entries), ()), scanned, PLAIN._replace(owner=Ownership(1, 2))))
    for entry in entries:
        assert (packed_members[entry.path].uid, packed_members[entry.path].gid) == (entry.owner or (1, 2))
