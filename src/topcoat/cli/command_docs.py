"""What the commands' parsers say, as plain values: for the reference and for completion scripts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Literal, NamedTuple

from topcoat.cli.commands import COMMANDS, load
from topcoat.cli.parser import Parser

Kind = Literal["", "directory", "file", "scheduler", "component", "handle"]
"""What a value is, as far as completion can help with it."""

_KINDS: dict[tuple[str, str], Kind] = {
    ("", "workspace"): "directory",
    ("", "scheduler"): "scheduler",
    ("", "schedulers"): "scheduler",
    ("", "handle"): "handle",
    ("", "handles"): "handle",
    ("log", "identifier"): "handle",
    ("run", "env_file"): "file",
    ("run", "words"): "component",
    ("builtins", "print"): "component",
    ("init", "directory"): "directory",
}


class Flag(NamedTuple):
    """Describe a flag.

    Attributes:
        spellings: the ones to show.
        value: how the help calls its value; empty for a switch.
        choices: the values that it takes, where they are known.
        kind: what its value is.
        help: what it does.
        repeats: it may be given more than once.
    """

    spellings: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    kind: Kind
    help: str
    repeats: bool


class CommandDoc(NamedTuple):
    """Describe a command.

    Attributes:
        name: its name.
        summary: what it does.
        usage: its usage line, without ``usage:``.
        flags: in the order of its help.
        arguments: those that are no flags: name and help.
        choices: the values of the first argument, where they are known.
        kind: what the first argument is.
        aliases: further spellings of flags, to the first of those in *flags*.
        examples: command lines.
    """

    name: str
    summary: str
    usage: str
    flags: tuple[Flag, ...]
    arguments: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    kind: Kind
    aliases: tuple[tuple[str, str], ...]
    examples: tuple[str, ...]


def pages() -> list[CommandDoc]:
    """Return every built-in command's page, in the order of ``topcoat --help``."""
    return [page(name) for name in COMMANDS]


def page(name: str) -> CommandDoc:
    """Return the page of the command *name*."""
    command = load(name)
    parser = Parser(name, COMMANDS[name], getattr(command, "EXAMPLES", ""))
    command.add_arguments(parser)
    actions = parser.actions
    flags = tuple(_flag(name, action) for action in actions if action.option_strings)
    positional = [action for action in actions if not action.option_strings]
    first = positional[0] if positional else None
    return CommandDoc(
        name,
        COMMANDS[name],
        parser.usage or _usage(name, actions),
        flags,
        tuple((_metavar(action), action.help or "") for action in positional if action.help != argparse.SUPPRESS),
        _choices(first) if first else (),
        _kind(name, first) if first else "",
        tuple((alias, action.option_strings[0]) for alias, action in parser.aliases.items()),
        tuple(line.strip() for line in parser.examples.splitlines()),
    )


def _flag(command: str, action: argparse.Action) -> Flag:
    return Flag(
        tuple(action.option_strings),
        "" if action.nargs == 0 else _metavar(action),
        _choices(action),
        _kind(command, action),
        action.help or "",
        isinstance(action, argparse._AppendAction),
    )


def _usage(name: str, actions: Sequence[argparse.Action]) -> str:
    """Return the usage line that argparse's versions do not agree about."""
    words = [f"topcoat {name} [flags]"]
    for action in actions:
        if not action.option_strings:
            metavar = _metavar(action)
            words.append({"?": f"[{metavar}]", "+": f"{metavar} [{metavar} ...]"}.get(str(action.nargs), metavar))
    return " ".join(words)


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(_choices(action)) or action.dest.upper()


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))


def _kind(command: str, action: argparse.Action) -> Kind:
    return _KINDS.get((command, action.dest)) or _KINDS.get(("", action.dest), "")
