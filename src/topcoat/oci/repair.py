"""Repair what a base image has wrong, so that the patched image is one that every engine and registry takes.

Engines are written in Go, and most refuse a config in which one value has the wrong type. Values that mean something
are converted; the others are removed. A right document stays equal. The history follows BuildKit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from topcoat.oci.descriptor import NOTHING, Descriptor
from topcoat.oci.digest import normal_digest
from topcoat.oci.manifest import (
    DOCKER_FOREIGN_LAYER,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TYPES,
    OCI_FOREIGN_LAYER,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_TYPES,
)

_ZEROS = str.maketrans("123456789", "000000000")
_TEXTS = ("architecture", "os", "variant", "os.version", "author", "docker_version", "container")
_KEYS = {
    key.lower(): key for key in (*_TEXTS, "created", "os.features", "config", "container_config", "rootfs", "history")
}
# Of the format of 2014: they describe another image.
_SCHEMA_1_KEYS = ("id", "parent", "parent_id", "layer_id", "throwaway", "checksum", "Size")
_STEP_TEXTS = ("created_by", "author", "comment")

# What Docker's flavour calls a layer, by either flavour's name.
_DOCKER_NAMES = {
    **{name: name for name in DOCKER_LAYER_TYPES},
    OCI_LAYER: DOCKER_LAYER,
    OCI_LAYER_GZIP: DOCKER_LAYER_GZIP,
    f"{OCI_FOREIGN_LAYER}+gzip": DOCKER_FOREIGN_LAYER,
}

_SETTINGS: dict[str, type] = {
    **dict.fromkeys(("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image", "MacAddress"), str),
    **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), list),
    **dict.fromkeys(("ExposedPorts", "Volumes", "Labels", "Healthcheck"), dict),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"), bool),
    **dict.fromkeys(("NetworkDisabled", "ArgsEscaped"), bool),
    "StopTimeout": int,
}
_SETTING_KEYS = {key.lower(): key for key in _SETTINGS}
_HEALTHCHECK: dict[str, type] = {
    "Test": list,
    **dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), int),
}


def repair_config(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an image config whose values have the right types; see `repair_history` for the history."""
    fixed = _fold_keys(document, _KEYS)
    for key in (*_SCHEMA_1_KEYS, *(key for key in _TEXTS if not isinstance(fixed.get(key), str))):
        fixed.pop(key, None)
    if not _is_time(fixed.get("created")):
        fixed.pop("created", None)
    if not _is_texts(fixed.get("os.features")):
        fixed.pop("os.features", None)
    for key in ("config", "container_config"):
        if isinstance(fixed.get(key), dict):
            fixed[key] = _repair_settings(fixed[key])
        elif key == "container_config" or fixed.get(key) is not None:
            fixed.pop(key, None)
    rootfs = fixed.get("rootfs")
    if isinstance(rootfs, dict) and _is_texts(rootfs.get("diff_ids")):
        fixed["rootfs"] = {**rootfs, "diff_ids": [normal_digest(diff_id) for diff_id in rootfs["diff_ids"]]}
    return fixed


def repair_history(history: object, layers: int) -> list[dict[str, Any]] | None:
    """Return a history with one step for each of the *layers* of a base, None if the base has no history.

    Like BuildKit, mark the surplus steps as ones without a layer, and add the missing ones.
    """
    if not isinstance(history, list) or not all(isinstance(step, dict) for step in history):
        return None
    steps, found = [], 0
    for step in history:
        fixed = {key: value for key, value in step.items() if key not in _STEP_TEXTS or isinstance(value, str)}
        if not _is_time(step.get("created")):
            fixed.pop("created", None)
        if step.get("empty_layer") is not True:
            fixed.pop("empty_layer", None)
            if found == layers:
                fixed["empty_layer"] = True
            else:
                found += 1
        steps.append(fixed)
    return [*steps, *({"created_by": "unknown", "comment": "layer of the base image"} for _ in range(layers - found))]


def repair_annotations(annotations: Mapping[str, object]) -> dict[str, str]:
    """Return *annotations* whose values are strings."""
    return {key: _text(value) for key, value in annotations.items()}


def repair_layers(layers: Sequence[Descriptor], *, oci: bool) -> tuple[list[Descriptor], bool]:
    """Return the descriptors of a base's layers, and whether they need a manifest of OCI's flavour.

    A Docker manifest can hold Docker's types only, and has none for zstd; an OCI manifest can hold both.
    """
    types = [layer.media_type if _is_known(layer.media_type) else _guessed(layer.media_type) for layer in layers]
    oci = oci or any(media_type not in _DOCKER_NAMES for media_type in types)
    return [
        repair_descriptor(layer, media_type if oci else _DOCKER_NAMES[media_type], annotations=oci)
        for layer, media_type in zip(layers, types, strict=True)
    ], oci


def _is_known(media_type: str) -> bool:
    return media_type in _DOCKER_NAMES or media_type.removesuffix("+encrypted") in OCI_LAYER_TYPES


def _guessed(media_type: str) -> str:
    """Return the type that *media_type* may mean; engines look at the content too, but only for types they know."""
    kind = OCI_FOREIGN_LAYER if "foreign" in media_type or "nondistributable" in media_type else OCI_LAYER
    if "zstd" in media_type:
        return f"{kind}+zstd"
    return kind if media_type.endswith("tar") else f"{kind}+gzip"


def repair_descriptor(descriptor: Descriptor, media_type: str, *, annotations: bool) -> Descriptor:
    """Return *descriptor* as one of this *media_type*, keys of a wrong type left out."""
    extra = dict(descriptor.extra)
    found = extra.pop("annotations", None)
    if annotations and isinstance(found, Mapping):
        extra["annotations"] = repair_annotations(found)
    if not _is_texts(extra.get("urls")):
        extra.pop("urls", None)
    return descriptor._replace(media_type=media_type, extra=extra or NOTHING)


def _repair_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    fixed = _fold_keys(settings, _SETTING_KEYS)
    for key in [key for key in fixed if key in _SETTINGS and fixed[key] is not None]:
        fixed[key] = _converted(fixed[key], _SETTINGS[key])
        if fixed[key] is None:
            del fixed[key]
    if fixed.get("Env"):
        fixed["Env"] = [pair for pair in fixed["Env"] if "=" in pair.lstrip("=") and "\0" not in pair]
    for key in ("ExposedPorts", "Volumes"):
        if fixed.get(key):
            fixed[key] = {name: {} for name in fixed[key]}
    if fixed.get("Labels"):
        fixed["Labels"] = repair_annotations(fixed["Labels"])
    if fixed.get("Healthcheck"):
        converted = {key: _converted(fixed["Healthcheck"].get(key), kind) for key, kind in _HEALTHCHECK.items()}
        fixed["Healthcheck"] = {key: value for key, value in converted.items() if value is not None}
    return fixed


def _converted(value: Any, kind: type) -> Any:
    """Return *value* as a *kind*, None if it is nothing like it."""
    if kind is list:
        value = [value] if isinstance(value, str) else value
        return [_text(item) for item in value] if isinstance(value, list) else None
    if kind is dict and _is_texts(value):
        return {name: {} for name in value}
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_time(value: object) -> bool:
    """Tell whether *value* is a time as Go parses it (RFC 3339); compiling an expression would take longer."""
    if not isinstance(value, str) or value[:19].translate(_ZEROS) != "0000-00-00T00:00:00":
        return False
    month, day, hour, minute, second = (int(value[at : at + 2]) for at in (5, 8, 11, 14, 17))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        return False
    zone = value[19:]
    if zone[:1] in (".", ",") and zone[1:2].translate(_ZEROS) == "0":
        zone = zone[1:].lstrip("0123456789")
    is_offset = zone[:1] in ("+", "-") and zone[1:].translate(_ZEROS) == "00:00"
    return zone == "Z" or (is_offset and int(zone[1:3]) < 24 and int(zone[4:]) < 60)


def _fold_keys(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return *document* with known keys in their right case: Go reads them in any, and the last one counts."""
    fixed: dict[str, Any] = {}
    for key, value in document.items():
        name = names.get(key.lower(), key)
        if name == key or name not in document:
            fixed[name] = value
    return fixed
