"""Whatever is wrong with a base, the patched image breaks no rule."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oci.test_config import IDS, REGISTRY
from topcoat.errors import InvalidImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.digest import canonical_json
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
from topcoat.oci.platform import Platform
from topcoat.oci.repair import repair_config, repair_history
from topcoat.oci.validate import find_mismatches

CODE = CodeLayer("sha256:" + "3" * 64, "sha256:" + "c" * 64, 30)
CHANGES = Changes("/work", {"WORKSPACE_DIR": "/work"}, {"label": "of ours"})
NATIVE = Platform("linux", "amd64")

# What is wrong with the config of the base: keys that replace others, None to remove one.
TOP: dict[str, dict[str, Any]] = {
    "fewer steps than layers": {"history": [{"created_by": "one"}]},
    "more steps than layers": {"history": [{"created_by": str(number)} for number in range(5)]},
    "only steps without a layer": {"history": [{"empty_layer": True}]},
    "a history that is no list": {"history": {"created_by": "x"}},
    "a step that is no object": {"history": ["RUN x", "RUN y"]},
    "steps with wrong types": {
        "history": [
            {"created": 7, "created_by": ["x"], "comment": None, "author": 3, "empty_layer": "true"},
            {"created": "yesterday", "empty_layer": 1},
        ]
    },
    "no created": {"created": None},
    "an invalid created": {"created": "2024-13-01"},
    "no os and no architecture": {"os": None, "architecture": None},
    "an os and an architecture of wrong types": {"os": 1, "architecture": ["amd64"]},
    "empty os and architecture": {"os": "", "architecture": ""},
    "a variant, a version and features of wrong types": {"variant": 8, "os.version": 1, "os.features": "x"},
    "an author that is no string": {"author": {"name": "x"}},
    "no config": {"config": None},
    "a config that is no object": {"config": ["x"]},
    "keys in other case": {"OS": "linux", "Created": "2024-05-01T00:00:00Z", "Architecture": "arm64"},
    "leftovers of schema 1": {
        "id": "1" * 64,
        "parent": "2" * 64,
        "throwaway": True,
        "container": 5,
        "container_config": "x",
        "docker_version": 20,
        "Size": 7,
    },
    "digests in upper case": {"rootfs": {"type": "layers", "diff_ids": [diff_id.upper() for diff_id in IDS]}},
    "an odd type of the layers": {"rootfs": {"type": "tarballs", "diff_ids": IDS}},
    "no type of the layers": {"rootfs": {"diff_ids": IDS}},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "null lists and objects": dict.fromkeys(
        ("Env", "Cmd", "Entrypoint", "Labels", "Volumes", "ExposedPorts", "OnBuild", "Healthcheck", "Shell")
    ),
    "variables without a value": {"Env": ["PATH=/bin", "LANG", "", "=x", "A=b=c"]},
    "variables that are no strings": {"Env": ["PATH=/bin", 7, None]},
    "labels that are no strings": {"Labels": {"a": 1, "b": None, "c": ["x"], "d": "right", "e": True}},
    "a user in digits": {"User": 1000},
    "commands that are strings": {"Cmd": "python3", "Entrypoint": "/init", "Shell": "sh"},
    "commands with numbers": {"Cmd": ["sleep", 10]},
    "lists in place of objects": {"Volumes": ["/data"], "ExposedPorts": ["80/tcp"]},
    "values in volumes and ports": {"Volumes": {"/data": "x"}, "ExposedPorts": {"80/tcp": None}},
    "flags and numbers of wrong types": {"Tty": "yes", "AttachStdin": 1, "StopTimeout": "10", "StopSignal": 9},
    "a health check of wrong types": {"Healthcheck": {"Test": "true", "Interval": "10s", "Retries": 3, "Odd": 1}},
    "settings in other case": {"workingdir": "/else", "USER": "0", "env": ["A=1"]},
}
ODD = {**TOP, **{name: {"config": {**REGISTRY["config"], **change}} for name, change in SETTINGS.items()}}

Layers = list[dict[str, Any]]
LAYERS: dict[str, Layers] = {
    "OCI types": [{"mediaType": OCI_LAYER_GZIP}, {"mediaType": OCI_LAYER}],
    "Docker types": [{"mediaType": DOCKER_LAYER_GZIP}, {"mediaType": DOCKER_LAYER}],
    "zstd": [{"mediaType": OCI_LAYER_ZSTD}, {"mediaType": DOCKER_LAYER_GZIP}],
    "missing": [{}, {"mediaType": ""}],
    "unknown": [
        {"mediaType": "application/octet-stream"},
        {"mediaType": "application/vnd.oci.image.layer.v1.tar.gzip"},
    ],
    "foreign": [{"mediaType": DOCKER_FOREIGN_LAYER, "urls": ["https://x/y"]}, {"mediaType": DOCKER_LAYER_GZIP}],
    "annotations, urls": [
        {"mediaType": DOCKER_LAYER_GZIP, "annotations": {"a": 1}, "urls": "https://x"},
        {"mediaType": DOCKER_LAYER_GZIP, "annotations": None, "urls": None},
    ],
    "digests in upper case": [{"mediaType": DOCKER_LAYER_GZIP, "digest": "SHA256:" + "AB" * 32}, {}],
}


def odd_config(change: dict[str, Any]) -> dict[str, Any]:
    document = {**copy.deepcopy(REGISTRY), **change}
    return {key: value for key, value in document.items() if value is not None}


def patched(document: dict[str, Any], layers: Layers | None = None, media_type: str = DOCKER_MANIFEST) -> PatchedImage:
    raw = canonical_json(document)
    described = [
        {"digest": f"sha256:{number}" + "a" * 63, "size": 9, **layer}
        for number, layer in enumerate(layers or [{"mediaType": DOCKER_LAYER_GZIP}] * 2)
    ]
    config = {"mediaType": "application/octet-stream", "digest": "sha256:" + "d" * 64, "size": len(raw)}
    manifest = parse(
        json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described}).encode()
    )
    assert isinstance(manifest, Manifest)
    return patch(ImageConfig.parse(raw).complete(NATIVE), manifest, [CODE], CHANGES)


def check(image: PatchedImage) -> dict[str, Any]:
    assert find_mismatches(image.manifest, image.config, media_type=image.media_type) == []
    found: dict[str, Any] = json.loads(image.config)
    return found


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
@pytest.mark.parametrize("fault", ODD)
def test_a_patched_image_is_valid_whatever_is_wrong_with_the_config_of_its_base(fault: str, media_type: str) -> None:
    found = check(patched(odd_config(ODD[fault]), media_type=media_type))
    assert found["rootfs"]["diff_ids"] == [*IDS, CODE.diff_id]
    if "history" in found:
        assert sum(not step.get("empty_layer") for step in found["history"]) == 3
        assert found["history"][-1]["comment"] == f"code layer {CODE.diff_id}"


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_patched_image_is_valid_whatever_the_media_types_of_its_base(kind: str, media_type: str) -> None:
    image = patched(REGISTRY, LAYERS[kind], media_type)
    check(image)
    found = parse(image.manifest)
    assert isinstance(found, Manifest)
    assert found.config.media_type == (OCI_CONFIG if image.media_type == OCI_MANIFEST else DOCKER_CONFIG)
    assert image.media_type == (OCI_MANIFEST if kind == "zstd" else media_type)
    if kind == "foreign":
        assert found.layers[0].extra["urls"] == ["https://x/y"]


def test_what_means_something_is_converted_and_the_rest_removed() -> None:
    found = check(patched(odd_config(ODD["variables without a value"])))
    # As in Docker, a variable without a value is not set.
    assert found["config"]["Env"] == ["PATH=/bin", "A=b=c", "WORKSPACE_DIR=/work"]
    found = check(patched(odd_config(ODD["labels that are no strings"])))
    expected = {"a": "1", "b": "", "c": '["x"]', "d": "right", "e": "true", "label": "of ours"}
    assert found["config"]["Labels"] == expected
    found = check(patched(odd_config(ODD["commands that are strings"])))
    assert (found["config"]["Cmd"], found["config"]["Entrypoint"]) == (["python3"], ["/init"])
    found = check(patched(odd_config(ODD["no os and no architecture"])))
    assert (found["os"], found["architecture"]) == ("linux", "amd64")
    found = check(patched(odd_config(ODD["settings in other case"])))
    assert (found["config"]["WorkingDir"], found["config"]["User"]) == ("/work", "1000")
    assert not {"workingdir", "USER", "env"} & found["config"].keys()


def test_the_history_is_repaired_as_buildkit_does_it() -> None:
    steps = [{"created_by": str(number)} for number in range(3)]
    assert repair_history(steps, 1) == [steps[0], {**steps[1], "empty_layer": True}, {**steps[2], "empty_layer": True}]
    added = {"created_by": "unknown", "comment": "layer of the base image"}
    assert repair_history(steps[:1], 3) == [steps[0], added, added]
    assert repair_history(None, 3) is None


def test_a_right_config_stays_equal() -> None:
    assert repair_config(REGISTRY) == REGISTRY


def test_a_working_directory_with_a_lone_surrogate_is_an_error_that_says_what_to_do() -> None:
    config = ImageConfig.parse(json.dumps({**REGISTRY, "config": {"WorkingDir": "/a\ud800"}}).encode())
    with pytest.raises(InvalidImage, match="is not valid Unicode") as caught:
        _ = config.working_dir
    assert "workspace_dir" in str(caught.value.hint)
    assert config.identity


_json = st.recursive(
    # A number with more than 20 digits is refused where the config is read.
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from([key for key in REGISTRY if key != "rootfs"])
_settings = st.sampled_from(["Env", "Cmd", "Labels", "User", "WorkingDir", "Volumes", "ExposedPorts", "StopSignal"])


@given(st.dictionaries(_keys, _json, max_size=3), st.dictionaries(_settings, _json, max_size=3))
def test_a_patched_image_is_valid_over_any_config(change: dict[str, Any], settings: dict[str, Any]) -> None:
    document = odd_config(change)
    if isinstance(document.get("config"), dict):
        document["config"] = {**document["config"], **settings}
    check(patched(document))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=3), st.sampled_from([DOCKER_MANIFEST, OCI_MANIFEST]))
def test_a_patched_image_is_valid_over_any_media_types(types: list[str], media_type: str) -> None:
    document = {**REGISTRY, "rootfs": {"type": "layers", "diff_ids": [IDS[0]] * len(types)}}
    check(patched(document, [{"mediaType": kind} for kind in types], media_type))


@pytest.mark.parametrize(
    ("created", "is_kept"),
    [
        ("2024-05-01T00:00:00Z", True),
        ("2024-05-01T00:00:00.123456789Z", True),
        ("2024-05-01T23:59:59+02:00", True),
        ("0001-01-01T00:00:00Z", True),
        ("2024-13-01T00:00:00Z", False),
        ("2024-05-01T24:00:00Z", False),
        ("2024-05-01T00:00:00", False),
        ("2024-05-01T00:00:00.Z", False),
        ("2024-05-01T00:00:00+2:00", False),
        ("2024-05-01T00:00:00+25:00", False),
        ("2024-05-01 00:00:00Z", False),
        ("٢٠٢٤-05-01T00:00:00Z", False),
        ("", False),
    ],
)
def test_a_date_is_kept_if_go_can_parse_it(created: str, is_kept: bool) -> None:
    assert ("created" in repair_config({**REGISTRY, "created": created})) is is_kept
