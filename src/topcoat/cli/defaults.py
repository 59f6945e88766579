"""Flags' defaults out of ``.torchxconfig``: the section ``[cli:<command>]``."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from topcoat.errors import InvalidConfigFile

if TYPE_CHECKING:
    from topcoat.cli.parser import Parser


def configured(command: str) -> dict[str, str]:
    """Return the section ``[cli:<command>]`` as name to text, names with underscores; empty where no file has it.

    Raises:
        InvalidConfigFile: a file cannot be read.
    """
    # Reading takes imports that most command lines have no use for.
    if "TORCHXCONFIG" not in os.environ:
        # The relative one is the current directory, which may have been removed.
        places = (os.path.expanduser("~/.torchxconfig"), ".torchxconfig")
        if not any(map(os.path.isfile, places)):
            return {}
    from topcoat.runner.config import get_configs

    section = get_configs("cli", command)
    return {name.replace("-", "_"): text for name, text in section.items() if text != "None"}


def apply_defaults(parser: Parser, section: dict[str, str]) -> None:
    """Make the texts of *section* the defaults of the flags that they name; what is no flag is said and ignored.

    A flag that may be repeated takes a value from each line. A flag whose default is suppressed is left alone: its
    command looks it up in ``args.configured``.

    Raises:
        InvalidConfigFile: a value that the flag does not take.
    """
    flags = {flag.lstrip("-").replace("-", "_"): action for flag, action in parser.flags().items()}
    known: dict[str, str] = {}
    for name, text in section.items():
        action = flags.get(name)
        known[action.dest if action else name] = text
        if action is None or isinstance(action, argparse._HelpAction):
            if name not in parser.settings:
                _unknown(parser, name)
        elif action.default != argparse.SUPPRESS:
            parser.set_defaults(**{action.dest: _value(parser, action, name, text)})
    parser.set_defaults(configured=known)


def _unknown(parser: Parser, name: str) -> None:
    from topcoat.notices import notice

    notice(f".torchxconfig: [cli:{parser.name}] sets {name}, which is no flag of {parser.prog}: ignored")


def _value(parser: Parser, action: argparse.Action, name: str, text: str) -> object:
    where = f".torchxconfig: [cli:{parser.name}] {name}"
    if action.nargs == 0:
        from topcoat.specs.cfg import parse_bool

        try:
            return parse_bool(text)
        except ValueError as error:
            raise InvalidConfigFile(f"{where}: {error}") from None
    if isinstance(action, argparse._AppendAction):
        return [_one(where, action, line.strip()) for line in text.splitlines() if line.strip()]
    return _one(where, action, text)


def _one(where: str, action: argparse.Action, text: str) -> object:
    convert = action.type
    try:
        value: object = convert(text) if callable(convert) else text
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise InvalidConfigFile(f"{where}: {text!r} is no value of it: {error}") from None
    if action.choices is not None and value not in action.choices:
        raise InvalidConfigFile(f"{where}: {text!r} is none of {', '.join(map(str, action.choices))}")
    return value
