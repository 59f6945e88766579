"""Write entries as a deterministic tar: ustar, with PAX records only for values that do not fit (POSIX.1-2017, pax).

Python's tarfile takes five times as long for thousands of small files.
"""

from __future__ import annotations

from typing import NamedTuple

from topcoat.scan.snapshot import Entry

BLOCK = 512
# Two zero blocks end an archive.
END = bytes(2 * BLOCK)

# 1980 is the first year that zip archives can hold; the span of 20 years ends before the mtimes of real files.
_EPOCH = 315_532_800
_SPAN = 20 * 365 * 86_400

_TYPE = {"file": b"0", "link": b"2", "dir": b"5"}
# The maximum values of ustar's fields, plus one: size and mtime, and owners.
_MAX_LONG = 8**11
_MAX_SHORT = 8**7


class Ownership(NamedTuple):
    """Numeric owner and group."""

    uid: int = 0
    gid: int = 0


def derived_mtime(entry: Entry) -> int:
    """Return an mtime in seconds that is derived from a file's content; directories and links have one fixed date.

    So equal content gives equal layers on every machine, and changed content never matches the mtime in a ``.pyc``.
    """
    return _EPOCH + int.from_bytes(entry.content[:4], "big") % _SPAN if entry.kind == "file" else _EPOCH


def header(name: bytes, entry: Entry, owner: Ownership, mtime: int) -> bytes:
    """Return the header of one member: one block, or three or more if it needs PAX records.

    *name* is its path in the archive, without leading or trailing slash; *mtime* is in seconds, not negative.
    """
    link = entry.content if entry.kind == "link" else b""
    if entry.kind == "dir":
        name += b"/"
    pax: list[tuple[bytes, bytes]] = []
    prefix = b""
    if len(name) > 100:
        prefix, name, fits = _split(name)
        if not fits:
            pax.append((b"path", name))
            prefix, name = b"", name[:100]
    if len(link) > 100:
        pax.append((b"linkpath", link))
        link = link[:100]
    size = entry.size
    if size >= _MAX_LONG:
        pax.append((b"size", b"%d" % size))
        size = 0
    uid, gid = owner
    if mtime >= _MAX_LONG:
        pax.append((b"mtime", b"%d" % mtime))
        mtime = 0
    if uid >= _MAX_SHORT:
        pax.append((b"uid", b"%d" % uid))
        uid = 0
    if gid >= _MAX_SHORT:
        pax.append((b"gid", b"%d" % gid))
        gid = 0
    block = _block(name, entry.mode, uid, gid, size, mtime, _TYPE[entry.kind], link, prefix)
    if not pax:
        return block
    records = b"".join([_pax_record(key, value) for key, value in pax])
    extended = _block(b"PaxHeaders/0", 0o644, 0, 0, len(records), _EPOCH, b"x", b"", b"")
    return extended + records + padding(len(records)) + block


def padding(size: int) -> bytes:
    """Return the zero bytes that fill the last block after *size* bytes of content."""
    return bytes(-size % BLOCK)


def _block(
    name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, link: bytes, prefix: bytes
) -> bytes:
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, mtime)
    tail = b"%b%bustar\x0000" % (kind, link.ljust(100, b"\0"))
    if prefix:
        # magic, version, empty user and group names, device numbers
        tail += bytes(80) + prefix
    # The checksum counts its own field as eight spaces.
    return b"%b%06o\0 %b" % (start, sum(start) + sum(tail) + 256, tail.ljust(356, b"\0"))


def _split(name: bytes) -> tuple[bytes, bytes, bool]:
    """Split a long name into ustar's prefix and name; the flag tells whether that is possible."""
    slash = name.find(b"/", max(len(name) - 101, 0))
    if 0 < slash <= 155 and slash < len(name) - 1:
        return name[:slash], name[slash + 1 :], True
    return b"", name, False


def _pax_record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH KEY=VALUE\\n``, where the length counts its own digits."""
    length = len(key) + len(value) + 3
    total = length + len(b"%d" % length)
    total = length + len(b"%d" % total)
    return b"%d %b=%b\n" % (total, key, value)
