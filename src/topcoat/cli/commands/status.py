"""``topcoat status``: print the status of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_job, add_json, open_runner

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from datetime import datetime

    from topcoat.cli.parser import Parser
    from topcoat.schedulers.api import ReplicaTimes

EXAMPLES = """\
  topcoat status
  topcoat status train-x1y2
  topcoat status --json local://topcoat/train-x1y2z3w4 | jq -r .state
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add_job(parser)
    parser.add_argument("--roles", metavar="R,...", help="only these roles")
    add_json(parser)


def run(args: Namespace) -> int:
    """Print the status; the state of the job does not change the exit code."""
    from topcoat.cli.follow import unknown_app
    from topcoat.cli.job_names import find_job
    from topcoat.cli.jobs import replica_times, status_facts
    from topcoat.cli.output import json_result, result

    roles = args.roles.split(",") if args.roles else None
    handle = find_job(args.job)
    with open_runner() as runner:
        status = runner.status(handle)
        if status is None:
            raise unknown_app(handle)
        times = [time for time in replica_times(runner, handle) if not roles or time.role in roles]
    if args.json:
        json_result(status_facts(handle, status, roles, times))
    else:
        result(status.format(roles).rstrip())
        if times:
            result(_table(times))
    return 0


def _table(times: Sequence[ReplicaTimes]) -> str:
    from topcoat.cli.jobs import duration
    from topcoat.cli.output import table
    from topcoat.cli.sizes import human_duration

    def clock(time: datetime | None) -> str:
        return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")

    rows = [
        (
            f"{time.role}/{time.replica}",
            clock(time.started),
            clock(time.ended),
            "" if (seconds := duration(time)) is None else human_duration(seconds),
            "" if time.exit_code is None else str(time.exit_code),
        )
        for time in times
    ]
    return table([("REPLICA", "STARTED", "ENDED", "DURATION", "EXIT CODE"), *rows])
