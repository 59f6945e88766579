"""The identity of a snapshot: everything that a job can see counts, and nothing else."""

from __future__ import annotations

import hashlib
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scan.strategies import entries, trees

from topcoat.scan.snapshot import Entry, Kind, Snapshot, identify

FILE = Entry(b"src/main.py", "file", 0o644, 5, b"\x01" * 32, 10**18)
LINK = Entry(b"src/latest", "link", 0o777, 0, b"main.py", 10**18)
DIRECTORY = Entry(b"src", "dir", 0o755, 0, b"", 10**18)
_KINDS: dict[bytes, Kind] = {b"f": "file", b"d": "dir", b"l": "link"}


def parse(data: bytes) -> list[Entry]:
    """Read what identifies entries back: what can be read back in one way only cannot collide."""

    def take(form: str) -> tuple[Any, ...]:
        nonlocal data
        values = struct.unpack_from(f">{form}", data)
        data = data[struct.calcsize(f">{form}") :]
        return values

    (count,) = take("Q")
    path_lengths, letters = take(f"{count}I"), take(f"{count}c")
    modes, sizes, content_lengths = take(f"{count}I"), take(f"{count}Q"), take(f"{count}I")
    (owned,) = take("Q")
    owners = {at: owner for at, *owner in (take("QII") for _ in range(owned))}
    (times,) = take("c")
    paths = [take(f"{length}s")[0] for length in path_lengths]
    contents = [take(f"{length}s")[0] for length in content_lengths]
    mtimes = [int(line) for line in data.split(b"\n")[:-1]] if times == b"@" else [0] * count
    columns = zip(paths, letters, modes, sizes, contents, mtimes, strict=True)
    return [
        Entry(path, _KINDS[letter], mode, size, content, mtime, tuple(owners[at]) if at in owners else None)
        for at, (path, letter, mode, size, content, mtime) in enumerate(columns)
    ]


@given(st.lists(entries, max_size=8))
def test_the_identity_of_entries_can_be_parsed_so_no_two_lists_collide(found: list[Entry]) -> None:
    assert parse(identify(found, preserve_mtimes=True)) == found
    assert parse(identify(found, preserve_mtimes=False)) == [entry._replace(mtime=0) for entry in found]
    assert [entry.facts(preserve_mtimes=True) for entry in found] == [
        (*entry[:5], entry.owner, entry.mtime) for entry in found
    ]


@pytest.mark.parametrize("entry", [FILE, LINK, DIRECTORY])
@pytest.mark.parametrize(
    "change",
    [
        {"path": b"src/main.py2"},
        {"path": b"Src/main.py"},
        {"mode": 0o700},
        {"kind": "file", "mode": 0o600},
        {"size": 6},
        {"content": b"\x02" * 32},
        {"owner": (0, 0)},
    ],
)
def test_the_digest_depends_on(entry: Entry, change: dict[str, Any]) -> None:
    assert Snapshot([entry]).digest != Snapshot([entry._replace(**change)]).digest


def test_entries_of_different_kinds_differ() -> None:
    kinds: tuple[Kind, ...] = ("file", "dir", "link")
    assert len({Snapshot([Entry(b"a", kind, 0o755, 0, b"", 0)]).digest for kind in kinds}) == 3


def test_an_execute_bit_counts_and_an_mtime_does_not() -> None:
    before = Snapshot([FILE, DIRECTORY])
    assert before.digest != Snapshot([FILE._replace(mode=0o755), DIRECTORY]).digest
    touched = Snapshot([FILE._replace(mtime=7), DIRECTORY._replace(mtime=8)])
    assert before == touched
    assert hash(before) == hash(touched)


def test_an_mtime_counts_if_mtimes_are_preserved() -> None:
    before = Snapshot([FILE], preserve_mtimes=True)
    assert before.digest == Snapshot([FILE], preserve_mtimes=True).digest
    assert before.digest != Snapshot([FILE._replace(mtime=FILE.mtime + 1)], preserve_mtimes=True).digest
    assert before.digest != Snapshot([FILE]).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(b"a", b"bc")], [(b"ab", b"c")]),
        ([(b"a", b"1"), (b"b", b"2")], [(b"a", b"12"), (b"b", b"")]),
        ([(b"a\n1:b", b"")], [(b"a", b""), (b"b", b"")]),
        ([(b"a", b""), (b"b", b"")], [(b"a1:bf644,0,0:\n", b"")]),
    ],
)
def test_concatenation_does_not_collide(one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]) -> None:
    def digest(pairs: list[tuple[bytes, bytes]]) -> str:
        return Snapshot([Entry(path, "file", 0o644, 0, content, 0) for path, content in pairs]).digest

    assert digest(one) != digest(other)


@given(trees, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_given_does_not_matter(tree: dict[bytes, Entry], chance: random.Random) -> None:
    shuffled = list(tree.values())
    chance.shuffle(shuffled)
    snapshot, other = Snapshot(tree.values()), Snapshot(shuffled)
    assert snapshot == other
    assert snapshot.entries == other.entries
    assert [entry.path for entry in snapshot] == sorted(tree)
    assert len(snapshot) == len(tree)
    assert snapshot.size == sum(entry.size for entry in tree.values())


@given(trees)
def test_directories_come_before_their_members(tree: dict[bytes, Entry]) -> None:
    seen = {b""}
    for entry in Snapshot(tree.values()):
        assert entry.path.rpartition(b"/")[0] in seen
        seen.add(entry.path)


def test_the_digest_of_a_known_snapshot_never_changes() -> None:
    """Tags are made of it: another value means that every image is pushed anew."""
    identity = b"".join(
        [
            struct.pack(">QIII", 3, 3, 10, 11) + b"dlf",
            struct.pack(">III", 0o755, 0o777, 0o644) + struct.pack(">QQQ", 0, 0, 5) + struct.pack(">III", 0, 7, 32),
            struct.pack(">Q", 0) + b"-",
            b"src" + b"src/latest" + b"src/main.py" + b"main.py" + b"\x01" * 32,
        ]
    )
    expected = hashlib.sha256(b"topcoat-snapshot-2\n" + identity).hexdigest()
    assert Snapshot([FILE, LINK, DIRECTORY]).digest == f"sha256:{expected}"


def test_an_entry_is_found_by_its_path() -> None:
    snapshot = Snapshot([FILE, LINK, DIRECTORY])
    assert snapshot.find(FILE.path) == FILE
    assert snapshot.find(b"src/main") is None
    assert snapshot.find(b"zzz") is None
    assert snapshot.has_directory(DIRECTORY.path)
    assert not snapshot.has_directory(FILE.path)
    assert not Snapshot([]).has_directory(b"src")


def test_a_snapshot_does_not_equal_a_list() -> None:
    assert Snapshot([FILE]) != [FILE]
    assert "1 entries" in repr(Snapshot([FILE]))
