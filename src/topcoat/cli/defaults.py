"""Defaults of flags from ``.torchxconfig``: the section ``[cli:<command>]``."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from topcoat.errors import InvalidConfigFile

if TYPE_CHECKING:
    from topcoat.cli.parser import Parser


def configured(command: str) -> dict[str, str]:
    """Return the section ``[cli:<command>]`` as name to text, names with underscores; empty if no file has it.

    Raises:
        InvalidConfigFile: a file cannot be read.
    """
    # Reading needs imports that most command lines can do without.
    if "TORCHXCONFIG" not in os.environ:
        # A relative path, because the current directory may have been removed.
        paths = (os.path.expanduser("~/.torchxconfig"), ".torchxconfig")
        if not any(map(os.path.isfile, paths)):
            return {}
    from topcoat.runner.config import get_configs

    section = get_configs("cli", command)
    return {name.replace("-", "_"): text for name, text in section.items() if text != "None"}


def apply_defaults(parser: Parser, section: dict[str, str]) -> None:
    """Make the texts of *section* the defaults of the flags that they name; unknown names are ignored, with a notice.

    A flag that may be repeated takes a value from each line. A flag whose default is suppressed is not changed: its
    command looks it up in ``args.configured``.

    Raises:
        InvalidConfigFile: invalid value for a flag.
    """
    flags = {flag.lstrip("-").replace("-", "_"): action for flag, action in parser.flags().items()}
    configured_texts: dict[str, str] = {}
    for name, text in section.items():
        action = flags.get(name)
        configured_texts[action.dest if action else name] = text
        if action is None or isinstance(action, argparse._HelpAction):
            if name not in parser.settings:
                from topcoat.notices import notice

                notice(f".torchxconfig: [cli:{parser.name}]: unknown flag {name!r} of {parser.prog}, ignored")
        elif action.default != argparse.SUPPRESS:
            parser.set_defaults(**{action.dest: _value(parser, action, name, text)})
    parser.set_defaults(configured=configured_texts)


def _value(parser: Parser, action: argparse.Action, name: str, text: str) -> object:
    where = f".torchxconfig: [cli:{parser.name}] {name}"
    if action.nargs == 0:
        from topcoat.specs.cfg import parse_bool

        try:
            return parse_bool(text)
        except ValueError as error:
            raise InvalidConfigFile(f"{where}: {error}") from None
    if isinstance(action, argparse._AppendAction):
        return [_convert(where, action, line.strip()) for line in text.splitlines() if line.strip()]
    return _convert(where, action, text)


def _convert(where: str, action: argparse.Action, text: str) -> object:
    convert = action.type
    try:
        value: object = convert(text) if callable(convert) else text
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise InvalidConfigFile(f"{where}: invalid value {text!r}: {error}") from None
    if action.choices is not None and value not in action.choices:
        raise InvalidConfigFile(f"{where}: invalid value {text!r}: choose {', '.join(map(str, action.choices))}")
    return value
