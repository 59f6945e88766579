"""Layers read back, however they are stored."""

from __future__ import annotations

import gzip
import io
import random
import sys
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import MissingDependency
from topcoat.oci.compression import compression_of, decompressed, find_compressor

DATA = random.Random(1).randbytes(300_000) + bytes(700_000)


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (DATA, "none"),
        (gzip.compress(DATA), "gzip"),
        (gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]), "gzip"),
        (_zstd(DATA), "zstd"),
        (_zstd(DATA[:1000]) + _zstd(DATA[1000:]), "zstd"),
        (b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + _zstd(DATA), "zstd"),
    ],
    ids=["tar", "gzip", "gzip in members", "zstd", "zstd in frames", "zstd after a skippable frame"],
)
def test_a_layer_is_what_was_stored(stored: bytes, kind: str) -> None:
    assert compression_of(stored[:4]) == kind
    assert decompressed(io.BytesIO(stored)).read() == DATA


@pytest.mark.parametrize("data", [b"", b"a", b"abc"])
def test_data_too_short_to_be_compressed_is_read_as_it_is(data: bytes) -> None:
    assert compression_of(data) == "none"
    assert decompressed(io.BytesIO(data)).read() == data


@given(st.binary(max_size=5000), st.lists(st.integers(1, 700), min_size=1, max_size=30))
def test_zstd_output_does_not_depend_on_block_sizes_and_is_read_back(data: bytes, sizes: list[int]) -> None:
    whole, parted = (find_compressor("zstd").start() for _ in range(2))
    stored = whole.compress(data) + whole.flush()
    parts, position = [], 0
    for size in sizes:
        parts.append(parted.compress(data[position : position + size]))
        position += size
    assert b"".join([*parts, parted.compress(data[position:]), parted.flush()]) == stored
    assert decompressed(io.BytesIO(stored)).read() == data


@pytest.mark.parametrize(
    "stored",
    [
        gzip.compress(DATA)[:-9],
        gzip.compress(DATA)[:-4] + bytes(4),
        gzip.compress(DATA)[:1000] + b"damage" * 100 + gzip.compress(DATA)[1600:],
        _zstd(DATA)[:8] + b"damage" * 100 + _zstd(DATA)[608:],
        _zstd(DATA) + b"not a frame",
    ],
)
def test_damaged_data_is_an_error(stored: bytes) -> None:
    with pytest.raises(OSError):
        decompressed(io.BytesIO(stored)).read()


@pytest.mark.parametrize("compress", [gzip.compress, _zstd])
def test_memory_stays_small_for_a_decompression_bomb(compress: object) -> None:
    bomb = io.BytesIO(compress(bytes(64 << 20)))  # type: ignore[operator]
    tracemalloc.start()
    try:
        stream, size = decompressed(bomb), 0
        while block := stream.read(1 << 16):
            size += len(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 64 << 20
    assert peak < 8 << 20


def test_without_the_zstandard_package_zstd_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = _zstd(DATA)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for call in (lambda: find_compressor("zstd"), lambda: decompressed(io.BytesIO(stored))):
        with pytest.raises(MissingDependency, match="zstandard package") as raised:
            call()
        assert raised.value.hint == "pip install 'topcoat[zstd]'"
    assert decompressed(io.BytesIO(gzip.compress(DATA))).read() == DATA
