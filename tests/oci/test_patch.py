"""A patched image: the base's config and manifest in the base's flavour, with layers on top and nothing lost."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.oci.test_config import REGISTRY, config
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN_LAYER,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Manifest,
    parse,
)
from topcoat.oci.patch import Changes, CodeLayer, PatchedImage, patch

BASE_LAYERS = (
    Descriptor(DOCKER_FOREIGN_LAYER, "sha256:" + "a" * 64, 100, {"urls": ["https://example.org/layer"]}),
    Descriptor(OCI_LAYER_ZSTD, "sha256:" + "b" * 64, 200, {"annotations": {"kept": "yes"}}),
)
DOCKER_BASE_LAYERS = (BASE_LAYERS[0], Descriptor(DOCKER_LAYER_GZIP, "sha256:" + "b" * 64, 200))
LAYERS = (
    CodeLayer("sha256:" + "3" * 64, "sha256:" + "c" * 64, 30),
    CodeLayer("sha256:" + "4" * 64, "sha256:" + "4" * 64, 40, compression="none"),
)
CHANGES = Changes("/work", {"A": "new", "WORKSPACE_DIR": "/work"}, {"b": "new", "c": "3"})


def manifest(media_type: str = OCI_MANIFEST, **extra: Any) -> Manifest:
    config_type = OCI_CONFIG if media_type == OCI_MANIFEST else DOCKER_CONFIG
    descriptor = Descriptor(config_type, "sha256:" + "d" * 64, 7, {"data": "e30="})
    layers = BASE_LAYERS if media_type == OCI_MANIFEST else DOCKER_BASE_LAYERS
    return Manifest(media_type, descriptor, layers, **extra)


def patched(base: ImageConfig | None = None, media_type: str = OCI_MANIFEST, **extra: Any) -> PatchedImage:
    return patch(base or config(REGISTRY), manifest(media_type, **extra), LAYERS, CHANGES)


def document(image: PatchedImage) -> dict[str, Any]:
    patched_config: dict[str, Any] = json.loads(image.config)
    return patched_config


@pytest.mark.parametrize(
    ("media_type", "config_type", "layer_types"),
    [
        (OCI_MANIFEST, OCI_CONFIG, [OCI_LAYER_GZIP, OCI_LAYER]),
        (DOCKER_MANIFEST, DOCKER_CONFIG, [DOCKER_LAYER_GZIP, DOCKER_LAYER]),
    ],
)
def test_the_flavour_is_the_base_s(media_type: str, config_type: str, layer_types: list[str]) -> None:
    image = patched(media_type=media_type)
    parsed = parse(image.manifest)
    assert isinstance(parsed, Manifest)
    assert image.media_type == parsed.media_type == media_type
    assert parsed.config == image.descriptor == Descriptor(config_type, sha256_digest(image.config), len(image.config))
    assert parsed.layers[:2] == (BASE_LAYERS if media_type == OCI_MANIFEST else DOCKER_BASE_LAYERS)
    assert [layer.media_type for layer in parsed.layers[2:]] == layer_types
    assert [(layer.digest, layer.size) for layer in parsed.layers[2:]] == [layer[1:3] for layer in LAYERS]


def test_image_id_and_digest_are_those_of_config_and_manifest() -> None:
    image = patched()
    assert image.image_id == sha256_digest(image.config) == image.descriptor.digest
    assert image.digest == sha256_digest(image.manifest)


def test_annotations_stay_in_oci_manifests() -> None:
    annotations = {"org.example.kept": "yes"}
    assert json.loads(patched(annotations=annotations).manifest)["annotations"] == annotations
    docker = patched(media_type=DOCKER_MANIFEST, annotations=annotations)
    assert "annotations" not in json.loads(docker.manifest)
    assert "annotations" not in json.loads(patched().manifest)


def test_layers_are_on_top_and_the_rest_of_the_config_stays() -> None:
    before = copy.deepcopy(REGISTRY)
    patched_config = document(patched())
    assert patched_config["rootfs"]["diff_ids"] == [
        *REGISTRY["rootfs"]["diff_ids"],
        *(layer.diff_id for layer in LAYERS),
    ]
    assert patched_config["rootfs"]["type"] == "layers"
    untouched = {"architecture", "os", "variant", "created", "moby.buildkit.cache.v0"}
    assert {key: patched_config[key] for key in untouched} == {key: REGISTRY[key] for key in untouched}
    assert patched_config.keys() == REGISTRY.keys()
    for key in ("Entrypoint", "ExposedPorts", "User"):
        assert patched_config["config"][key] == REGISTRY["config"][key]
    assert before == REGISTRY, "the base's own document was changed"


def test_unknown_keys_of_the_root_file_system_stay_too() -> None:
    base = config({**REGISTRY, "rootfs": {"diff_ids": [], "x": 1}})
    assert document(patched(base))["rootfs"] == {
        "type": "layers",
        "diff_ids": [layer.diff_id for layer in LAYERS],
        "x": 1,
    }


def test_settings_are_changed() -> None:
    settings = document(patched())["config"]
    assert settings["WorkingDir"] == "/work"
    assert settings["Env"] == ["PATH=/usr/bin:/bin", "A=new", "EMPTY=", "EQUALS=a=b", "WORKSPACE_DIR=/work"]
    assert settings["Labels"] == {"a": "1", "b": "new", "c": "3"}


@pytest.mark.parametrize("settings", [None, {}, {"Env": None, "Labels": None}])
def test_a_base_without_settings_gets_those_of_the_change(settings: object) -> None:
    patched_config = document(patched(config({**REGISTRY, "config": settings})))["config"]
    assert patched_config == {
        "WorkingDir": "/work",
        "Env": ["A=new", "WORKSPACE_DIR=/work"],
        "Labels": {"b": "new", "c": "3"},
    }


def test_history_has_one_more_entry_for_each_layer() -> None:
    history = document(patched())["history"]
    assert history[:3] == REGISTRY["history"]
    assert [entry.get("empty_layer", False) for entry in history[3:]] == [False, False]
    assert len([entry for entry in history if not entry.get("empty_layer")]) == 2 + len(LAYERS)
    assert all(layer.diff_id in entry["comment"] for layer, entry in zip(LAYERS, history[3:], strict=True))


@pytest.mark.parametrize("history", [None, {}, "none"])
def test_a_base_without_history_gets_none(history: object) -> None:
    """Entries for the top layers alone would be taken for those of the bottom ones."""
    patched_config = document(patched(config({**REGISTRY, "history": history})))
    assert patched_config.get("history") is None
    base = {key: value for key, value in REGISTRY.items() if key != "history"}
    assert "history" not in document(patched(config(base)))


def test_equal_inputs_give_equal_bytes_whatever_the_order_of_their_keys() -> None:
    shuffled = dict(reversed(REGISTRY.items())) | {"config": dict(reversed(REGISTRY["config"].items()))}
    other = Changes("/work", CHANGES.env, dict(reversed(CHANGES.labels.items())))
    assert patch(config(shuffled), manifest(), LAYERS, other) == patched()


def test_any_setting_can_be_changed_or_removed_and_labels_are_added() -> None:
    base = config({**REGISTRY, "config": {"Cmd": ["old"], "User": "me", "Kept": None, "Labels": {"a": "base"}}})
    settings = {"User": "you", "Cmd": None, "Env": ["B=2"], "WorkingDir": None, "Gone": None, "Labels": {"b": "set"}}
    changes = Changes("/ignored", {"A": "ignored"}, {"c": "on top"}, settings, author="Me")
    patched_config = document(patch(base, manifest(), LAYERS, changes))
    assert patched_config["config"] == {
        "User": "you",
        "Env": ["B=2"],
        "Kept": None,
        "Labels": {"b": "set", "c": "on top"},
    }
    assert patched_config["author"] == "Me"
    assert "author" not in document(patched())


def test_no_layers_change_only_the_settings() -> None:
    image = patch(config(REGISTRY), manifest(), [], CHANGES)
    assert document(image)["rootfs"] == REGISTRY["rootfs"]
    assert document(image)["history"] == REGISTRY["history"]


def test_a_patched_image_is_a_base_again() -> None:
    image = patched()
    again = ImageConfig.parse(image.config)
    assert again.working_dir == "/work"
    assert len(again.diff_ids) == 4
    assert again.identity != config(REGISTRY).identity


class TestZstd:
    """Docker's flavour has no zstd: manifest and config become OCI's."""

    def _patched(self, media_type: str, **extra: Any) -> tuple[PatchedImage, Manifest]:
        layers = [layer._replace(compression="zstd") for layer in LAYERS]
        image = patch(config(REGISTRY), manifest(media_type, **extra), layers, CHANGES)
        parsed = parse(image.manifest)
        assert isinstance(parsed, Manifest)
        return image, parsed

    @pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
    def test_manifest_and_config_are_oci_and_the_base_s_layers_stay(self, media_type: str) -> None:
        image, found = self._patched(media_type)
        assert image.media_type == found.media_type == OCI_MANIFEST
        assert found.config.media_type == OCI_CONFIG
        assert found.layers[:2] == (BASE_LAYERS if media_type == OCI_MANIFEST else DOCKER_BASE_LAYERS)
        assert [layer.media_type for layer in found.layers[2:]] == [OCI_LAYER_ZSTD, OCI_LAYER_ZSTD]

    def test_the_config_is_the_same_as_with_gzip(self) -> None:
        assert self._patched(DOCKER_MANIFEST)[0].config == patched(media_type=DOCKER_MANIFEST).config

    def test_annotations_of_an_oci_base_stay(self) -> None:
        assert self._patched(OCI_MANIFEST, annotations={"a": "b"})[1].annotations == {"a": "b"}

    def test_without_layers_the_flavour_is_the_base_s(self) -> None:
        assert patch(config(REGISTRY), manifest(DOCKER_MANIFEST), [], CHANGES).media_type == DOCKER_MANIFEST
