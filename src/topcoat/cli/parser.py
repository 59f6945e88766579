"""The parser of a command's arguments: argparse that raises ``UsageError``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from topcoat.cli.output import exact_result
from topcoat.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Parse the arguments of the command *name*; invalid ones raise ``UsageError``.

    Dashes within a flag may be written as underscores.

    Attributes:
        settings: names besides flags that ``[cli:<name>]`` of a configuration file may set.
        aliases: further spellings of flags, which are not in the help.
    """

    def __init__(self, name: str, summary: str, examples: str = "") -> None:
        """Create the parser of a command; *examples* has one command line per line."""
        super().__init__(
            prog=f"topcoat {name}",
            description=f"{summary[:1].upper()}{summary[1:]}." if summary else None,
            epilog=f"examples:\n{examples.rstrip()}" if examples else None,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.name = name
        self.examples = examples
        self.settings: tuple[str, ...] = ()
        self.aliases: dict[str, argparse.Action] = {}
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")
        self.set_defaults(configured={})

    @property
    def actions(self) -> list[argparse.Action]:
        """All flags and arguments, in the order of their definition."""
        return list(self._actions)

    def alias(self, flag: str, *spellings: str) -> None:
        """Accept *spellings*, mostly TorchX's, for *flag*."""
        self.aliases.update(dict.fromkeys(spellings, self.flags()[flag]))

    def flags(self) -> dict[str, argparse.Action]:
        """Return every spelling of every flag."""
        flags = {flag: action for action in self.actions for flag in action.option_strings} | self.aliases
        underscores = {"--" + flag[2:].replace("-", "_"): flags[flag] for flag in flags if flag.startswith("--")}
        return underscores | flags

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse *words*, or raise ``UsageError``."""
        self._option_string_actions.update(self.flags())
        args, rest = self.parse_known_args(words)
        if rest:
            from topcoat.suggest import did_you_mean

            unknown = rest[0].partition("=")[0]
            flags = [flag for action in self.actions for flag in action.option_strings]
            what = "flag" if unknown.startswith("-") else "argument"
            raise UsageError(
                f"{self.prog}: unknown {what} {unknown!r}",
                hint=did_you_mean(unknown, flags, otherwise=f"{self.prog} --help"),
            )
        return args

    def print_help(self, file: object = None) -> None:
        """Print the help on stdout; an error of stdout is raised."""
        exact_result(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError`` with argparse's *message*."""
        raise UsageError(f"{self.prog}: {message}", hint=f"{self.prog} --help")


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # Without a width argparse imports shutil, which imports every compression module.
        super().__init__(prog, width=_width(), max_help_position=30)


def _width() -> int:
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (ValueError, OSError):
        columns = 80
    return max(40, min(columns - 2, 110))
