"""How layers are stored, and reading them back; the one place that imports zstd."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any, BinaryIO, Literal, cast

from topcoat.errors import MissingDependency

Compression = Literal["gzip", "zstd", "none"]

# Level 3 makes source code a quarter smaller than gzip's level 1 does, at about the speed of reading it.
_ZSTD_LEVEL = 3
_BLOCK = 1 << 18
# The largest window that `zstd --ultra --long` makes.
_ZSTD_WINDOW = 1 << 31
# RFC 1952, section 2.3.1; RFC 8878, sections 3.1.1 and 3.1.2.
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = frozenset(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))


def zstandard() -> ModuleType:
    """Import the zstandard package.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import zstandard
    except ImportError as error:
        raise MissingDependency(
            "zstd layers need the zstandard package, which is not installed", hint="pip install 'topcoat[zstd]'"
        ) from error
    return zstandard


def zstd_name() -> str:
    """Return which zstd compresses: the bytes of a compressed layer depend on it."""
    library = zstandard()
    return f"zstd {'.'.join(map(str, library.ZSTD_VERSION))} level {_ZSTD_LEVEL}"


def zstd_compressor() -> Any:
    """Return a new object with ``compress`` and ``flush``, as those of zlib; the same input gives the same output."""
    return zstandard().ZstdCompressor(level=_ZSTD_LEVEL).compressobj()


def compression_of(head: bytes) -> Compression:
    """Return how a blob is compressed that begins with *head*; four bytes are enough."""
    if head[:2] == _GZIP:
        return "gzip"
    return "zstd" if head[:4] == _ZSTD or head[:4] in _ZSTD_SKIPPABLE else "none"


def decompressed(stored: BinaryIO) -> BinaryIO:
    """Return the tar of a layer that is *stored* compressed or not, as a stream to read from the start.

    What it is compressed with is read from its first bytes, for not every media type tells the truth. Memory stays
    constant. Reading raises ``OSError`` where the data is damaged; zstd that is cut short just ends.

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
        decompressor = zstandard().ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        source = decompressor.stream_reader(source, read_across_frames=True)
    return cast(BinaryIO, io.BufferedReader(_Checked(source), _BLOCK))


class _Prefixed(io.RawIOBase):
    """A stream, with bytes put back that were read from it already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._head[: len(view)] or self._stream.read(len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)


class _Checked(io.RawIOBase):
    """A stream of which every failure is an ``OSError``."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        try:
            data: bytes = self._stream.read(len(view))
        except OSError:
            raise
        except Exception as error:  # zlib.error, EOFError, ZstdError: each library has its own
            raise OSError(f"the compressed data is damaged: {error}") from error
        view[: len(data)] = data
        return len(data)
