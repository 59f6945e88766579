"""``topcoat exec``: run a command in a running job."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from topcoat.cli.arguments import open_runner
from topcoat.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat exec -- nvidia-smi
  topcoat exec train-x1y2/worker/0 -- bash
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.usage = "topcoat exec [JOB[/ROLE[/K]]] -- CMD [ARGS ...]"
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="[JOB[/ROLE[/K]]] -- CMD",
        help="the replica, by default the first one of the newest job of this workspace; then the command",
    )


def run(args: Namespace) -> int:
    """Run the command in the replica; the exit code is the command's."""
    from topcoat.cli.commands.cp import one_replica
    from topcoat.cli.job_names import find_job_path

    job, command = _split(args.words)
    with open_runner() as runner:
        handle, role, replica = one_replica(runner, *find_job_path(job))
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        return runner.execute(handle, role, replica, command, tty=tty)


def _split(words: list[str]) -> tuple[str | None, list[str]]:
    before, dashes, command = words, False, []
    if "--" in words:
        position = words.index("--")
        before, dashes, command = words[:position], True, words[position + 1 :]
    if len(before) > 1 or not dashes or not command:
        raise UsageError("expected a command after --", hint="topcoat exec [JOB[/ROLE[/K]]] -- CMD [ARGS ...]")
    return (before[0] if before else None), command
