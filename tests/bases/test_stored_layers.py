"""What is remembered of compressed layers."""

from __future__ import annotations

from pathlib import Path

from topcoat.bases.stored_layers import get_stored_layers, put_stored_layers
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import DOCKER_LAYER_GZIP

_ONE, _TWO = (f"sha256:{letter * 64}" for letter in "12")


def test_what_was_remembered_is_recalled() -> None:
    layer = Descriptor(DOCKER_LAYER_GZIP, _TWO, 7)
    assert get_stored_layers((_ONE,)) == {}
    put_stored_layers({_ONE: layer})
    assert get_stored_layers((_ONE, _TWO)) == {_ONE: layer}


def test_a_diff_id_is_no_path(home: Path) -> None:
    put_stored_layers({"../../up": Descriptor(DOCKER_LAYER_GZIP, _TWO, 7)})
    assert len(list((home / ".cache/topcoat/gzip-layers").iterdir())) == 1
