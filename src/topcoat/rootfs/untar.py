"""Read the headers of a tar in order, as container engines read layers; skip the content.

Formats: ustar and pax (POSIX.1-2017), GNU's long names, binary numbers and sparse files. Global pax records are
skipped, because engines skip them. Python's tarfile takes five times as long and keeps every member in memory.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from topcoat.errors import InvalidImage
from topcoat.pack.tar import BLOCK
from topcoat.rootfs.nodes import NodeKind

Read = Callable[[int], bytes]
"""Returns at most the given number of bytes, no bytes at the end."""

ENDS_WITHIN = "it ends within"
"""What the error for a truncated archive says."""

_READ = 1 << 18
# In bytes: more than any set of records that an engine accepts.
_MAX_RECORDS = 1 << 20
# Linux: PATH_MAX. No engine can unpack a longer path.
MAX_PATH = 4096
_USED_RECORDS = frozenset((b"path", b"linkpath", b"uid", b"gid", b"size", b"GNU.sparse.name"))
_MAX_DIGITS = 20
# name, mode, uid, gid, size, checksum, type, link, magic, prefix
_FIELDS = Struct("100s8s8s8s12s12x8sc100s6s82x155s12x").unpack
_KINDS: dict[bytes, NodeKind] = {b"2": "link", b"3": "other", b"4": "other", b"5": "dir", b"6": "other"}
_END_MARK = bytes(BLOCK)


class Member(NamedTuple):
    """One member of an archive.

    Attributes:
        path: without leading or trailing slash, and without ``.`` and ``..``; empty for the root.
        kind: a hard link counts as a file.
        mode: permission bits, set-id and sticky bits included.
        link: target of a symbolic link, or path of a hard link's file.
    """

    path: bytes
    kind: NodeKind
    mode: int
    uid: int
    gid: int
    size: int
    link: bytes


def members(read: Read) -> Iterator[Member]:
    """Yield the members of the archive that *read* returns, up to the end mark or the end of the bytes.

    Raises:
        InvalidImage: it is not a tar, or truncated.
    """
    source = _Source(read)
    records: dict[bytes, bytes] = {}
    while (block := source.block()) is not None:
        name, mode, uid, gid, size, checksum, kind, link, magic, prefix = _FIELDS(block)
        _check(block, checksum)
        length = _number(size)
        if kind in b"xLKg":
            text = source.take(length)
            if kind == b"x":
                records |= _records(text)
            elif kind != b"g":
                records[b"path" if kind == b"L" else b"linkpath"] = text.partition(b"\0")[0]
            if len(records.get(b"path", b"")) > MAX_PATH or len(records.get(b"linkpath", b"")) > MAX_PATH:
                raise _damaged(f"a path is longer than {MAX_PATH} bytes")
            continue
        path, target = name.partition(b"\0")[0], link.partition(b"\0")[0]
        # GNU's old format has dates in the place of the prefix.
        if magic == b"ustar\0" and prefix[0]:
            path = prefix.partition(b"\0")[0] + b"/" + path
        owner, group = _number(uid), _number(gid)
        if records:
            path = records.get(b"GNU.sparse.name") or records.get(b"path") or path
            target = records.get(b"linkpath") or target
            owner, group, length = (
                _decimal(records.get(key), value)
                for key, value in ((b"uid", owner), (b"gid", group), (b"size", length))
            )
            records = {}
        if kind == b"S":
            source.skip_sparse_map(block)
        node_kind = _KINDS.get(kind, "file")
        # In the oldest format, only the slash at the end of the name marks a directory.
        if kind in b"0\0" and path.endswith(b"/"):
            node_kind = "dir"
        # Links and directories have no content, whatever their size field says: a hard link may repeat its file's size.
        if kind in b"123456":
            length = 0
        yield Member(clean(path), node_kind, _number(mode) & 0o7777, owner, group, length, target)
        source.skip(length)


def clean(path: bytes) -> bytes:
    """Return the path in an image that the archive's *path* means, without leading or trailing slash."""
    if not path.startswith((b"/", b".")) and b"//" not in path and b"/." not in path:
        return path[:-1] if path.endswith(b"/") else path
    return posixpath.normpath(b"/" + path).strip(b"/")


class _Source:
    """A stream of blocks."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._data = b""
        self._at = 0

    def block(self) -> bytes | None:
        """Return the next header, None at the end."""
        block = self._data[self._at : self._at + BLOCK]
        if len(block) < BLOCK:
            if not self._fill(BLOCK):
                if self._at < len(self._data):
                    raise _damaged(f"{ENDS_WITHIN} a header")
                return None
            block = self._data[:BLOCK]
        self._at += BLOCK
        return None if block == _END_MARK else block

    def take(self, size: int) -> bytes:
        """Return the *size* bytes that follow an extended header."""
        if size > _MAX_RECORDS:
            raise _damaged(f"a header has {size} bytes")
        whole = size + -size % BLOCK
        if not self._fill(whole):
            raise _damaged(f"{ENDS_WITHIN} a header")
        text = self._data[self._at : self._at + size]
        self._at += whole
        return text

    def skip(self, size: int) -> None:
        """Skip *size* bytes of content and the padding of their last block."""
        self._at += size + -size % BLOCK
        while self._at > len(self._data):
            self._at -= len(self._data)
            self._data = self._read(_READ)
            if not self._data:
                raise _damaged(f"{ENDS_WITHIN} a file")

    def skip_sparse_map(self, block: bytes) -> None:
        """Skip the blocks that continue the map of a sparse file (GNU, type S)."""
        more = block[482]
        while more:
            more = self.take(BLOCK)[504]

    def _fill(self, size: int) -> bool:
        """Read ahead until *size* bytes are available; tell whether they are."""
        parts = [self._data[self._at :]]
        have = len(parts[0])
        while have < size and (part := self._read(_READ)):
            parts.append(part)
            have += len(part)
        self._data, self._at = b"".join(parts), 0
        return have >= size


def _check(block: bytes, checksum: bytes) -> None:
    # The checksum counts its own field as eight spaces. The low half of Adler-32 is the sum of all bytes modulo 65521,
    # in a tenth of the time of a sum in Python.
    stated = _number(checksum)
    if (stated - 256 + sum(checksum)) % 65521 == adler32(block, 0) & 0xFFFF:
        return
    # Some old programs summed signed bytes.
    rest = block[:148] + block[156:]
    if sum(rest) - 256 * sum(byte > 127 for byte in rest) + 256 != stated:
        raise _damaged("a header has a wrong checksum")


def _number(field: bytes) -> int:
    """Read an octal number, or a binary one (GNU, base-256)."""
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        pass
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        # Negative or impossibly large.
        if field[0] & 0x40 or value >= 1 << 63:
            raise _damaged("a header has an impossible number")
        return value
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        raise _damaged(f"a header has an invalid number {field!r}") from None


def _decimal(record: bytes | None, fallback: int) -> int:
    if not record:
        return fallback
    if not record.isdigit() or len(record) > _MAX_DIGITS:
        raise _damaged(f"a record has an invalid number {record[:40]!r}")
    return int(record)


def _records(text: bytes) -> dict[bytes, bytes]:
    """Read a sequence of ``LENGTH KEY=VALUE\\n``."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        space = text.find(b" ", at, at + 8)
        length = text[at:space] if space > 0 else b""
        end = at + int(length) if length.isdigit() else 0
        key, equals, value = text[space + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(text):
            raise _damaged("a record is malformed")
        if key in _USED_RECORDS:
            found[key] = value[:-1]
        at = end
    return found


def _damaged(why: str) -> InvalidImage:
    return InvalidImage(f"a layer of the image is not a tar: {why}", hint="push the image again: it may be damaged")
