"""Parse run options: ``key=value`` pairs, and values of each type.

The grammar is TorchX's. ``,`` and ``;`` separate pairs, and also the items of a list or dict, so a value ends at the
last separator before the next ``key=``: ``hosts=a,b,queue=q`` has two pairs. Single or double quotes around a value or
around an item protect separators and ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from topcoat.errors import InvalidRunConfigException

CfgVal = str | int | float | bool | list[str] | dict[str, str] | None
"""A value of a run option."""

_BOOLS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
# A quote counts only at the start of a value or an item; anywhere else it is a letter, as in "don't".
_QUOTED = re.compile(r"""\s*(?:"((?:\\"|[^"])*)"|'((?:\\'|[^'])*)')\s*(?=[,;=:]|\Z)""")
_KEY = re.compile(r"[^\s,;='\":]+")


def one_of(cfg: Mapping[str, CfgVal], key: str, choices: tuple[str, ...]) -> str:
    """Return the value of the option *key*, by default the first of *choices*.

    Raise ``InvalidRunConfigException`` if it is not one of *choices*.
    """
    value = str(cfg.get(key) or choices[0])
    if value not in choices:
        raise InvalidRunConfigException(f"invalid {key} {value!r}", key, hint=f"choose {' or '.join(choices)}")
    return value


def split_pairs(text: str) -> dict[str, str]:
    """Split ``key=value,key=value`` into a dict of strings.

    Quotes around a whole value are removed; quotes around items stay, for ``cast``. An empty string gives an empty
    dict. Raise ``InvalidRunConfigException`` for anything else.
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
            f"invalid run options {text!r}: expected key=value", hint="write key=value,key2=value2"
        )
    return key, pos + len(name) + 1


def _take_value(text: str, start: int, key: str) -> tuple[str, int, str | None]:
    """Return the value that begins at *start*, the start of the next value, and the key of the next value."""
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
    """Return the end of the item that begins at *pos*: the first of *stops* outside quotes."""
    may_quote = True
    while pos < len(text):
        quoted = _QUOTED.match(text, pos) if may_quote else None
        if quoted:
            pos, may_quote = quoted.end(), False
        elif text[pos] in stops:
            break
        else:
            # The value of a dict's pair may be quoted too.
            may_quote = text[pos] == ":"
            pos += 1
    return pos


def _value(text: str, key: str) -> str:
    if not text.strip():
        raise InvalidRunConfigException(
            f"the run option {key!r} has no value", key, hint=f"write {key}='' for an empty value"
        )
    return _unquote(text)


def split_items(text: str, separators: str = ",;") -> list[str]:
    """Split a list into its items: stripped, without quotes, without empty items."""
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
    if quoted is None:
        return item.strip()
    double, single = quoted.groups()
    return double.replace('\\"', '"') if double is not None else single.replace("\\'", "'")


def cast(text: str, type_: Any) -> CfgVal:
    """Parse *text* as a value of *type_*: str, int, float, bool, ``list[str]`` or ``dict[str, str]``.

    Lists are ``a,b`` or ``a;b``, dicts ``k:v,k2:v2``; see ``parse_scalar``. Raise ``ValueError`` for an invalid value.
    """
    kind = base_type(type_)
    if kind is list:
        return split_items(text)
    if kind is dict:
        return dict(map(_split_pair, _split(text, ",;")))
    return parse_scalar(text, kind)


def parse_scalar(text: str, type_: type) -> str | int | float | bool:
    """Parse *text* as a str, int, float or bool (``parse_bool``); raise ``ValueError`` for an invalid value."""
    if type_ is str:
        return text
    if type_ is bool:
        return parse_bool(text)
    try:
        return int(text) if type_ is int else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {'an integer' if type_ is int else 'a number'}") from None


def parse_bool(text: str) -> bool:
    """Parse true/1/yes/on and false/0/no/off, in any case; raise ``ValueError`` for anything else."""
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
    """Return str, int, float, bool, list or dict for the type of a run option (``typing.List`` is list).

    Raise ``TypeError`` for an unsupported type.
    """
    import typing

    origin = typing.get_origin(type_) or type_
    arguments = typing.get_args(type_)
    if origin in (str, int, float, bool, list, dict) and all(argument is str for argument in arguments):
        return origin  # type: ignore[no-any-return]
    raise TypeError(
        f"unsupported type {get_type_name(type_)}: choose str, int, float, bool, list[str] or dict[str, str]"
    )


def get_type_name(tp: Any) -> str:
    """Return the name of a type as it is written in Python, such as ``list[str]``."""
    import typing

    arguments = typing.get_args(tp)
    origin = typing.get_origin(tp) or tp
    name = getattr(origin, "__name__", str(origin))
    return f"{name}[{', '.join(get_type_name(argument) for argument in arguments)}]" if arguments else name


def is_type(value: object, type_: Any) -> bool:
    """Tell whether *value* has the type *type_*; see ``is_scalar``."""
    return has_items(value, base_type(type_), (str, str))


def has_items(value: object, base: type, items: tuple[type, ...]) -> bool:
    """Tell whether *value* is a *base*; if that is list or dict, with *items* of these types."""
    if base is list:
        return isinstance(value, list) and all(is_scalar(item, items[0]) for item in value)
    if base is dict:
        return isinstance(value, dict) and all(all(map(is_scalar, pair, items)) for pair in value.items())
    return is_scalar(value, base)


def is_scalar(value: object, type_: type) -> bool:
    """Tell whether *value* has the type *type_*: a bool is not an int, an int is a float too."""
    if isinstance(value, bool):
        return type_ is bool
    return isinstance(value, (int, float) if type_ is float else type_)
