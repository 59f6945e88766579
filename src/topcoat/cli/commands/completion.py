"""``topcoat completion``: what a shell needs to complete topcoat's command lines."""

from __future__ import annotations

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
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(args: Namespace) -> int:
    """Print the script, with the schedulers and components that are installed now."""
    from topcoat.cli.completion import SCRIPTS
    from topcoat.cli.logged import shown_warnings
    from topcoat.cli.output import result
    from topcoat.cli.pages import Kind, pages
    from topcoat.components.finder import get_components
    from topcoat.schedulers import get_scheduler_factories

    with shown_warnings():
        components = list(get_components())
    values: dict[Kind, list[str]] = {"scheduler": list(get_scheduler_factories()), "component": components}
    result(SCRIPTS[args.shell](pages(), values).rstrip())
    return 0
