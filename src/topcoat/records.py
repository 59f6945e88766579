"""The format of every cache: records that can be computed again, one file each.

A record is right or missing. Its checksum covers the cache's name and version, the key and the body. So a record that
is damaged, truncated, of another version or in the place of another one is dropped, and computed again; also one that
belongs to another user.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from topcoat.state import cache_dir, write_cache

T = TypeVar("T")

_DIGEST_BYTES = 32
_MAX_RECORD_BYTES = 1 << 30
_COUNT = struct.Struct("<I")
# Bytes of a key and of its value.
_LENGTHS = struct.Struct("<IQ")
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

# One item for each open ``with`` block of `caches_unread`.
_unread: list[None] = []


@contextmanager
def caches_unread() -> Iterator[None]:
    """Read no cache while a ``with`` block runs, in all threads; records are still written."""
    _unread.append(None)
    try:
        yield
    finally:
        _unread.pop()


class Cache(NamedTuple):
    """The records of one kind.

    Attributes:
        name: of its directory.
        version: of the format of the bodies; records of another version are dropped.
    """

    name: str
    version: int

    def read(self, key: str, parse: Callable[[bytes], T]) -> T | None:
        """Return what *parse* makes of the body of the record *key*; None if there is none, or it cannot be parsed."""
        body = self._read(key)
        try:
            return None if body is None else parse(body)
        except Exception:  # written by another program: whatever does not fit is dropped
            return None

    def read_json(self, key: str, parse: Callable[[Any], T]) -> T | None:
        """Return what *parse* makes of the JSON value of the record *key*, as `read`."""
        import json

        return self.read(key, lambda body: parse(json.loads(body)))

    def write(self, key: str, body: bytes) -> None:
        """Store *body* as the record *key*; a notice says that it cannot be written."""
        write_cache(self.path(key), b"".join([self._magic, self._digest(key, body), body]))

    def write_json(self, key: str, value: object) -> None:
        """Store *value* as JSON, as `write`."""
        import json

        self.write(key, json.dumps(value).encode())

    def drop(self, key: str) -> None:
        """Remove the record *key*, which was found to be wrong."""
        with suppress(OSError):
            self.path(key).unlink()

    def path(self, key: str) -> Path:
        """Return the file of the record *key*."""
        return cache_dir(self.name) / hashlib.sha256(_encode(key)).hexdigest()[:32]

    @property
    def _magic(self) -> bytes:
        return f"topcoat record 1 {self.name} {self.version}\n".encode()

    def _digest(self, key: str, body: bytes) -> bytes:
        digest = hashlib.sha256(b"%b%d %b\0" % (self._magic, len(key), _encode(key)))
        digest.update(body)
        return digest.digest()

    def _read(self, key: str) -> bytes | None:
        if _unread:
            return None
        magic = self._magic
        try:
            handle = os.open(self.path(key), _READ_ONLY)
            try:
                st = os.fstat(handle)
                if not stat.S_ISREG(st.st_mode) or st.st_size > _MAX_RECORD_BYTES or not _is_own(st):
                    return None
                head = os.read(handle, len(magic) + _DIGEST_BYTES)
                # Read apart from the head: copying a megabyte takes as long as parsing it.
                body = os.read(handle, st.st_size)
            finally:
                os.close(handle)
        except OSError:
            return None
        return body if head == magic + self._digest(key, body) else None


def format_map(values: Mapping[bytes, bytes]) -> bytes:
    """Return *values* as the body of a record."""
    lengths = b"".join([_LENGTHS.pack(len(key), len(value)) for key, value in values.items()])
    return b"".join([_COUNT.pack(len(values)), lengths, *values, *values.values()])


def parse_map(body: bytes) -> dict[bytes, bytes]:
    """Return what `format_map` made a body of."""
    (count,) = _COUNT.unpack_from(body)
    key_at = _COUNT.size + count * _LENGTHS.size
    lengths = list(_LENGTHS.iter_unpack(body[_COUNT.size : key_at]))
    at = key_at + sum([length for length, _ in lengths])
    values: dict[bytes, bytes] = {}
    for key, value in lengths:
        values[body[key_at : key_at + key]] = body[at : at + value]
        key_at += key
        at += value
    return values


def _is_own(st: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or st.st_uid == os.geteuid()


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
