"""The commands, a module each: ``add_arguments`` declares what it takes, ``run`` does it and returns the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

COMMANDS = {
    "run": "run a component or a command as a job, with your local code",
    "build": "lay local code over an image and print the image's name",
    "ls": "list the files that a job would get",
    "status": "say how a job is doing",
    "log": "print what a job has written",
    "cancel": "ask jobs to end",
    "delete": "remove jobs from their scheduler",
    "list": "list the jobs of a scheduler",
    "describe": "print what a job was asked to do",
    "runopts": "list the run options of schedulers (-cfg)",
    "builtins": "list the components that can be run by name",
    "configure": "write a .torchxconfig with the schedulers' run options",
    "init": "write a .torchxignore with patterns to start from",
    "completion": "print the completion script for a shell",
}
"""Every command and what it does, in the order of ``topcoat --help``."""


class Command(Protocol):
    """What a command is: one of these modules, or what a package names in the group ``topcoat.cmds``."""

    def add_arguments(self, parser: Parser, /) -> None:
        """Declare flags and arguments."""

    def run(self, args: Namespace, /) -> int | None:
        """Carry out and return the exit code; nothing is 0."""


def load(name: str) -> Command:
    """Return the built-in command *name*."""
    from importlib import import_module

    return cast(Command, import_module(f"topcoat.cli.commands.{name}"))
