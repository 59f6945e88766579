"""Run options as text: ``key=value`` pairs, and values of each type.

The grammar is TorchX's. Pairs are separated by ``,`` or ``;``, and so are the items of a list or dict, so it
is the last separator before the next ``key=`` that ends a value: ``hosts=a,b,queue=q`` has two pairs. Quotes,
single or double, around a value or around an item of it protect separators and ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from topcoat.errors import InvalidRunConfigException

CfgVal = str | int | float | bool | list[str] | dict[str, str] | None
"""What a run option can be."""

_BOOLS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
# A quote is one only where a value or an item begins; anywhere else it is a letter, as in "don't".
_QUOTED = re.compile(r"""\s*(?:"((?:\\"|[^"])*)"|'((?:\\'|[^'])*)')\s*(?=[,;=:]|\Z)""")
_KEY = re.compile(r"[^\s,;='\":]+")


def one_of(cfg: Mapping[str, CfgVal], key: str, choices: tuple[str, ...]) -> str:
    """Return the value of an option that has to be one of *choices*; the first stands for none.

    Raise ``InvalidRunConfigException`` for any other.
    """
    value = str(cfg.get(key) or choices[0])
    if value not in choices:
        raise InvalidRunConfigException(f"{key} is {value!r}", hint=f"{key} is one of {', '.join(choices)}")
    return value


def split_pairs(text: str) -> dict[str, str]:
    """Split ``key=value,key=value`` into a dict, values still as text.

    A value that is quoted as a whole loses its quotes; otherwise quotes stay for ``cast`` to see. Empty text
    gives an empty dict. Raise ``InvalidRunConfigException`` for anything but pairs.
    """
    pairs: dict[str, str] = {}
    if not text.strip():
        return pairs
    key, pos = _take_key(text, 0)
    while True:
        value, after, next_key = _take_value(text, pos, key)
        if key in pairs and pairs[key] != value:
            raise InvalidRunConfigException(f"the run option {key!r} is given twice in {text!r}", key)
        pairs[key] = value
        if next_key is None:
            return pairs
        key, pos = next_key, after


def _take_key(text: str, pos: int) -> tuple[str, int]:
    name, equals, _ = text[pos:].partition("=")
    key = name.strip()
    if not equals or not _KEY.fullmatch(key):
        raise InvalidRunConfigException(
            f"run options begin with key=value, not {text!r}", hint="write key=value,key2=value2"
        )
    return key, pos + len(name) + 1


def _take_value(text: str, start: int, key: str) -> tuple[str, int, str | None]:
    """Return the value that begins at *start*, where the next one begins, and the next one's key."""
    separator = -1
    pos = _item_end(text, start, ",;=")
    while pos < len(text) and text[pos] != "=":
        separator = pos
        pos = _item_end(text, pos + 1, ",;=")
    if pos == len(text):
        return _value(text[start:], key), pos, None
    next_key = text[separator + 1 : pos].strip()
    if separator < 0 or not _KEY.fullmatch(next_key):
        before = text[start:pos].strip()
        name = before if _KEY.fullmatch(before) else "KEY"
        raise InvalidRunConfigException(
            f"the value of {key!r} has an '=' after {before!r}",
            key,
            hint=f"separate options by a comma, write a map as {key}={name}:VALUE, or quote the value: {key}='...'",
        )
    return _value(text[start:separator], key), pos + 1, next_key


def _item_end(text: str, pos: int, stops: str) -> int:
    """Return where the item that begins at *pos* ends: at the first of *stops* outside quotes."""
    may_quote = True
    while pos < len(text):
        quoted = _QUOTED.match(text, pos) if may_quote else None
        if quoted:
            pos, may_quote = quoted.end(), False
        elif text[pos] in stops:
            break
        else:
            # After the colon of a dict's pair another quote may begin.
            may_quote = text[pos] == ":"
            pos += 1
    return pos


def _value(text: str, key: str) -> str:
    value = text.strip()
    if not value:
        raise InvalidRunConfigException(
            f"the run option {key!r} has no value", key, hint=f"write {key}='' for an empty one"
        )
    quoted = _QUOTED.fullmatch(value)
    return _unquoted(quoted) if quoted else value


def _unquoted(match: re.Match[str]) -> str:
    double, single = match.groups()
    return double.replace('\\"', '"') if double is not None else single.replace("\\'", "'")


def split_items(text: str, separators: str = ",;") -> list[str]:
    """Split a list as text into its items: stripped, empty ones dropped, quoted ones without their quotes."""
    return [_unquote(item) for item in _split(text, separators)]


def _split(text: str, separators: str) -> list[str]:
    items: list[str] = []
    start = 0
    while start < len(text):
        end = _item_end(text, start, separators)
        items.append(text[start:end].strip())
        start = end + 1
    return [item for item in items if item]


def _unquote(item: str) -> str:
    quoted = _QUOTED.fullmatch(item)
    return _unquoted(quoted) if quoted else item.strip()


def cast(text: str, type_: Any) -> CfgVal:
    """Return *text* as a value of *type_*: str, int, float, bool, ``list[str]`` or ``dict[str, str]``.

    Booleans are true/1/yes/on and false/0/no/off in any case. Lists are ``a,b`` or ``a;b``, dicts
    ``k:v,k2:v2``. Raise ``ValueError`` saying what is expected.
    """
    kind = base_type(type_)
    if kind is str:
        return text
    if kind is bool:
        return parse_bool(text)
    if kind is list:
        return split_items(text)
    if kind is dict:
        return dict(_split_pair(item) for item in _split(text, ",;"))
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from None


def parse_bool(text: str) -> bool:
    """Return what true/1/yes/on or false/0/no/off, in any case, stand for, or raise ``ValueError``."""
    try:
        return _BOOLS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true/1/yes/on nor false/0/no/off") from None


def _split_pair(item: str) -> tuple[str, str]:
    colon = _item_end(item, 0, ":")
    key, value = _unquote(item[:colon]), _unquote(item[colon + 1 :])
    if colon == len(item) or not key:
        raise ValueError(f"{item!r} is not a k:v pair; pairs are k:v,k2:v2, and quotes protect a comma in v")
    return key, value


def base_type(type_: Any) -> type:
    """Return the plain type of *type_*: str, int, float, bool, list or dict, ``typing.List`` included.

    Raise ``TypeError`` for a type that no run option can have.
    """
    import typing

    origin = typing.get_origin(type_) or type_
    arguments = typing.get_args(type_)
    if origin in (str, int, float, bool, list, dict) and all(argument is str for argument in arguments):
        return origin  # type: ignore[no-any-return]
    raise TypeError(f"no run option can be a {get_type_name(type_)}: str, int, float, bool, list[str], dict[str, str]")


def get_type_name(tp: Any) -> str:
    """Return the name of a run option's type as one writes it, such as ``list[str]``."""
    import typing

    arguments = typing.get_args(tp)
    origin = typing.get_origin(tp) or tp
    name = getattr(origin, "__name__", str(origin))
    return f"{name}[{', '.join(get_type_name(argument) for argument in arguments)}]" if arguments else name


def is_type(value: object, type_: Any) -> bool:
    """Tell whether *value* is a *type_*; a bool is no number, and an int will do for a float."""
    kind = base_type(type_)
    if kind is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
