"""``topcoat delete``: remove jobs and their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_handles

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
    """Remove each job from its scheduler; cancel it first if it runs."""
    from topcoat.cli.jobs import each_job

    return each_job(args.handles, lambda runner, handle: runner.delete(handle))
