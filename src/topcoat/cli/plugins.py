"""Commands of installed packages: the entry point groups ``topcoat.cmds`` and ``torchx.cli.cmds``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from topcoat.cli.commands import Command

GROUPS = ("topcoat.cmds", "torchx.cli.cmds")
"""In order of precedence. An entry point is a module, a class or an object with ``add_arguments`` and ``run``."""


_OTHER_NAMES = {
    **dict.fromkeys(("logs", "tail"), "log"),
    **dict.fromkeys(("ps", "jobs", "queue"), "list"),
    **dict.fromkeys(("kill", "stop"), "cancel"),
    **dict.fromkeys(("rm", "remove"), "delete"),
    **dict.fromkeys(("submit", "launch", "start"), "run"),
    **dict.fromkeys(("shell", "ssh"), "exec"),
    "copy": "cp",
    **dict.fromkeys(("prune", "clean"), "gc"),
    **dict.fromkeys(("inspect", "show"), "describe"),
    **dict.fromkeys(("push", "patch"), "build"),
    **dict.fromkeys(("config",), "configure"),
    **dict.fromkeys(("options",), "runopts"),
    **dict.fromkeys(("components",), "builtins"),
    "files": "ls",
    "help": "--help",
    "version": "--version",
}
"""What other programs call the commands."""


def command_names() -> list[str]:
    """Return the names of the commands that installed packages add, sorted, without importing them.

    The metadata files are read here, because importing importlib.metadata takes longer than the rest of the help.
    """
    return sorted({name for path in _entry_point_files() for name in _names_in(path)})


def _entry_point_files() -> Iterator[str]:
    for directory in dict.fromkeys(sys.path):
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield os.path.join(directory, name, "entry_points.txt")


def _names_in(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    group = ""
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            group = text.strip("[]").strip()
        elif group in GROUPS and "=" in text and not text.startswith("#"):
            yield text.partition("=")[0].strip()


def load_command(name: str) -> Command:
    """Return the command *name* of an installed package.

    Raises:
        UsageError: unknown command.
        TopcoatError: its package cannot be imported, or it is not a command.
    """
    from importlib.metadata import entry_points

    from topcoat.errors import TopcoatError, UsageError
    from topcoat.torchx_alias import load_entry_point

    entries = [entry for group in GROUPS for entry in entry_points(group=group, name=name)]
    if not entries:
        raise UsageError(f"unknown command {name!r}", hint=_hint(name))
    entry = entries[0]
    owner = entry.dist.name if entry.dist else entry.value
    try:
        loaded = load_entry_point(entry)
        command = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise TopcoatError(
            f"the command {name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"reinstall {owner}, or remove it",
        ) from error
    if not (callable(getattr(command, "add_arguments", None)) and callable(getattr(command, "run", None))):
        raise TopcoatError(f"{entry.value} of {owner} is not a command: it has no add_arguments and run")
    return cast("Command", command)


def _hint(name: str) -> str:
    """Return the hint for the unknown command *name*."""
    from shutil import which

    from topcoat.cli.commands import COMMANDS
    from topcoat.suggest import did_you_mean, run_as_command

    if name in _OTHER_NAMES:
        return f"topcoat {_OTHER_NAMES[name]}"
    if os.path.isfile(name):
        return run_as_command(name)
    otherwise = f"topcoat run -- {name} ..." if which(name) else "topcoat --help lists the commands"
    return did_you_mean(name, [*COMMANDS, *command_names()], otherwise=otherwise)
