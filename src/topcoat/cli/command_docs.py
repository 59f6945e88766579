"""The commands as plain values, read from their parsers: for the reference and for completion scripts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Literal, NamedTuple

from topcoat.cli.commands import COMMANDS, load
from topcoat.cli.parser import Parser

Kind = Literal["", "directory", "file", "scheduler", "component", "handle", "cfg"]
"""The kind of a value that completion can list."""

_KINDS: dict[tuple[str, str], Kind] = {
    ("", "workspace"): "directory",
    ("", "cfg"): "cfg",
    ("", "scheduler"): "scheduler",
    ("", "schedulers"): "scheduler",
    ("", "handle"): "handle",
    ("", "jobs"): "handle",
    ("", "job"): "handle",
    ("log", "identifier"): "handle",
    ("cp", "source"): "handle",
    ("exec", "words"): "handle",
    ("run", "env_file"): "file",
    ("run", "words"): "component",
    ("builtins", "print"): "component",
    ("init", "directory"): "directory",
}


class Flag(NamedTuple):
    """Describe a flag.

    Attributes:
        spellings: as the help shows them.
        value: name of its value in the help; empty for a switch.
        choices: the allowed values, if they are fixed.
        kind: the kind of its value.
        help: what it does.
        repeats: whether it may be given more than once.
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
        arguments: name and help of each positional argument.
        choices: the allowed values of the first argument, if they are fixed.
        kind: the kind of the first argument.
        aliases: further spellings of flags, each with the first spelling in *flags*.
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


def command_docs() -> list[CommandDoc]:
    """Return the description of every built-in command, in the order of ``topcoat --help``."""
    return [command_doc(name) for name in COMMANDS]


def command_doc(name: str) -> CommandDoc:
    """Return the description of the command *name*."""
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
    """Return the usage line; argparse's differs between Python versions."""
    words = [f"topcoat {name} [flags]"]
    for action in actions:
        if not action.option_strings:
            metavar = _metavar(action)
            words.append(
                {"?": f"[{metavar}]", "+": f"{metavar} [{metavar} ...]", "*": f"[{metavar} ...]"}.get(
                    str(action.nargs), metavar
                )
            )
    return " ".join(words)


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(_choices(action)) or action.dest.upper()


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))


def _kind(command: str, action: argparse.Action) -> Kind:
    return _KINDS.get((command, action.dest)) or _KINDS.get(("", action.dest), "")
