"""``topcoat cancel``: ask jobs to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_jobs, add_json

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat cancel
  topcoat cancel train-x1y2
  topcoat cancel local://topcoat/train-x1y2z3w4
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add_jobs(parser)
    add_json(parser)


def run(args: Namespace) -> int:
    """Ask each job to end, without waiting for it; do nothing if it has ended."""
    from topcoat.cli.jobs import each_job

    return each_job(args.jobs or [None], lambda runner, handle: runner.cancel(handle), as_json=args.json)
