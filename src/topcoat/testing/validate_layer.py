"""Hold a layer against its descriptor, and its tar against the rules that all engines read it alike by."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO, cast

from topcoat.oci.compression import Compression, compression_of, decompressed
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import hasher
from topcoat.oci.mismatch import Mismatch, listed

_BLOCK = 1 << 18
_WHITEOUT = b".wh."
# `.wh..wh..opq` empties a directory, and other names of this form are reserved.
_RESERVED = b".wh..wh."


def layer_mismatches(where: str, stored: BinaryIO, layer: Descriptor) -> Generator[Mismatch, None, str | None]:
    """Yield what is wrong with a layer that is *stored* as *layer* says; return its diff id, None if it has none.

    The stream is read once, in pieces.
    """
    whole = _Hashed(stored, hasher(layer.digest))
    tar: _Hashed | None = None
    diff_id = None
    if not layer.media_type.endswith("+encrypted"):
        source = io.BufferedReader(whole, _BLOCK)
        yield from _compression(where, source.peek(4)[:4], layer.media_type)
        tar = _Hashed(decompressed(cast(BinaryIO, source)), hashlib.sha256())
        try:
            found = list(_tar(where, tar))
            _drain(tar)
        except OSError as error:
            yield Mismatch(where, "compressed data", "what can be read", str(error))
        else:
            yield from found
            diff_id = f"sha256:{tar.state.hexdigest()}"
    _drain(whole)
    actual = f"{layer.digest.partition(':')[0]}:{whole.state.hexdigest()}"
    if whole.size != layer.size:
        yield Mismatch(f"{where}.size", "bytes of the content", str(whole.size), str(layer.size), fatal=True)
    if actual != layer.digest:
        yield Mismatch(f"{where}.digest", "digest of the content", actual, layer.digest, fatal=True)
    return diff_id


def _compression(where: str, head: bytes, media_type: str) -> Iterator[Mismatch]:
    stated: Compression = (
        "zstd" if media_type.endswith("+zstd") else "gzip" if media_type.endswith(("+gzip", ".gzip")) else "none"
    )
    actual = compression_of(head)
    if actual != stated:
        yield Mismatch(f"{where}.mediaType", "compression", f"one for {actual}, which it is", media_type)


def _tar(where: str, stream: _Hashed) -> Iterator[Mismatch]:
    import tarfile

    # Of each name, whether it is a directory.
    kinds: dict[bytes, bool] = {}
    twice, outside, leaving, late, under = set(), set(), set(), set(), set()
    awaited: dict[bytes, None] = {}
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(stream, _BLOCK), mode="r|", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for member in archive:
                path = _name(member.name)
                if not _is_inside(path):
                    outside.add(path)
                    continue
                if member.islnk() and not _is_inside(_name(member.linkname)):
                    leaving.add(path)
                if path in kinds:
                    twice.add(path)
                if path in awaited:
                    late.add(path)
                kinds[path] = member.isdir()
                for parent in _parents(path):
                    if parent not in kinds:
                        awaited[parent] = None
                    elif not kinds[parent]:
                        under.add(parent)
    except tarfile.TarError as error:
        yield Mismatch(where, "tar", "an archive", str(error))
        return
    gone = {path for path in kinds if _deleted(path) in kinds}
    odd = {path for path in kinds if path.rpartition(b"/")[2] in (b".wh.", b".wh..", b".wh...")}
    yield from _rule(where, "each path once", twice)
    yield from _rule(where, "relative names without ..", outside)
    yield from _rule(where, "hard links to relative names without ..", leaving)
    yield from _rule(where, "directories before what is in them", late)
    yield from _rule(where, "every directory above an entry", [path for path in awaited if path not in kinds])
    yield from _rule(where, "directories above entries", under)
    yield from _rule(where, "no path that is both there and deleted", gone)
    yield from _rule(where, "names in whiteouts", odd)


def _rule(where: str, rule: str, broken: Iterable[bytes]) -> Iterator[Mismatch]:
    found = sorted(broken)
    if found:
        yield Mismatch(where, "entries", rule, listed(found))


def _name(text: str) -> bytes:
    """Return a member's name as bytes; some tools write ``./`` before each, and ``.`` for the root."""
    path = text.encode("utf-8", "surrogateescape").removesuffix(b"/")
    return b"" if path == b"." else path.removeprefix(b"./")


def _is_inside(path: bytes) -> bool:
    return path == b"" or not {b"", b".", b".."} & set(path.split(b"/"))


def _parents(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _deleted(path: bytes) -> bytes | None:
    """Return what *path* deletes, None where it is no whiteout."""
    directory, slash, name = path.rpartition(b"/")
    if not name.startswith(_WHITEOUT) or name.startswith(_RESERVED):
        return None
    return directory + slash + name.removeprefix(_WHITEOUT)


def _drain(stream: _Hashed) -> None:
    while stream.read(_BLOCK):
        pass


class _Hashed(io.RawIOBase):
    """A stream that hashes and counts what is read from it."""

    def __init__(self, stream: BinaryIO, state: Any) -> None:
        self._stream = stream
        self.state = state
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self.state.update(data)
        self.size += len(data)
        return len(data)
