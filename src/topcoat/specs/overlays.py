"""Overlays: fields of a scheduler's request that roles cannot express (TorchX's ``torchx.specs.overlays``).

An overlay is a nested dict. A dict in it is merged, a list is appended, a tuple replaces a list, and any other value
replaces. The keys ``PUT("x")``, ``JOIN("x", on="name")`` and ``DEL("x")`` replace, merge items, and remove; they are
strings, so an overlay can be a JSON or YAML file. YAML writes a tuple as ``!!python/tuple [...]``.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
from typing import TYPE_CHECKING, Any

from topcoat.errors import InvalidOverlay

if TYPE_CHECKING:
    from yaml.nodes import SequenceNode

    from topcoat.specs.app import AppDef, Role

__all__ = [
    "DEL",
    "JOIN",
    "PUT",
    "OverlaySpec",
    "apply_overlay",
    "get_overlay",
    "load_overlay",
    "parse_overlay",
    "set_overlay",
    "validate_overlay",
]

MAX_FILE = 1 << 20
_PUT, _JOIN, _DEL = "__put__:", "__join__:", "__del__:"
# TorchX's mark of metadata in the form {kind: overlay}, which set_overlay writes.
_NESTED = "__torchx_overlays__"


def PUT(key: str) -> str:  # noqa: N802  (TorchX's name)
    """Return the key that replaces the value of *key*, also a dict or a list."""
    return f"{_PUT}{key}"


def JOIN(key: str, *, on: str) -> str:  # noqa: N802  (TorchX's name)
    """Return the key that merges lists of dicts: items with the same value of *on* are merged, others appended."""
    return f"{_JOIN}{key}:{on}"


def DEL(key: str) -> str:  # noqa: N802  (TorchX's name)
    """Return the key that removes *key*; its value is ignored."""
    return f"{_DEL}{key}"


def _field(key: str) -> str:
    """Return the field that a key of an overlay is about."""
    for prefix in (_PUT, _DEL):
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key[len(_JOIN) :].partition(":")[0] if key.startswith(_JOIN) else key


def apply_overlay(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    """Merge *overlay* into *base*, in place.

    Raises:
        InvalidOverlay: a dict or list meets a value of another type, or a ``JOIN`` something else than lists of dicts.
    """
    _merge(base, overlay, is_stored=False)


def _merge(base: dict[str, Any], overlay: dict[str, Any], *, is_stored: bool) -> None:
    """Merge *overlay* into *base*: an object, or with *is_stored* another overlay, whose operators are kept."""
    for key, value in overlay.items():
        if not isinstance(key, str):
            raise InvalidOverlay(f"invalid key {key!r} in an overlay: expected a string")
        field = _field(key)
        if key.startswith(_JOIN):
            _join(base, key, field, value, is_stored=is_stored)
        elif key != field:
            _remove(base, field)
            if is_stored:
                base[key] = copy.deepcopy(value)
            elif key.startswith(_PUT):
                base[field] = _plain(value)
        else:
            _remove(base, key, keep=key)
            _merge_value(base, key, value, is_stored=is_stored)


def _merge_value(base: dict[str, Any], key: str, value: Any, *, is_stored: bool) -> None:
    current = base.get(key)
    if current is None and isinstance(value, dict):
        current = base[key] = {}
    if isinstance(current, dict) and isinstance(value, dict):
        _merge(current, value, is_stored=is_stored)
    elif isinstance(current, list) and isinstance(value, list):
        current.extend(copy.deepcopy(value))
    elif _may_replace(current, value):
        base[key] = copy.deepcopy(value) if is_stored else _plain(value)
    else:
        raise InvalidOverlay(
            f"the overlay has a {type(value).__name__} for {key!r}, which is a {type(current).__name__}",
            hint=f"write the same type, or replace it: {PUT(key)}",
        )


def _may_replace(current: Any, value: Any) -> bool:
    if isinstance(current, list):
        return isinstance(value, tuple)
    return current is None or (not isinstance(current, dict) and not isinstance(value, (dict, list)))


def _join(base: dict[str, Any], key: str, field: str, items: Any, *, is_stored: bool) -> None:
    on = key[len(_JOIN) :].partition(":")[2]
    if not on:
        raise InvalidOverlay(f"invalid key {key!r} in an overlay: expected JOIN(field, on=name), __join__:FIELD:NAME")
    current = base.get(key) if is_stored and key in base else base.get(field)
    merged = [] if current is None else current
    for part in (merged, items):
        if not isinstance(part, list) or not all(isinstance(item, dict) for item in part):
            raise InvalidOverlay(f"JOIN merges lists of objects, and {field!r} is not one")
    existing = {item[on]: item for item in merged if on in item}
    for item in copy.deepcopy(items):
        if on in item and item[on] in existing:
            existing[item[on]].update(item)
        else:
            merged.append(item)
    _remove(base, field)
    base[key if is_stored else field] = merged


def _remove(base: dict[str, Any], field: str, keep: str | None = None) -> None:
    for key in [key for key in base if key != keep and _field(key) == field]:
        del base[key]


def _plain(value: Any) -> Any:
    """Return a copy of *value* with lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def parse_overlay(text: str, source: str) -> dict[str, Any]:
    """Parse JSON or YAML as an overlay; *source* names it in errors.

    Raises:
        InvalidOverlay: it is malformed, or not an object.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML of plain values, and tuples."""

    def read_tuple(loader: Loader, node: SequenceNode) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", read_tuple)
    try:
        data = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The error's text quotes the file, which the configuration file of a workspace may name.
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise InvalidOverlay(f"{source} is not valid YAML: {type(error).__name__}{where}") from error
    if not isinstance(data, dict):
        raise InvalidOverlay(f"{source} has a {type(data).__name__}, not an object such as {{spec: {{...}}}}")
    return data


def load_overlay(uri: str) -> dict[str, Any]:
    """Read an overlay from a path or fsspec URL of a JSON or YAML file.

    Raises:
        InvalidOverlay: the file cannot be read, or is not an overlay.
    """
    import os

    import fsspec

    path = uri if "://" in uri else f"file://{os.path.abspath(os.path.expanduser(uri))}"
    try:
        with fsspec.open(path, "r", encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidOverlay(f"cannot read the overlay {uri}: {reason}", hint="name an existing file") from error
    if len(text) > MAX_FILE:
        raise InvalidOverlay(f"the overlay {uri} is larger than {MAX_FILE >> 20} MiB")
    return parse_overlay(text, f"the overlay {uri}")


def set_overlay(target: AppDef | Role, namespace: str, kind: str, overlay: Any) -> None:
    """Add *overlay*, a dict or a dataclass, to ``target.metadata[namespace][kind]``; repeated calls are merged.

    Of a dataclass the fields that are not ``None`` count.

    Raises:
        InvalidOverlay: *kind* is reserved, or *overlay* is not a dict or dataclass, or does not fit earlier ones.
    """
    _check_kind(kind)
    added = _as_dict(overlay)
    metadata: dict[str, Any] = target.metadata
    kinds = metadata.get(namespace)
    if not isinstance(kinds, dict):
        kinds = metadata[namespace] = {}
    kinds[_NESTED] = True
    if not isinstance(kinds.get(kind), dict):
        kinds[kind] = {}
    _merge(kinds[kind], added, is_stored=True)


def get_overlay(target: AppDef | Role, namespace: str, kind: str, *, flat_fallback: bool = True) -> dict[str, Any]:
    """Return the overlay in ``target.metadata[namespace][kind]``, empty if there is none.

    A string in ``metadata[namespace]`` names a file. A dict that ``set_overlay`` has not written may be the overlay
    itself, unless *flat_fallback* is false.
    """
    _check_kind(kind)
    kinds = target.metadata.get(namespace)
    if isinstance(kinds, str):
        kinds = load_overlay(kinds)
    if not isinstance(kinds, dict):
        return {}
    if isinstance(kinds.get(kind), dict):
        found: dict[str, Any] = kinds[kind]
        return found
    # As in TorchX: several dicts are overlays of other kinds, unless they are the two parts that every object has.
    is_nested = len(kinds) > 1 and all(isinstance(value, dict) for value in kinds.values())
    is_object = set(kinds) <= {"spec", "metadata"}
    if kinds.get(_NESTED) or not flat_fallback or (is_nested and not is_object):
        return {}
    return kinds


def _check_kind(kind: str) -> None:
    if kind == _NESTED:
        raise InvalidOverlay(f"invalid overlay kind {kind!r}: the name is reserved")


def _as_dict(overlay: Any) -> dict[str, Any]:
    if not isinstance(overlay, dict) and (not dataclasses.is_dataclass(overlay) or isinstance(overlay, type)):
        raise InvalidOverlay(f"an overlay is a dict or a dataclass instance, not a {type(overlay).__name__}")
    converted: dict[str, Any] = _convert(overlay)
    return converted


def _convert(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _convert(item) for name, item in fields if item is not None}
    if isinstance(value, enum.Enum):
        return _convert(value.value)
    if isinstance(value, dict):
        return {key: _convert(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_convert(item) for item in value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise InvalidOverlay(f"invalid value of type {type(value).__name__} in an overlay: expected plain data")


def validate_overlay(
    overlay: dict[str, Any],
    *,
    blocklist: list[str] | None = None,
    forbidden_keys: set[str] | None = None,
    overlay_name: str = "overlay",
    suggestion: str = "",
) -> None:
    """Refuse fields that a role has itself (*blocklist*), or that belong into another overlay (*forbidden_keys*).

    Raises:
        InvalidOverlay: the overlay has one of them; *suggestion* is the hint.
    """
    fields = [_field(key) for key in overlay]
    own = [field for field in fields if field in (blocklist or ())]
    if own:
        names = ", ".join(f"{overlay_name}.{field}" for field in own)
        raise InvalidOverlay(f"the overlay sets {names}", hint="set the attribute of the role instead")
    misplaced = sorted({field for field in fields if field in (forbidden_keys or ())})
    if misplaced:
        raise InvalidOverlay(f"{overlay_name} has misplaced keys: {', '.join(misplaced)}", hint=suggestion or None)


@dataclasses.dataclass(frozen=True)
class OverlaySpec:
    """Declare an overlay that a scheduler reads: its place, and the fields that must be set on roles instead."""

    namespace: str
    kind: str
    blocklist: tuple[str, ...] = ()

    def set(self, target: AppDef | Role, overlay: Any) -> None:
        """Check *overlay* and add it with ``set_overlay``."""
        converted = _as_dict(overlay)
        validate_overlay(converted, blocklist=list(self.blocklist), overlay_name=self.kind)
        set_overlay(target, self.namespace, self.kind, converted)

    def get(self, target: AppDef | Role) -> dict[str, Any]:
        """Return the overlay of *target*, checked."""
        overlay = get_overlay(target, self.namespace, self.kind, flat_fallback=False)
        validate_overlay(overlay, blocklist=list(self.blocklist), overlay_name=self.kind)
        return overlay
