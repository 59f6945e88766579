"""The commands, one module each: ``add_arguments`` declares the arguments, ``run`` returns the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

COMMANDS = {
    "run": "run a component or a command as a job, with your local code",
    "build": "lay local code over an image and print the image's name",
    "ls": "list the files that a job would get",
    "status": "print the status of a job",
    "log": "print the logs of a job",
    "exec": "run a command in a running job",
    "cp": "copy files out of a job, or into it",
    "cancel": "ask jobs to end",
    "delete": "remove jobs from their scheduler",
    "list": "list jobs",
    "gc": "show what old jobs and caches keep, and free it",
    "describe": "print the definition of a job",
    "runopts": "list the run options of schedulers (-cfg)",
    "builtins": "list the components that can be run by name",
    "configure": "write a .torchxconfig with the schedulers' run options",
    "init": "write a .torchxignore with patterns to start from",
    "completion": "print the completion script for a shell",
}
"""Each command and its summary, in the order of ``topcoat --help``."""


class Command(Protocol):
    """A command: one of these modules, or an entry point of the group ``topcoat.cmds``."""

    def add_arguments(self, parser: Parser, /) -> None:
        """Declare flags and arguments."""

    def run(self, args: Namespace, /) -> int | None:
        """Run the command and return the exit code; ``None`` is 0."""


def load(name: str) -> Command:
    """Return the built-in command *name*."""
    from importlib import import_module

    return cast(Command, import_module(f"topcoat.cli.commands.{name}"))
