"""``topcoat log``: print the logs of a job."""

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
_TIME_FORMS = "10m (ago; s, m, h or d), or 2030-01-31T12:00"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "identifier", metavar="HANDLE[/ROLE[/K,K]]", help="a job, one of its roles, or replicas of a role"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="continue until the job has ended")
    parser.add_argument("--since", metavar="TIME", help=f"only lines written since then: {_TIME_FORMS}")
    parser.add_argument("--until", metavar="TIME", help="only lines written until then")
    parser.add_argument("-r", "--regex", metavar="REGEX", help="only lines that match")
    parser.add_argument(
        "--streams", choices=("stdout", "stderr", "combined"), help="which output (default: the scheduler's choice)"
    )
    parser.alias("--follow", "-t", "--tail")


def run(args: Namespace) -> int:
    """Print the lines; for several replicas, each begins with ``role/replica``."""
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
    """Return handle, roles and replica numbers of ``handle[/role,role[/k,k]]``; an empty list means all.

    Raises:
        InvalidHandle: the identifier has another form.
    """
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        raise InvalidHandle(
            f"invalid handle {identifier!r}: expected scheduler://session/app_id[/role[/k,k]]",
            hint="topcoat list shows the handles of your jobs",
        )
    handle, roles, numbers = match.groups(default="")
    return handle, [role for role in roles.split(",") if role], [int(text) for text in numbers.split(",") if text]


def parse_time(flag: str, text: str | None) -> datetime | None:
    """Return the time that *text* names: a duration ago (``90s``, ``10m``, ``2h``, ``1d``), or an ISO date and time.

    Raises:
        UsageError: *text* has another form.
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
        raise UsageError(f"invalid {flag} value {text!r}", hint=_TIME_FORMS) from None


def _replicas(runner: Runner, handle: str, roles: list[str], numbers: list[int]) -> list[ReplicaId]:
    from topcoat.cli.follow import replicas_of

    existing = replicas_of(runner, handle)
    hint = f"it has {', '.join(f'{role}/{number}' for role, number in existing)}"
    replicas = [replica for replica in existing if not roles or replica.role in roles]
    for role in roles:
        if role not in {replica.role for replica in replicas}:
            raise UsageError(f"the job {handle} has no role {role!r}", hint=hint)
    for number in numbers:
        if number not in {replica.number for replica in replicas}:
            raise UsageError(f"the job {handle} has no replica {number}", hint=hint)
    return [replica for replica in replicas if not numbers or replica.number in numbers]
