"""Check an image config against its specification, and against the layers that it describes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from topcoat.foreign_text import parse_json
from topcoat.oci.digest import is_digest, normal_digest
from topcoat.oci.mismatch import Mismatch, shown
from topcoat.oci.platform import Platform

# The settings that a patch changes cannot be repaired if they are of another type.
_PATCHED = {"Env": list, "WorkingDir": str, "Labels": dict}
# Engines cannot start a container if one of these has a wrong type.
_SETTINGS = {
    "Env": "a list of NAME=value",
    "WorkingDir": "a string",
    "Labels": "an object with string values",
    "Cmd": "a list of strings",
    "Entrypoint": "a list of strings",
    "User": "a string",
    "StopSignal": "a string",
    "ExposedPorts": "an object",
    "Volumes": "an object",
}
_LABEL = "dev.topcoat."
_LAYERS = "dev.topcoat.layers"
_STEP = "code layer "


def config_mismatches(
    where: str, data: bytes, layers: int, platform: Platform | None
) -> Generator[Mismatch, None, list[str] | None]:
    """Yield what is wrong with the config *data*, which mismatches call *where*; return its diff ids.

    *layers* is the number of layers in the manifest, *platform* what an index states for the image, if one does.
    """
    try:
        document = parse_json(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        yield Mismatch(where, "JSON", "an object", shown(data[:60]), fatal=True)
        return None
    yield from _platform(where, document, platform)
    diff_ids = yield from _rootfs(f"{where}.rootfs", document.get("rootfs"))
    if diff_ids is not None:
        if len(diff_ids) != layers:
            number = f"{len(diff_ids)} for the manifest's {layers} layers"
            yield Mismatch(f"{where}.rootfs.diff_ids", "number of diff ids", str(layers), number, fatal=True)
        yield from _history(f"{where}.history", document.get("history"), diff_ids)
    settings = document.get("config")
    if isinstance(settings, dict):
        yield from _settings(f"{where}.config", settings)
        labels = settings.get("Labels")
        if isinstance(labels, dict):
            yield from _labels(f"{where}.config.Labels", labels, diff_ids)
    elif settings is not None:
        yield Mismatch(f"{where}.config", "type", "an object", shown(settings))
    return diff_ids


def _platform(where: str, document: Mapping[str, Any], platform: Platform | None) -> Iterator[Mismatch]:
    for key in ("architecture", "os"):
        if not isinstance(document.get(key), str) or not document[key]:
            yield Mismatch(f"{where}.{key}", "name", "a string", shown(document.get(key)))
    stated = Platform.from_json(document)
    if platform is not None and stated.known and stated.normal != platform.normal:
        yield Mismatch(where, "platform", f"{platform}, as in the index", str(stated))


def _rootfs(where: str, rootfs: object) -> Generator[Mismatch, None, list[str] | None]:
    if not isinstance(rootfs, dict):
        yield Mismatch(where, "type", "an object", shown(rootfs), fatal=True)
        return None
    if rootfs.get("type") != "layers":
        yield Mismatch(f"{where}.type", "kind", "'layers'", shown(rootfs.get("type")))
    diff_ids = rootfs.get("diff_ids")
    if not isinstance(diff_ids, list):
        yield Mismatch(f"{where}.diff_ids", "type", "a list of digests", shown(diff_ids), fatal=True)
        return None
    for number, diff_id in enumerate(diff_ids):
        if not isinstance(diff_id, str) or not is_digest(diff_id):
            place = f"{where}.diff_ids[{number}]"
            fatal = not isinstance(diff_id, str) or not is_digest(normal_digest(diff_id))
            yield Mismatch(place, "digest", "sha256: and 64 hex digits", shown(diff_id), fatal=fatal)
    return [str(diff_id) for diff_id in diff_ids]


def _history(where: str, history: object, diff_ids: list[str]) -> Iterator[Mismatch]:
    """Check that the history has a step for each layer; a config may have no history."""
    if history is None:
        return
    if not isinstance(history, list) or not all(isinstance(step, dict) for step in history):
        yield Mismatch(where, "type", "a list of objects", shown(history))
        return
    steps = [(number, step) for number, step in enumerate(history) if not step.get("empty_layer")]
    if len(steps) != len(diff_ids):
        yield Mismatch(where, "number of steps that make a layer", str(len(diff_ids)), str(len(steps)))
        return
    for (number, step), diff_id in zip(steps, diff_ids, strict=True):
        comment = step.get("comment")
        if isinstance(comment, str) and comment.startswith(_STEP) and comment != _STEP + diff_id:
            yield Mismatch(f"{where}[{number}]", "layer of the step", diff_id, comment.removeprefix(_STEP))


def _settings(where: str, settings: Mapping[str, Any]) -> Iterator[Mismatch]:
    for key, expected in _SETTINGS.items():
        value = settings.get(key)
        if value is not None and not _fits(value, expected):
            yield Mismatch(
                f"{where}.{key}", "type", expected, shown(value), fatal=not isinstance(value, _PATCHED.get(key, object))
            )


def _fits(value: Any, expected: str) -> bool:
    if expected == "a string":
        return isinstance(value, str)
    if expected.startswith("a list"):
        strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return strings and ("=" not in expected or all("=" in item.lstrip("=") for item in value))
    return isinstance(value, dict) and ("string" not in expected or all(isinstance(v, str) for v in value.values()))


def _labels(where: str, labels: Mapping[str, object], diff_ids: list[str] | None) -> Iterator[Mismatch]:
    """Check the labels of a patched image against its layers."""
    for name in ("snapshot", "base"):
        digest = labels.get(_LABEL + name)
        if digest is not None and not (isinstance(digest, str) and is_digest(digest)):
            yield Mismatch(f"{where}[{_LABEL}{name}]", "digest", "sha256: and 64 hex digits", shown(digest))
    target = labels.get(f"{_LABEL}target")
    if target is not None and not str(target).startswith("/"):
        yield Mismatch(f"{where}[{_LABEL}target]", "directory", "an absolute path", shown(target))
    stated = [digest for digest in str(labels.get(_LAYERS) or "").split(",") if digest]
    if diff_ids is not None and stated and diff_ids[-len(stated) :] != stated:
        actual = f"{len(stated)} others, or the same in another order"
        yield Mismatch(f"{where}[{_LAYERS}]", "code layers", "the topmost diff ids", actual)
