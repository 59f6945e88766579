"""``topcoat log``: what a job has written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from topcoat.cli.arguments import open_runner
from topcoat.errors import InvalidHandle, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from datetime import datetime

    from topcoat.cli.follow import ReplicaId
    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner

EXAMPLES = """\
  topcoat log local://topcoat/train-x1y2z3w4
  topcoat log -f local://topcoat/train-x1y2z3w4/worker
  topcoat log --since 10m --regex loss local://topcoat/train-x1y2z3w4/worker/0,2
"""

_IDENTIFIER = re.compile(r"([^\s/:]+://[^\s/]*/[^\s/]+)(?:/([^\s/]+)(?:/([\d,]+))?)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "identifier", metavar="HANDLE[/ROLE[/K,K]]", help="a job, one of its roles, or some replicas of that"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument("--since", metavar="TIME", help="from then on: 10m (ago; s, m, h or d), or 2030-01-31T12:00")
    parser.add_argument("--until", metavar="TIME", help="up to then")
    parser.add_argument("-r", "--regex", metavar="REGEX", help="only lines in which it is found")
    parser.add_argument(
        "--streams", choices=("stdout", "stderr", "combined"), help="which output (default: the scheduler's choice)"
    )
    parser.alias("--follow", "-t", "--tail")


def run(args: Namespace) -> int:
    """Print the lines; those of several replicas each with ``role/replica`` before it."""
    import sys

    from topcoat.cli.follow import LogQuery, print_logs, wait_until_started
    from topcoat.schedulers.api import Stream

    handle, roles, numbers = parse_identifier(args.identifier)
    query = LogQuery(
        args.regex,
        parse_time("--since", args.since),
        parse_time("--until", args.until),
        args.follow,
        Stream(args.streams) if args.streams else None,
    )
    with open_runner() as runner:
        if args.follow:
            wait_until_started(runner, handle)
        print_logs(runner, handle, _replicas(runner, handle, roles, numbers), query, sys.stdout)
    return 0


def parse_identifier(identifier: str) -> tuple[str, list[str], list[int]]:
    """Return handle, roles and replica numbers of ``handle[/role,role[/k,k]]``; nothing means all.

    Raises:
        InvalidHandle: it is something else.
    """
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        raise InvalidHandle(
            f"{identifier!r} is not scheduler://session/app_id[/role[/k,k]]",
            hint="topcoat list shows the handles of your jobs",
        )
    handle, roles, numbers = match.groups(default="")
    return handle, [role for role in roles.split(",") if role], [int(text) for text in numbers.split(",") if text]


def parse_time(flag: str, text: str | None) -> datetime | None:
    """Return the moment that *text* names: so long ago (``90s``, ``10m``, ``2h``, ``1d``), or an ISO date and time.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    from datetime import datetime, timedelta

    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and "-" not in number:
            return datetime.now() - timedelta(seconds=float(number) * _UNITS[unit])
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError):
        raise UsageError(f"{flag} {text!r} is no time", hint="10m (ago; s, m, h or d), or 2030-01-31T12:00") from None


def _replicas(runner: Runner, handle: str, roles: list[str], numbers: list[int]) -> list[ReplicaId]:
    from topcoat.cli.follow import replicas_of

    known = replicas_of(runner, handle)
    for wanted, there, what in (
        (roles, {replica.role for replica in known}, "role"),
        (numbers, {replica.number for replica in known if not roles or replica.role in roles}, "replica"),
    ):
        for one in wanted:
            if one not in there:
                names = ", ".join(sorted({f"{role}/{number}" if what == "replica" else role for role, number in known}))
                raise UsageError(f"the job {handle} has no {what} {one!r}", hint=f"it has {names}")
    return [one for one in known if (not roles or one.role in roles) and (not numbers or one.number in numbers)]
