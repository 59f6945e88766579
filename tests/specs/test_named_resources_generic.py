from __future__ import annotations

from topcoat.specs import Resource, resource


def test_generic_sizes_equal_torchx_sizes() -> None:
    assert resource(h="gpu.small") == Resource(cpu=8, gpu=1, memMB=32768)
    assert resource(h="cpu.nano") == Resource(cpu=1, gpu=0, memMB=512)
