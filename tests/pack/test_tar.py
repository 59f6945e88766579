"""The tar writer: what it writes, Python's tarfile and GNU tar read back, to the byte."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scan.strategies import entries
from topcoat.pack.tar import BLOCK, END, Ownership, derived_mtime, header, padding
from topcoat.scan.snapshot import Entry
from topcoat.testing.trees import File, Link, Tree, assert_same_tree

GIB = 1 << 30
ROOT = Ownership()
gnu_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")

# Where ustar's name field ends, its prefix ends, and both together do.
LENGTHS = [1, 99, 100, 101, 102, 155, 156, 157, 254, 255, 256, 257, 258, 300, 999, 1000, 1001]


def path_of(length: int, slash: int = 0) -> bytes:
    """Return a path of *length* bytes; *slash* is how long its parts are, 0 for some 50."""
    part = slash or 50
    path = b"".join([b"/" if at % (part + 1) == part else b"n" for at in range(length)])
    return path[:-1] + b"n"


def file(path: bytes, size: int = 0, mode: int = 0o644) -> Entry:
    return Entry(path, "file", mode, size, bytes(32), 0)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, "link", 0o777, 0, target, 0)


def directory(path: bytes) -> Entry:
    return Entry(path, "dir", 0o755, 0, b"", 0)


def archive(*members: Entry, owner: Ownership = ROOT, content: bytes = b"") -> bytes:
    """Write *members*, every file of them with *content* repeated to its size."""
    parts = []
    for entry in members:
        data = (content * entry.size)[: entry.size]
        parts += [header(entry.path, entry, owner, derived_mtime(entry)), data, padding(len(data))]
    return b"".join([*parts, END])


def read(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        return tar.getmembers()


def extract(data: bytes, directory: Path) -> None:
    directory.mkdir()
    subprocess.run(["tar", "-xpf-", "-C", directory, "--no-same-owner"], input=data, check=True, capture_output=True)


def assert_reads_back(entry: Entry, owner: Ownership = ROOT, mtime: int = 0) -> None:
    data = header(entry.path, entry, owner, mtime)
    assert len(data) % BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        member = tar.next()
    assert member is not None
    kinds = {"file": member.isreg(), "dir": member.isdir(), "link": member.issym()}
    assert kinds[entry.kind]
    assert os.fsencode(member.name) == entry.path
    assert os.fsencode(member.linkname) == (entry.content if entry.kind == "link" else b"")
    assert (member.size, member.mode, member.mtime) == (entry.size, entry.mode, mtime)
    assert (member.uid, member.gid, member.uname, member.gname) == (*owner, "", "")


_ids = st.one_of(st.sampled_from([0, 1000, 8**7 - 1, 8**7, (1 << 32) - 2]), st.integers(0, (1 << 32) - 1))
_mtimes = st.one_of(st.sampled_from([0, 8**11 - 1, 8**11]), st.integers(0, 1 << 40))


@given(entries, st.builds(Ownership, _ids, _ids), _mtimes)
def test_every_header_reads_back(entry: Entry, owner: Ownership, mtime: int) -> None:
    assert_reads_back(entry, owner, mtime)


@given(
    st.integers(1, 400), st.integers(1, 400), st.sampled_from(["file", "dir", "link"]), st.sampled_from([b"n", b"\xff"])
)
def test_names_of_every_length_read_back(length: int, slash: int, kind: str, letter: bytes) -> None:
    path = path_of(length, slash).replace(b"n", letter)
    assert_reads_back({"file": file, "dir": directory}.get(kind, lambda path: link(path, path))(path))


@given(st.lists(entries, max_size=6))
def test_archives_of_several_members_read_back(members: list[Entry]) -> None:
    members = [entry._replace(size=entry.size % 2000) for entry in members]
    packed = read(archive(*members, content=b"xy"))
    assert [os.fsencode(member.name) for member in packed] == [entry.path for entry in members]
    assert [member.size for member in packed] == [entry.size for entry in members]


@given(st.binary(min_size=1, max_size=99).filter(lambda name: not {0, 0x2F} & set(name)), st.integers(0, 8**11 - 1))
def test_a_plain_header_is_to_the_byte_what_tarfile_writes(name: bytes, size: int) -> None:
    info = tarfile.TarInfo(os.fsdecode(name))
    info.size, info.mode, info.mtime, info.uid, info.gid = size, 0o640, 12345, 1000, 8**7 - 1
    expected = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    assert header(name, file(name, size, 0o640), Ownership(1000, 8**7 - 1), 12345) == expected


@pytest.mark.parametrize("slash", [0, 99, 100, 101, 154, 155, 156, 400])
@pytest.mark.parametrize("length", LENGTHS)
def test_names_around_the_limits_of_ustar_read_back(length: int, slash: int) -> None:
    path = path_of(length, slash)
    assert len(path) == length
    for entry in (file(path), directory(path), link(path, path)):
        assert_reads_back(entry)


@pytest.mark.parametrize(
    ("path", "blocks"),
    [
        (b"n" * 100, 1),
        (b"n" * 101, 3),
        (b"p" * 155 + b"/" + b"n" * 100, 1),
        (b"p" * 155 + b"/" + b"n" * 101, 3),
        (b"p" * 156 + b"/" + b"n" * 100, 3),
        (b"p/" + b"n" * 100, 1),
        (b"/".join([b"d" * 50] * 4), 1),
    ],
)
def test_pax_records_are_written_only_for_values_that_ustar_cannot_hold(path: bytes, blocks: int) -> None:
    assert len(header(path, file(path), ROOT, 0)) == blocks * BLOCK
    assert_reads_back(file(path))


@pytest.mark.parametrize("path", [b"n" * 99, b"n" * 100, b"p" * 154 + b"/" + b"n" * 99, b"p" * 155 + b"/" + b"n" * 99])
def test_the_slash_of_a_directory_counts(path: bytes) -> None:
    assert_reads_back(directory(path))


def test_no_name_after_a_prefix_is_empty() -> None:
    data = header(b"n" * 120, directory(b"n" * 120), ROOT, 0)
    assert len(data) == 3 * BLOCK
    assert data[2 * BLOCK :].startswith(b"n" * 100)


@gnu_tar
def test_gnu_tar_extracts_what_was_written(tmp_path: Path) -> None:
    longs = [path_of(length) for length in LENGTHS if length < 258]
    parents = sorted({path[:at] for path in longs for at in range(len(path)) if path[at : at + 1] == b"/"})
    files = {path + b".f": File(b"x", mode=0o755) for path in [*longs, b"\xff\xfe", b"new\nline", b"-rf", b" "]}
    links = {b"l%d" % length: Link(path_of(length)) for length in [1, 99, 100, 101, 200, 500]}
    members = [directory(path) for path in parents]
    members += [file(path, 1, 0o755) for path in files] + [link(path, to.target) for path, to in links.items()]  # type: ignore[arg-type]
    extract(archive(*members, content=b"x"), tmp_path / "out")
    tree: Tree = {**{path: {} for path in parents}, **files, **links}
    assert_same_tree(tmp_path / "out", tree)


@gnu_tar
@pytest.mark.parametrize("length", LENGTHS)
def test_gnu_tar_lists_names_of_every_length(length: int) -> None:
    path = path_of(length)
    data = archive(file(path), directory(path), link(path, path))
    listed = subprocess.run(["tar", "-tf-"], input=data, check=True, capture_output=True)
    assert listed.stdout.split() == [path, path + b"/", path]


@gnu_tar
def test_values_that_ustar_cannot_hold_read_back(tmp_path: Path) -> None:
    """Nine gigabytes, an owner beyond two million, a date in the year 2286; the content is a hole."""
    entry, owner = file(b"big", 9 * GIB), Ownership(8**7, 3_000_000_000)
    path = tmp_path / "big.tar"
    with path.open("wb") as out:
        out.write(header(entry.path, entry, owner, 10**10))
        out.truncate(out.tell() + entry.size)
        out.seek(0, os.SEEK_END)
        out.write(header(b"last", file(b"last"), ROOT, 0) + END)
    with tarfile.open(path) as tar:
        big, last = tar.getmembers()
    assert (big.name, big.size, big.uid, big.gid, big.mtime) == ("big", 9 * GIB, *owner, 10**10)
    assert last.name == "last"
    command = ["tar", "--numeric-owner", "--utc", "-tvf", path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[0].split() == ["-rw-r--r--", f"{owner.uid}/{owner.gid}", str(9 * GIB), "2286-11-20", "17:46", "big"]
    assert lines[1].endswith("last")


@gnu_tar
def test_gnu_tar_warns_about_nothing(tmp_path: Path) -> None:
    data = archive(directory(b"d"), file(b"d/" + b"n" * 300, 3), link(b"l", b"t" * 300), content=b"abc")
    listing = subprocess.run(["tar", "-tvf-"], input=data, check=True, capture_output=True)
    assert listing.stderr == b""
    assert len(data) % BLOCK == 0
    assert data.endswith(bytes(2 * BLOCK))


@pytest.mark.parametrize("length", [101, *range(980, 992), *range(9978, 9992)])
def test_the_length_of_a_pax_record_counts_its_own_digits(length: int) -> None:
    data = header(b"l", link(b"l", b"t" * length), ROOT, 0)
    stated, _, rest = data[BLOCK:].partition(b" ")
    record = b"linkpath=" + b"t" * length + b"\n"
    assert rest.startswith(record + b"\0")
    assert int(stated) == len(stated) + 1 + len(record)


def test_derived_mtimes_depend_on_content_alone() -> None:
    one, same = file(b"a"), file(b"b", 9, 0o755)
    other = one._replace(content=b"\x00\x00\x00\x01" * 8)
    assert (
        derived_mtime(one) == derived_mtime(same) == derived_mtime(directory(b"d")) == derived_mtime(link(b"l", b"t"))
    )
    assert derived_mtime(other) == derived_mtime(one) + 1


@given(st.binary(min_size=32, max_size=32))
def test_derived_mtimes_are_in_the_range_of_every_tool(content: bytes) -> None:
    """Zip archives begin in 1980; a date of today could be that of a compiled file."""
    assert 315_532_800 <= derived_mtime(file(b"a")._replace(content=content)) < 946_684_800


def test_padding_fills_the_last_block() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
