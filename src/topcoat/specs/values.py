"""Parse and check the arguments of a component."""

from __future__ import annotations

import types
import typing
from typing import Any, NamedTuple

from topcoat.specs.cfg import get_type_name, is_scalar, parse_scalar, split_items, split_pairs

_PRIMITIVES = (str, int, float, bool)
_EXPECTED = "str, int, float, bool, list[...], dict[..., ...] of these, dict[..., list[...]], or one of these | None"


class ParameterType(NamedTuple):
    """Describe a parameter's type: *base* is str, int, float, bool, list or dict; *items* the types of its items."""

    base: type
    items: tuple[ParameterType, ...] = ()
    optional: bool = False
    flags: tuple[str, ...] = ()
    """Additional flags, from ``Annotated[..., "-x"]``."""

    def __str__(self) -> str:
        arguments = f"[{', '.join(map(str, self.items))}]" if self.items else ""
        return f"{self.base.__name__}{arguments}{' | None' if self.optional else ''}"


def parameter_type(annotation: Any) -> ParameterType:
    """Return the type of an annotation, or raise ``TypeError`` if components do not support it."""
    flags: tuple[str, ...] = ()
    if hasattr(annotation, "__metadata__"):
        flags = tuple(text for text in annotation.__metadata__ if isinstance(text, str) and text.startswith("-"))
        annotation = annotation.__origin__
    plain, optional = _without_none(annotation)
    origin, arguments = typing.get_origin(plain) or plain, typing.get_args(plain)
    if origin in _PRIMITIVES:
        return ParameterType(origin, (), optional, flags)
    if origin in (list, dict):
        items = tuple(map(parameter_type, arguments)) or (ParameterType(str),) * (1 if origin is list else 2)
        # Of containers, only a list may be an item, as a value of a dict.
        may_be = [item.base in _PRIMITIVES and not item.optional for item in items]
        if origin is dict and items[1].base is list and items[1].items[0].base in _PRIMITIVES:
            may_be[1] = not items[1].optional
        if all(may_be):
            return ParameterType(origin, items, optional, flags)
    raise TypeError(f"unsupported type {get_type_name(annotation)}: choose {_EXPECTED}")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [part for part in typing.get_args(annotation) if part is not type(None)]
    return (others[0], True) if len(others) == 1 else (annotation, False)


def decode(text: str, type_: ParameterType) -> object:
    """Parse *text* as a value of *type_*.

    Lists are ``a,b``; dicts are ``K=V,K2=V2``, and a value that is a list ends before the next ``K=``. An empty string
    is an empty list or dict, or ``None`` if *type_* is optional (TorchX). Raise ``ValueError`` for an invalid value.
    """
    if type_.base is list:
        items = split_items(text, ",")
        return [decode(item, type_.items[0]) for item in items] if items or not type_.optional else None
    if type_.base is dict:
        key_type, value_type = type_.items
        pairs = split_pairs(text).items()
        if value_type.base is list:  # ; separates its items too
            pairs = {key: ",".join(split_items(value)) for key, value in pairs}.items()
        decoded = {decode(key, key_type): decode(value, value_type) for key, value in pairs}
        return decoded if decoded or not type_.optional else None
    return parse_scalar(text, type_.base)


def accepts(value: object, type_: ParameterType) -> bool:
    """Tell whether *value*, a Python object and not text, has the type *type_*; see ``cfg.is_scalar``."""
    if value is None:
        return type_.optional
    if type_.base is list:
        return isinstance(value, list) and all(accepts(item, type_.items[0]) for item in value)
    if type_.base is dict:
        return isinstance(value, dict) and all(all(map(accepts, pair, type_.items)) for pair in value.items())
    return is_scalar(value, type_.base)
