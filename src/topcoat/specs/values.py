"""A component's argument as text, and the types that a component's parameter may have."""

from __future__ import annotations

import types
import typing
from typing import Any, NamedTuple

from topcoat.specs.cfg import get_type_name, parse_bool, split_items, split_pairs

_PRIMITIVES = (str, int, float, bool)
_EXPECTED = "str, int, float, bool, list[...], dict[..., ...] of these, or one of them | None"


class ParameterType(NamedTuple):
    """Describe a parameter's type: *base* is str, int, float, bool, list or dict; *items* what it holds."""

    base: type
    items: tuple[type, ...]
    optional: bool
    flags: tuple[str, ...]
    """Further spellings of the flag, from ``Annotated[..., "-x"]``."""

    def __str__(self) -> str:
        arguments = f"[{', '.join(item.__name__ for item in self.items)}]" if self.items else ""
        return f"{self.base.__name__}{arguments}{' | None' if self.optional else ''}"


def parameter_type(annotation: Any) -> ParameterType:
    """Return the type that *annotation* stands for, or raise ``TypeError`` if no component can have it."""
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
    raise TypeError(f"{get_type_name(annotation)} is not {_EXPECTED}")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [part for part in typing.get_args(annotation) if part is not type(None)]
    return (others[0], True) if len(others) == 1 else (annotation, False)


def decode(text: str, type_: ParameterType) -> object:
    """Return *text* as a value of *type_*.

    Lists are ``a,b``; dicts are ``K=V,K2=V2``; empty text is an empty list or dict, ``None`` where that is
    allowed (TorchX). Raise ``ValueError`` saying what is expected.
    """
    if type_.base is list:
        items = split_items(text, ",")
        return [_decode_one(item, type_.items[0]) for item in items] if items or not type_.optional else None
    if type_.base is dict:
        pairs = split_pairs(text).items()
        key_type, value_type = type_.items
        decoded = {_decode_one(key, key_type): _decode_one(value, value_type) for key, value in pairs}
        return decoded if decoded or not type_.optional else None
    return _decode_one(text, type_.base)


def _decode_one(text: str, type_: type) -> object:
    if type_ is str:
        return text
    if type_ is bool:
        return parse_bool(text)
    try:
        return type_(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {'a whole number' if type_ is int else 'a number'}") from None


def accepts(value: object, type_: ParameterType) -> bool:
    """Tell whether *value*, given from Python rather than as text, is a *type_*; a bool is no number."""
    if value is None:
        return type_.optional
    if isinstance(value, list):
        return type_.base is list and all(_is(item, type_.items[0]) for item in value)
    if isinstance(value, dict):
        if type_.base is not dict:
            return False
        key_type, value_type = type_.items
        return all(_is(key, key_type) and _is(item, value_type) for key, item in value.items())
    return type_.base not in (list, dict) and _is(value, type_.base)


def _is(value: object, type_: type) -> bool:
    if isinstance(value, bool):
        return type_ is bool
    return isinstance(value, (int, float) if type_ is float else type_)
