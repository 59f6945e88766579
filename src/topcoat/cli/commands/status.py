"""``topcoat status``: print the status of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json, open_runner

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat status local://topcoat/train-x1y2z3w4
  topcoat status --json local://topcoat/train-x1y2z3w4 | jq -r .state
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("handle", metavar="HANDLE", help="scheduler://session/app_id")
    parser.add_argument("--roles", metavar="R,...", help="only these roles")
    add_json(parser)


def run(args: Namespace) -> int:
    """Print the status; the state of the job does not change the exit code."""
    from topcoat.cli.follow import unknown_app
    from topcoat.cli.jobs import status_facts
    from topcoat.cli.output import json_result, result

    roles = args.roles.split(",") if args.roles else None
    with open_runner() as runner:
        status = runner.status(args.handle)
    if status is None:
        raise unknown_app(args.handle)
    if args.json:
        json_result(status_facts(args.handle, status, roles))
    else:
        result(status.format(roles).rstrip())
    return 0
