"""How layers are stored: the one place that picks a compressor, and the reading of compressed layers."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from topcoat.errors import MissingDependency

Compression = Literal["gzip", "zstd", "none"]

# Level 3 makes source code a quarter smaller than gzip's level 1 does, at about the speed of reading it.
_ZSTD_LEVEL = 3
_BLOCK = 1 << 18
# Memory that a layer may ask for: the default limit of the zstd command, and more than levels up to 19 use.
MAX_ZSTD_WINDOW = 1 << 27
# RFC 1952, section 2.3.1; RFC 8878, sections 3.1.1 and 3.1.2.
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = frozenset(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))


class Compressor(NamedTuple):
    """What compresses layers on this machine; equal input gives equal output.

    Attributes:
        name: library, version and level, because the stored bytes depend on them; empty without compression.
        start: returns a new object with ``compress`` and ``flush``, like zlib's.
    """

    name: str
    start: Callable[[], Any]


def find_compressor(compression: Compression, *, threads: int = 0) -> Compressor:
    """Return the compressor for *compression*, or raise ``MissingDependency`` if zstandard is not installed.

    With *threads*, zstd compresses in so many threads beside the caller's, and the bytes differ from those without.
    """
    if compression == "none":
        return Compressor("", _Uncompressed)
    if compression == "zstd":
        library = _import_zstandard()
        name = f"zstd {'.'.join(map(str, library.ZSTD_VERSION))} level {_ZSTD_LEVEL}"
        return Compressor(name, lambda: library.ZstdCompressor(level=_ZSTD_LEVEL, threads=threads).compressobj())
    # Level 1 of isal is several times as fast as zlib's and compresses as well. Neither writes a time or a name.
    try:
        import isal
        from isal import isal_zlib
    except ImportError:
        import zlib

        return Compressor(f"zlib {zlib.ZLIB_RUNTIME_VERSION}", lambda: zlib.compressobj(1, zlib.DEFLATED, 31))
    return Compressor(f"isal {isal.ISAL_VERSION}", lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31))


class _Uncompressed:
    """Passes data through."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _import_zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise MissingDependency(
            "zstd layers need the zstandard package, which is not installed", hint="pip install 'topcoat[zstd]'"
        ) from error
    return zstandard


def compression_of(head: bytes) -> Compression:
    """Return how a blob that begins with *head* is compressed; four bytes are enough."""
    if head[:2] == _GZIP:
        return "gzip"
    return "zstd" if head[:4] == _ZSTD or head[:4] in _ZSTD_SKIPPABLE else "none"


def decompressed(stored: BinaryIO) -> BinaryIO:
    """Return the tar of a layer that is *stored*, compressed or not, as a stream at its start.

    The first bytes tell the compression, because media types can be wrong. Memory use is constant. Reading raises
    ``OSError`` if the data is damaged, `TooLarge` if a zstd frame needs too much memory; truncated zstd just ends.

    Raises:
        MissingDependency: the layer is compressed with zstd, and the zstandard package is not installed.
    """
    head = stored.read(4)
    source: Any = io.BufferedReader(_Prefixed(head, stored), _BLOCK)
    kind = compression_of(head)
    if kind == "gzip":
        import gzip

        source = gzip.GzipFile(fileobj=source)
    elif kind == "zstd":
        decompressor = _import_zstandard().ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
        source = decompressor.stream_reader(source, read_across_frames=True)
    return cast(BinaryIO, io.BufferedReader(_Checked(b"", source), _BLOCK))


class TooLarge(OSError):
    """Reading a layer needs more than is allowed."""


class _Prefixed(io.RawIOBase):
    """A stream, preceded by bytes that were already read from it."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data: bytes = self._head[: len(view)] or self._stream.read(len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)


class _Checked(_Prefixed):
    """A stream whose every failure is an ``OSError``."""

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except OSError:
            raise
        except Exception as error:  # zlib.error, EOFError, ZstdError and others
            if "too much memory" in str(error):
                raise TooLarge(f"zstd needs more than {MAX_ZSTD_WINDOW >> 20} MB of memory for it") from error
            raise OSError(f"the compressed data is damaged: {error}") from error
