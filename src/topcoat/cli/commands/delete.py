"""``topcoat delete``: remove jobs and their data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from topcoat.cli.arguments import JOB_METAVAR, add_json
from topcoat.cli.output import say
from topcoat.errors import SchedulerError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.schedulers.api import JobOutputs

EXAMPLES = """\
  topcoat delete train-x1y2
  topcoat delete --finished --older-than 7d
  topcoat delete --force local://topcoat/train-x1y2z3w4
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("--force", action="store_true", help="delete the files that a job wrote, without a question")
    parser.add_argument("--finished", action="store_true", help="every job of this machine's schedulers that has ended")
    parser.add_argument(
        "--older-than", metavar="AGE", help="with --finished: only jobs that ended before that, such as 12h or 7d"
    )
    add_json(parser)
    parser.add_argument("jobs", nargs="*", metavar=JOB_METAVAR, help="handles, or parts of names that one job has")


def run(args: Namespace) -> int:
    """Remove each job from its scheduler, cancelled first if it runs, and the files that it wrote after a question."""
    from topcoat.cli.jobs import each_job

    if args.older_than and not args.finished:
        raise UsageError("--older-than needs --finished", hint="topcoat delete --finished --older-than 7d")
    if bool(args.jobs) == args.finished:
        raise UsageError("expected jobs, or --finished", hint="topcoat delete JOB; topcoat list shows your jobs")
    names = _finished(args.older_than) if args.finished else args.jobs
    if args.finished:
        say(f"deleting {len(names)} job{'s' * (len(names) != 1)} that ended" if names else "no job to delete")
    return each_job(names, lambda runner, handle: _delete(runner, handle, force=args.force), as_json=args.json)


def _finished(older_than: str | None) -> list[str]:
    """Return the handles of the jobs that have ended, *older_than* ago if given."""
    from topcoat.cli.arguments import open_runner
    from topcoat.cli.commands.list import jobs_of_every_scheduler
    from topcoat.cli.commands.log import parse_time
    from topcoat.specs import is_terminal

    limit = parse_time("--older-than", older_than)
    with open_runner() as runner:
        jobs = [job for job in jobs_of_every_scheduler(runner) if is_terminal(job.state)]
    if limit is None:
        return [job.app_handle for job in jobs]
    times = [(job, job.ended or job.created) for job in jobs]
    return [job.app_handle for job, time in times if time is not None and time < limit.astimezone()]


def _delete(runner: Runner, handle: str, *, force: bool) -> bool:
    """Remove a job, after a question if that needs one; tell whether it was removed."""
    try:
        outputs = runner.outputs(handle)
    except SchedulerError:
        if not force:
            raise
        outputs = None
    if outputs is not None and outputs.are_deleted:
        if force:
            say(f"deleting {outputs}")
        elif not _is_confirmed(handle, outputs):
            say(f"{handle} was not deleted")
            return False
    runner.delete(handle)
    if outputs is not None and not outputs.are_deleted:
        say(f"kept {outputs}")
    return True


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
