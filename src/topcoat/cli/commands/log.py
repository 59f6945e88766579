"""``topcoat log``: print the logs of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import JOB_HELP, add_json, open_runner
from topcoat.cli.job_names import find_job_path
from topcoat.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from datetime import datetime

    from topcoat.cli.follow import LogQuery, ReplicaId
    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner

EXAMPLES = """\
  topcoat log
  topcoat log -f train-x1y2/worker
  topcoat log --since 10m --regex loss local://topcoat/train-x1y2z3w4/worker/0,2
"""

_TIME_FORMS = "10m (ago; s, m, h or d), or 2030-01-31T12:00"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "identifier",
        nargs="?",
        metavar="JOB[/ROLE[/K,K]]",
        help=f"a job, one of its roles, or replicas of it; JOB: {JOB_HELP}",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="continue until the job has ended")
    parser.add_argument("--since", metavar="TIME", help=f"only lines written since then: {_TIME_FORMS}")
    parser.add_argument("--until", metavar="TIME", help="only lines written until then")
    parser.add_argument("-r", "--regex", metavar="REGEX", help="only lines that match")
    parser.add_argument(
        "--streams", choices=("stdout", "stderr", "combined"), help="which output (default: the scheduler's choice)"
    )
    add_json(parser, "print a JSON object on a line of its own for each line, one replica after the other")
    parser.alias("--follow", "-t", "--tail")


def run(args: Namespace) -> int:
    """Print the lines; for several replicas, each begins with ``role/replica``."""
    import sys

    from topcoat.cli.follow import LogQuery, print_logs, wait_until_started
    from topcoat.schedulers.api import Stream

    handle, roles, numbers = find_job_path(args.identifier)
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
        replicas = _replicas(runner, handle, roles, numbers)
        if args.json:
            _print_json(runner, handle, replicas, query)
        else:
            print_logs(runner, handle, replicas, query, sys.stdout)
    return 0


def _print_json(runner: Runner, handle: str, replicas: Sequence[ReplicaId], query: LogQuery) -> None:
    """Print an object on a line of its own for each piece of a log, one replica after the other."""
    import json

    from topcoat.cli.output import result

    regex, since, until, follow, stream = query
    for role, number in replicas:
        for text in runner.log_lines(handle, role, number, regex, since, until, should_tail=follow, streams=stream):
            result(json.dumps({"role": role, "replica": number, "text": text}))


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
