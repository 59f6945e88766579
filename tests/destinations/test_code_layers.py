"""The code layers of one scan: packed, cached, and spooled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import workspaces
from topcoat.destinations.code_layers import CodeLayers
from topcoat.errors import WorkspaceChanged
from topcoat.pack.layer import PackOptions
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import MAX_LAYERS
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan, ScanOptions, scan

_OPTIONS = PackOptions(b"w", ())


@pytest.fixture
def scanned(tmp_path: Path) -> Scan:
    workspace = workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(150)})
    return scan(workspace, ScanOptions(IMAGE_IGNORE_FILES))


def test_a_packed_layer_is_cached(scanned: Scan) -> None:
    code_layers = CodeLayers(scanned)
    planned = code_layers.plan(_OPTIONS, 3)[0]
    assert planned.layer is None
    packed = code_layers.pack(planned, _OPTIONS)
    assert LayerCache().get_layer(planned.key) == packed.layer
    assert len(packed.blob.read()) == packed.layer.size
    assert CodeLayers(scanned).plan(_OPTIONS, 3)[0].layer == packed.layer


def test_a_spooled_layer_is_read_from_its_start_each_time(scanned: Scan) -> None:
    code_layers = CodeLayers(scanned)
    planned = code_layers.plan(_OPTIONS, 3)[0]
    spooled = code_layers.spool(planned, _OPTIONS)
    for _ in range(2):
        packed = code_layers.pack(planned, _OPTIONS)
        assert packed is spooled
        assert len(packed.blob.read()) == spooled.layer.size
        code_layers.release(planned, packed)
    assert not spooled.blob.closed
    code_layers.close()
    assert spooled.blob.closed


def test_a_layer_that_is_not_spooled_is_closed_when_it_is_released(scanned: Scan) -> None:
    code_layers = CodeLayers(scanned)
    planned = code_layers.plan(_OPTIONS, 3)[0]
    packed = code_layers.pack(planned, _OPTIONS)
    code_layers.release(planned, packed)
    assert packed.blob.closed


def test_layers_are_packed_anew_after_the_spool_is_closed(scanned: Scan) -> None:
    code_layers = CodeLayers(scanned)
    planned = code_layers.plan(_OPTIONS, 3)[0]
    spooled = code_layers.spool(planned, _OPTIONS)
    code_layers.close()
    packed = code_layers.pack(planned, _OPTIONS)
    assert packed.layer == spooled.layer
    assert not packed.blob.closed
    packed.blob.close()


def test_a_deleted_file_is_an_error(scanned: Scan, tmp_path: Path) -> None:
    (tmp_path / "w/f7").unlink()
    code_layers = CodeLayers(scanned)
    planned = next(
        planned
        for planned in code_layers.plan(_OPTIONS, 3)
        if any(entry.path == b"f7" for entry in planned.group.members)
    )
    with pytest.raises(WorkspaceChanged, match="f7"):
        code_layers.pack(planned, _OPTIONS)


@pytest.mark.parametrize("free", [1, 2, 3])
def test_code_takes_no_more_layers_than_the_base_leaves(scanned: Scan, free: int) -> None:
    assert len(CodeLayers(scanned).plan(_OPTIONS, 3)) > 3
    assert len(CodeLayers(scanned).plan(_OPTIONS, MAX_LAYERS - free)) <= free
