"""``topcoat cp``: copy files out of a job, or into it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json, open_runner
from topcoat.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner

EXAMPLES = """\
  topcoat cp train-x1y2:outputs/model.pt .
  topcoat cp train-x1y2/worker/0:. results
  topcoat cp config.yaml train-x1y2:conf/config.yaml
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    where = "a local path, or JOB[/ROLE[/K]]:PATH in a replica; a relative PATH starts at its working directory"
    add_json(parser)
    parser.add_argument("source", metavar="SOURCE", help=where)
    parser.add_argument("destination", metavar="DEST", help="the same; an existing directory gets the file's name")


def run(args: Namespace) -> int:
    """Copy a file or directory between this machine and a replica."""
    from topcoat.cli.job_names import remote_path, split_remote
    from topcoat.cli.output import json_result

    source, destination = split_remote(args.source), split_remote(args.destination)
    if (source is None) == (destination is None):
        raise UsageError(
            "exactly one of SOURCE and DEST must be in a job",
            hint="topcoat cp JOB:PATH DEST, or topcoat cp SOURCE JOB:PATH; a local path with a colon: ./a:b",
        )
    with open_runner() as runner:
        if source is not None:
            job, path = remote_path(*source)
            handle, role, replica = one_replica(runner, *job)
            target = _local_target(args.destination, path)
            runner.copy_from(handle, role, replica, path, target)
        elif destination is not None:
            job, path = remote_path(*destination)
            handle, role, replica = one_replica(runner, *job)
            if not os.path.lexists(args.source):
                raise UsageError(f"no such file or directory: {args.source}")
            target = path
            runner.copy_to(handle, role, replica, args.source, path)
    if args.json:
        json_result({"handle": handle, "role": role, "replica": replica, "destination": target})
    return 0


def one_replica(runner: Runner, handle: str, roles: list[str], numbers: list[int]) -> tuple[str, str, int]:
    """Return handle, role and number of the replica that is meant: by default the first one of a job with one role.

    Raises:
        UsageError: the job has several roles, and none was chosen; or no such replica.
    """
    from topcoat.cli.follow import replicas_of

    existing = replicas_of(runner, handle)
    matching = [
        replica
        for replica in existing
        if (not roles or replica.role in roles) and (not numbers or replica.number in numbers)
    ]
    names = ", ".join(f"{role}/{number}" for role, number in existing[:20])
    if not matching:
        wanted = "/".join([",".join(roles), ",".join(map(str, numbers))]).strip("/")
        raise UsageError(f"the job {handle} has no replica {wanted}", hint=f"it has {names}")
    if len({replica.role for replica in matching}) > 1:
        raise UsageError(f"the job {handle} has several roles", hint=f"add one: JOB/ROLE or JOB/ROLE/K of {names}")
    return (handle, *matching[0])


def _local_target(destination: str, path: str) -> str:
    """Return the local path that gets the copy of *path*."""
    name = os.path.basename(path.rstrip("/"))
    is_directory = os.path.isdir(destination) or destination.endswith("/")
    target = os.path.join(destination, name) if is_directory and name not in ("", ".", "..") else destination
    parent = os.path.dirname(target.rstrip("/")) or "."
    if not os.path.isdir(parent):
        raise UsageError(f"no such directory: {parent}", hint=f"mkdir -p {parent}")
    return target
