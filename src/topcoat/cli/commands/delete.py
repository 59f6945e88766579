"""``topcoat delete``: remove jobs, and what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_handles, open_runner

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat delete local://topcoat/train-x1y2z3w4
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add_handles(parser)


def run(args: Namespace) -> int:
    """Remove each job from its scheduler, cancelled first if it runs."""
    from topcoat.cli.follow import unknown_app

    with open_runner() as runner:
        for handle in args.handles:
            if runner.status(handle) is None:
                raise unknown_app(handle)
            runner.delete(handle)
    return 0
