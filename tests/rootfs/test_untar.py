"""Headers of archives are read as Python's tarfile reads them, from any writer and in pieces of any size."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topcoat.errors import InvalidImage
from topcoat.rootfs.untar import Member, clean, members

_KINDS = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "other", tarfile.FIFOTYPE: "other"}
_FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def _read(data: bytes) -> list[Member]:
    return list(members(io.BytesIO(data).read))


def _in_pieces(data: bytes, size: int) -> Callable[[int], bytes]:
    source = io.BytesIO(data)
    return lambda wanted: source.read(min(wanted, size))


def _archive(infos: list[tarfile.TarInfo], kind: str = "pax") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode="w", format=_FORMATS[kind], encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"\xa5" * info.size))
    return packed.getvalue()


def _info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def _expected(data: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        return [
            Member(
                clean(info.name.encode("utf-8", "surrogateescape")),
                _KINDS.get(info.type, "file"),  # type: ignore[arg-type]
                info.mode,
                info.uid,
                info.gid,
                info.size if info.isreg() else 0,
                info.linkname.encode("utf-8", "surrogateescape"),
            )
            for info in archive
        ]


_names = st.lists(
    st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=60),
    min_size=1,
    max_size=6,
).map("/".join)


@st.composite
def _infos(draw: st.DrawFn, small: bool = False) -> tarfile.TarInfo:
    kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]))
    most = 8**7 - 1 if small else 2**40
    name = draw(st.text("abc", min_size=1, max_size=20)) if small else draw(_names)
    return _info(
        name,
        kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, most)),
        gid=draw(st.integers(0, most)),
        mtime=draw(st.integers(0, 2**31)),
        size=draw(st.integers(0, 2000)) if kind == tarfile.REGTYPE else 0,
        linkname=(draw(st.text("xy/.", min_size=1, max_size=300 if not small else 90)) if kind in b"12" else ""),
    )


@settings(deadline=None)
@given(st.lists(_infos(), max_size=8), st.sampled_from(["gnu", "pax"]), st.integers(1, 5000))
def test_archives_of_tarfile_are_read_as_tarfile_reads_them(
    infos: list[tarfile.TarInfo], kind: str, piece: int
) -> None:
    data = _archive(infos, kind)
    assert list(members(_in_pieces(data, piece))) == _expected(data)


@settings(deadline=None)
@given(st.lists(_infos(small=True), max_size=8))
def test_plain_ustar_is_read_as_tarfile_reads_it(infos: list[tarfile.TarInfo]) -> None:
    data = _archive(infos, "ustar")
    assert _read(data) == _expected(data)


@pytest.mark.parametrize("kind", ["ustar", "gnu", "pax"])
def test_long_names_are_read(kind: str) -> None:
    names = ["d" * 90 + "/" + "f" * 90, "d" * 150 + "/" + "f" * 100]
    names += [] if kind == "ustar" else ["x" * 500, "a/" * 200 + "\udcff"]
    assert [node.path for node in _read(_archive([_info(name) for name in names], kind))] == [
        name.encode("utf-8", "surrogateescape") for name in names
    ]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (b"a/b", b"a/b"),
        (b"./a", b"a"),
        (b"/a/", b"a"),
        (b"./", b""),
        (b".", b""),
        (b"a//b/./c/", b"a/b/c"),
        (b"a/../b", b"b"),
        (b"../../a", b"a"),
        (b"..a/.b", b"..a/.b"),
        (b"a/..b", b"a/..b"),
        (b"a\n/ b", b"a\n/ b"),
    ],
)
def test_a_path_is_cleaned(written: bytes, path: bytes) -> None:
    assert clean(written) == path
    assert clean(path) == path


def test_set_id_and_sticky_bits_are_read() -> None:
    (found,) = _read(_archive([_info("tmp", tarfile.DIRTYPE, mode=0o7777, uid=5, gid=6)]))
    assert found == Member(b"tmp", "dir", 0o7777, 5, 6, 0, b"")


def test_content_is_skipped_and_not_kept_in_memory() -> None:
    size = 48 << 20
    parts = iter(
        [_sized(_header(b"large", b"0", 0), size), *[bytes(1 << 18)] * (size >> 18), _header(b"next", b"0", 0)]
    )
    collected: list[int] = []

    def read(wanted: int) -> bytes:
        collected.append(wanted)
        return next(parts, b"")

    assert [(member.path, member.size) for member in members(read)] == [(b"large", size), (b"next", 0)]
    assert max(collected) <= 1 << 18


def test_an_archive_ends_at_its_end_mark_or_at_the_end_of_the_bytes() -> None:
    data = _archive([_info("a", size=3)])
    assert len(_read(data + b"garbage")) == 1
    assert len(_read(data[:1024])) == 1
    assert _read(b"") == _read(bytes(1024)) == []


def test_global_records_are_skipped_as_engines_skip_them() -> None:
    records = b"14 uid=100000\n"
    data = _header(b"pax_global_header", b"g", len(records)) + records.ljust(512, b"\0") + _archive([_info("a", uid=7)])
    assert [(node.path, node.uid) for node in _read(data)] == [(b"a", 7)]


def test_a_gnu_sparse_file_has_the_size_of_its_stored_content() -> None:
    # Four pieces fit into the header; the map goes on in two blocks, as its last byte says.
    first = bytearray(_header(b"sparse", b"S", 512))
    first[482] = 1
    more = bytearray(512)
    more[504] = 1
    data = _summed(bytes(first)) + bytes(more) + bytes(512) + b"x" * 512 + _archive([_info("next")])
    assert [(node.path, node.kind) for node in _read(data)] == [(b"sparse", "file"), (b"next", "file")]


def test_a_pax_sparse_file_has_its_real_name() -> None:
    info = _info("GNUSparseFile.1/real", size=700, pax_headers={"GNU.sparse.name": "d/real"})
    assert [node.path for node in _read(_archive([info, _info("next")]))] == [b"d/real", b"next"]


def test_the_oldest_format_marks_directories_by_a_slash() -> None:
    old = _header(b"dir/", b"\0", 0, magic=b"")
    assert _read(old + _header(b"file", b"\0", 0, magic=b""))[0].kind == "dir"
    assert _read(_header(b"file", b"\0", 0, magic=b""))[0] == Member(b"file", "file", 0o644, 0, 0, 0, b"")


def test_dates_in_old_gnu_headers_are_not_read_as_a_prefix() -> None:
    block = bytearray(_header(b"name", b"0", 0, magic=b"ustar  \0"))
    block[345:357] = b"14000000000\0"
    assert _read(_summed(bytes(block)))[0].path == b"name"


def test_checksums_of_signed_bytes_are_accepted() -> None:
    block = _header(b"caf\xc3\xa9", b"0", 0)
    total = sum(block[:148]) + sum(block[156:]) + 256
    signed = b"%b%06o\0 %b" % (block[:148], total - 2 * 256, block[156:])
    assert _read(signed)[0].path == b"caf\xc3\xa9"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"not a tar at all, but some words" * 40,
        lambda data: data[:700],
        lambda data: data[:512] + data[512:900],
        lambda data: data[:1] + b"\xff" + data[2:],
        lambda data: data[:124] + b"89999999999\0" + data[136:],
        lambda data: _sized(data[:512], 1 << 64),
        lambda data: _header(b"x", b"x", 20) + b"99 path=a\n".ljust(512, b"\0") + data,
        lambda data: _header(b"x", b"x", 20) + b"no record".ljust(512, b"\0") + data,
        lambda data: _header(b"x", b"x", 9) + b"9 uid=-1\n".ljust(512, b"\0") + data,
        lambda data: _header(b"x", b"L", 1 << 30),
        lambda data: _header(b"x", b"L", 4000) + b"short",
    ],
)
def test_a_damaged_archive_is_an_error(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidImage, match="not a tar") as raised:
        _read(damage(_archive([_info("a", size=2000), _info("b")], "ustar")))
    assert raised.value.hint


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_any_bytes_are_an_archive_or_an_invalid_image(noise: bytes, at: int) -> None:
    data = _archive([_info("a", size=700), _info("l" * 200, tarfile.SYMTYPE, linkname="x")], "pax")
    for bad in (noise, data[:at] + noise + data[at + len(noise) :]):
        with suppress(InvalidImage):
            _read(bad)


def _header(name: bytes, kind: bytes, size: int, *, magic: bytes = b"ustar\x0000") -> bytes:
    fields = (
        name,
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"00000000000\0",
        b"",
        kind,
        b"",
        magic,
    )
    return _summed(struct.pack("100s8s8s8s12s12s8sc100s8s247x", *fields))


def _sized(block: bytes, size: int) -> bytes:
    """Return *block* with a size in base 256 (GNU)."""
    return _summed(block[:124] + b"\x80" + size.to_bytes(11, "big") + block[136:])


def _summed(block: bytes) -> bytes:
    return b"%b%06o\0 %b" % (block[:148], sum(block[:148]) + sum(block[156:]) + 256, block[156:])


@pytest.mark.parametrize("kind", ["pax", "gnu"])
@pytest.mark.parametrize("field", ["name", "linkname"])
def test_a_path_that_no_engine_can_unpack_is_an_error(kind: str, field: str) -> None:
    info = _info("link", tarfile.SYMTYPE, linkname="target")
    setattr(info, field, "a/" * 2049)
    with pytest.raises(InvalidImage, match="a path is longer than 4096 bytes"):
        _read(_archive([info], kind))


def test_a_record_with_many_digits_is_an_error() -> None:
    with pytest.raises(InvalidImage, match="a record has an invalid number"):
        _read(_pax(b"uid", b"9" * 5000))


def test_many_small_records_take_little_time() -> None:
    # Read one by one from a copy of the rest, they took a quarter of a minute.
    records = b"7 ab=c\n" * 149_000
    (member,) = _read(_header(b"x", b"x", len(records)) + records + bytes(-len(records) % 512) + _header(b"f", b"0", 0))
    assert member.path == b"f"


def _pax(key: bytes, value: bytes) -> bytes:
    record = b"%d %b=%b\n" % (len(key) + len(value) + 3 + 4, key, value)
    return _header(b"x", b"x", len(record)) + record + bytes(-len(record) % 512) + _header(b"f", b"0", 0)
