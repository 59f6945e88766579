"""Parse and check the arguments of a component."""

from __future__ import annotations

import types
import typing
from typing import Any, NamedTuple

from topcoat.specs.cfg import get_type_name, has_items, parse_scalar, split_items, split_pairs

_PRIMITIVES = (str, int, float, bool)
_EXPECTED = "str, int, float, bool, list[...], dict[..., ...] of these, or one of these | None"


class ParameterType(NamedTuple):
    """Describe a parameter's type: *base* is str, int, float, bool, list or dict; *items* the types of its items."""

    base: type
    items: tuple[type, ...]
    optional: bool
    flags: tuple[str, ...]
    """Additional flags, from ``Annotated[..., "-x"]``."""

    def __str__(self) -> str:
        arguments = f"[{', '.join(item.__name__ for item in self.items)}]" if self.items else ""
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
    if origin in (list, dict) and all(argument in _PRIMITIVES for argument in arguments):
        items = arguments or (str,) * (1 if origin is list else 2)
        return ParameterType(origin, items, optional, flags)
    raise TypeError(f"unsupported type {get_type_name(annotation)}: choose {_EXPECTED}")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [part for part in typing.get_args(annotation) if part is not type(None)]
    return (others[0], True) if len(others) == 1 else (annotation, False)


def decode(text: str, type_: ParameterType) -> object:
    """Parse *text* as a value of *type_*.

    Lists are ``a,b``; dicts are ``K=V,K2=V2``; an empty string is an empty list or dict, or ``None`` if *type_* is
    optional (TorchX). Raise ``ValueError`` for an invalid value.
    """
    if type_.base is list:
        items = split_items(text, ",")
        return [parse_scalar(item, type_.items[0]) for item in items] if items or not type_.optional else None
    if type_.base is dict:
        pairs = split_pairs(text).items()
        key_type, value_type = type_.items
        decoded = {parse_scalar(key, key_type): parse_scalar(value, value_type) for key, value in pairs}
        return decoded if decoded or not type_.optional else None
    return parse_scalar(text, type_.base)


def accepts(value: object, type_: ParameterType) -> bool:
    """Tell whether *value*, a Python object and not text, has the type *type_*; see ``cfg.is_scalar``."""
    return type_.optional if value is None else has_items(value, type_.base, type_.items)
