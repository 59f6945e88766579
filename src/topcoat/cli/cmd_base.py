"""The base class of commands that packages add (TorchX's ``torchx.cli.cmd_base``)."""

from __future__ import annotations

import abc
from argparse import ArgumentParser, Namespace


class SubCommand(abc.ABC):
    """A command of a package, named by an entry point of the group ``torchx.cli.cmds`` or ``topcoat.cmds``."""

    @abc.abstractmethod
    def add_arguments(self, subparser: ArgumentParser) -> None:
        """Declare flags and arguments."""

    @abc.abstractmethod
    def run(self, args: Namespace) -> int | None:
        """Run the command; the exit code is what it returns, ``None`` is 0."""
