"""Check a layer against its descriptor, and its tar against the rules that make all engines read it in the same way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO, cast

from topcoat.oci.compression import Compression, compression_of, decompressed
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import hasher
from topcoat.oci.mismatch import Mismatch, listed
from topcoat.oci.validate import content_mismatches

_BLOCK = 1 << 18
_WHITEOUT = b".wh."
# `.wh..wh..opq` empties a directory, and other names of this form are reserved.
_RESERVED = b".wh..wh."


def layer_mismatches(where: str, stored: BinaryIO, layer: Descriptor) -> Generator[Mismatch, None, str | None]:
    """Yield what is wrong with a *stored* layer, called *where*; return its diff id, None if it cannot be computed.

    It is read once, in blocks.
    """
    whole = _Hashed(stored, hasher(layer.digest))
    diff_id = None
    if not layer.media_type.endswith("+encrypted"):
        source = io.BufferedReader(whole, _BLOCK)
        yield from _compression(where, source.peek(4)[:4], layer.media_type)
        tar = _Hashed(decompressed(cast(BinaryIO, source)), hashlib.sha256())
        try:
            mismatches = list(_tar(where, tar))
            _drain(tar)
        except OSError as error:
            yield Mismatch(where, "compressed data", "readable data", str(error))
        else:
            yield from mismatches
            diff_id = f"sha256:{tar.state.hexdigest()}"
    _drain(whole)
    yield from content_mismatches(where, layer, whole.size, f"{whole.state.name}:{whole.state.hexdigest()}")
    return diff_id


def _compression(where: str, head: bytes, media_type: str) -> Iterator[Mismatch]:
    stated: Compression = (
        "zstd" if media_type.endswith("+zstd") else "gzip" if media_type.endswith(("+gzip", ".gzip")) else "none"
    )
    actual = compression_of(head)
    if actual != stated:
        yield Mismatch(f"{where}.mediaType", "compression", f"one for {actual}", media_type)


def _tar(where: str, stream: _Hashed) -> Iterator[Mismatch]:
    import tarfile

    # Maps each path to whether it is a directory.
    is_dir: dict[bytes, bool] = {}
    repeated, outside, bad_links, late, not_dirs = set(), set(), set(), set(), set()
    missing: dict[bytes, None] = {}
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
                    bad_links.add(path)
                if path in is_dir:
                    repeated.add(path)
                if path in missing:
                    late.add(path)
                is_dir[path] = member.isdir()
                for parent in _parents(path):
                    if parent not in is_dir:
                        missing[parent] = None
                    elif not is_dir[parent]:
                        not_dirs.add(parent)
    except tarfile.TarError as error:
        yield Mismatch(where, "tar", "an archive", str(error))
        return
    deleted = {path for path in is_dir if _deleted(path) in is_dir}
    bad_whiteouts = {path for path in is_dir if path.rpartition(b"/")[2] in (b".wh.", b".wh..", b".wh...")}
    yield from _rule(where, "each path once", repeated)
    yield from _rule(where, "relative names without ..", outside)
    yield from _rule(where, "hard links to relative names without ..", bad_links)
    yield from _rule(where, "directories before their members", late)
    yield from _rule(where, "every directory above an entry", [path for path in missing if path not in is_dir])
    yield from _rule(where, "directories above entries", not_dirs)
    yield from _rule(where, "no path that is both present and deleted", deleted)
    yield from _rule(where, "names in whiteouts", bad_whiteouts)


def _rule(where: str, rule: str, broken: Iterable[bytes]) -> Iterator[Mismatch]:
    paths = sorted(broken)
    if paths:
        yield Mismatch(where, "entries", rule, listed(paths))


def _name(text: str) -> bytes:
    """Return a member's path as bytes; some tools write ``./`` before each name, and ``.`` for the root."""
    path = text.encode("utf-8", "surrogateescape").removesuffix(b"/")
    return b"" if path == b"." else path.removeprefix(b"./")


def _is_inside(path: bytes) -> bool:
    return path == b"" or not {b"", b".", b".."} & set(path.split(b"/"))


def _parents(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _deleted(path: bytes) -> bytes | None:
    """Return the path that the whiteout *path* deletes, None if it is not a whiteout."""
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
