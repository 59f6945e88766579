"""Tests of the comparison: every difference is reported, except the intended ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.against_buildkit.exported import ByDesign, Exported, differences, read_export, way_to

_FILE = Exported("file", 0o644, 0, 0, 3, b"digest", 1000)
_EMPTY = _FILE._replace(size=0, content=b"of nothing")
_FIFO = _FILE._replace(kind="fifo")
_DIRECTORY = Exported("dir", 0o755, 0, 0, 0, b"", 1000)
_LINK = Exported("link", 0o777, 0, 0, 0, b"data", 1000)


@pytest.mark.parametrize(
    "change",
    [{"kind": "link"}, {"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"size": 4}, {"content": b"other"}, {"mtime": 1001}],
)
def test_every_fact_counts(change: dict[str, object]) -> None:
    other = _FILE._replace(**change)  # type: ignore[arg-type]
    (line,) = differences({b"a": _FILE}, {b"a": other}, ByDesign())
    assert line.startswith("b'a'")
    assert next(iter(change)) in line


@pytest.mark.parametrize(("ours", "theirs"), [({b"a": _FILE}, {}), ({}, {b"a": _FILE}), ({}, {b"a": _FIFO})])
def test_every_path_counts(ours: dict[bytes, Exported], theirs: dict[bytes, Exported]) -> None:
    assert len(differences(ours, theirs, ByDesign())) == 1


def test_an_intended_difference_is_accepted_only_at_its_path() -> None:
    later = _DIRECTORY._replace(mtime=2000)
    ours, theirs = {b"d": _DIRECTORY, b"f": _FILE}, {b"d": later, b"f": _EMPTY, b"q": _FIFO}
    assert differences(ours, theirs, ByDesign([b"d"], [b"q"], emptied=True)) == []
    assert len(differences(ours, theirs, ByDesign([], [b"q"], emptied=True))) == 1
    assert len(differences(ours, theirs, ByDesign([b"d"], [], emptied=True))) == 1
    assert len(differences(ours, theirs, ByDesign([b"d"], [b"q"]))) == 1
    assert differences({b"f": _EMPTY}, {b"f": _FILE}, ByDesign(emptied=True))
    assert differences({b"d": _DIRECTORY}, {b"d": later._replace(mode=0o700)}, ByDesign([b"d"]))


@pytest.mark.parametrize(
    ("place", "way"),
    [
        (b"/", []),
        (b"/data/real", [b"data", b"data/real"]),
        (b"/x/../data//real/", [b"data", b"data/real"]),
        (b"/link/real", [b"data", b"data/real"]),
        (b"/data/up/real", [b"data", b"data/real"]),
    ],
)
def test_the_way_to_a_directory_follows_links(place: bytes, way: list[bytes]) -> None:
    up = _LINK._replace(content=b"../data")
    tree = {b"data": _DIRECTORY, b"data/real": _DIRECTORY, b"link": _LINK, b"data/up": up}
    assert way_to(tree, place) == way


def test_an_export_is_read_with_hard_links_as_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tree.tar", "w", encoding="utf-8", errors="surrogateescape") as tar:
        for name, kind, link in (("d", tarfile.DIRTYPE, ""), ("a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "a"),
                                 ("\udcff", tarfile.SYMTYPE, "a")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, link, 0o640
            member.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"abc"))
    exported = read_export(tmp_path / "tree.tar")
    assert {path: one.kind for path, one in exported.items()} == {
        b"d": "dir",
        b"a": "file",
        b"b": "file",
        b"\xff": "link",
    }
    assert exported[b"a"] == exported[b"b"]
    assert (exported[b"a"].mode, exported[b"a"].size) == (0o640, 3)
    assert (exported[b"\xff"].mode, exported[b"\xff"].content) == (0o777, b"a")
