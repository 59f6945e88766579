"""The image of one platform, as config and manifest."""

from __future__ import annotations

import json

from topcoat.bases.base import Base
from topcoat.images.image_build import PlatformImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, Manifest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import Layer, PackOptions

_ONE, _TWO, _THREE, _FOUR = (f"sha256:{letter * 64}" for letter in "1234")
_BASE = Base(
    "base",
    _ONE,
    Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, _ONE, 1), (Descriptor(OCI_LAYER_GZIP, _TWO, 7),)),
    ImageConfig({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [_THREE]}}),
)
_LAYERS = [Layer(_ONE, _TWO, 1), Layer(_THREE, _FOUR, 2)]


def test_the_diff_ids_of_the_code_layers_are_a_label_beside_the_others() -> None:
    image = PlatformImage(_BASE, PackOptions(b"w", ()), Changes("/w", {}, {"a": "b"}))
    config = json.loads(image.patch(_LAYERS).config)
    assert config["config"]["Labels"] == {"a": "b", "dev.topcoat.layers": f"{_LAYERS[0].diff_id},{_LAYERS[1].diff_id}"}
    assert config["rootfs"]["diff_ids"] == [_THREE, _LAYERS[0].diff_id, _LAYERS[1].diff_id]


def test_code_layers_lie_above_those_of_the_base_with_their_own_compression() -> None:
    image = PlatformImage(_BASE, PackOptions(b"w", (), compression="zstd"), Changes("/w", {}, {}))
    layers = json.loads(image.patch(_LAYERS).manifest)["layers"]
    assert [layer["digest"] for layer in layers] == [_TWO, _LAYERS[0].digest, _LAYERS[1].digest]
    assert [layer["mediaType"] for layer in layers] == [OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_LAYER_ZSTD]
