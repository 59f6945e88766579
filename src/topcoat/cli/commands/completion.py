"""``topcoat completion``: print the completion script for a shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\
  source <(topcoat completion bash)
  topcoat completion zsh > ~/.zfunc/_topcoat
  topcoat completion fish > ~/.config/fish/completions/topcoat.fish
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", nargs="?", help=", ".join(SHELLS))
    parser.add_argument(
        "--handles", action="store_true", help="print the handles of this machine's jobs; the scripts call this"
    )
    parser.add_argument("--line", metavar="TEXT", help="print what the last word of a command line may become")


def run(args: Namespace) -> int:
    """Print the script, with the schedulers and components that are installed now, the handles of jobs, or words."""
    from topcoat.cli.output import emit, result
    from topcoat.errors import UsageError

    if args.handles:
        from topcoat.cli.job_names import known_handles

        emit("".join([f"{handle}\n" for handle in known_handles()]), sys.stdout)
        return 0
    if args.line is not None:
        from topcoat.cli.line_words import line_words

        emit("".join([f"{word}\n" for word in line_words(args.line)]), sys.stdout)
        return 0
    if args.shell is None:
        raise UsageError("topcoat completion: no shell given", hint=f"choose {', '.join(SHELLS)}")
    from topcoat.cli.command_docs import Kind, command_docs
    from topcoat.cli.completion import SCRIPTS
    from topcoat.components.finder import get_components
    from topcoat.schedulers import get_scheduler_factories

    values: dict[Kind, list[str]] = {"scheduler": list(get_scheduler_factories()), "component": list(get_components())}
    result(SCRIPTS[args.shell](command_docs(), values).rstrip())
    return 0
