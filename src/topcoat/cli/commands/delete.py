"""``topcoat delete``: remove jobs and their data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_handles

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.schedulers.api import JobOutputs

EXAMPLES = """\
  topcoat delete local://topcoat/train-x1y2z3w4
  topcoat delete --force local://topcoat/train-x1y2z3w4
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("--force", action="store_true", help="delete the files that a job wrote, without a question")
    add_handles(parser)


def run(args: Namespace) -> int:
    """Remove each job from its scheduler, cancelled first if it runs, and the files that it wrote after a question."""
    from topcoat.cli.jobs import each_job

    return each_job(args.handles, lambda runner, handle: _delete(runner, handle, force=args.force))


def _delete(runner: Runner, handle: str, *, force: bool) -> None:
    from topcoat.cli.output import say

    outputs = runner.outputs(handle)
    if outputs is not None and outputs.are_deleted:
        if force:
            say(f"deleting {outputs}")
        elif not _is_confirmed(handle, outputs):
            say(f"{handle} was not deleted")
            return
    runner.delete(handle)
    if outputs is not None and not outputs.are_deleted:
        say(f"kept {outputs}")


def _is_confirmed(handle: str, outputs: JobOutputs) -> bool:
    """Ask on the terminal whether *outputs* may go.

    Raises:
        TopcoatError: there is no terminal.
    """
    from topcoat.cli.output import write_stderr
    from topcoat.errors import TopcoatError

    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise TopcoatError(
            f"{handle} was not deleted: that would delete {outputs}",
            hint=f"copy what you need, then: topcoat delete --force {handle}",
        )
    write_stderr(f"topcoat: delete {outputs}? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
