"""``topcoat list``: list jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topcoat.cli.arguments import add_cfg, add_json, add_scheduler, open_runner, parse_cfg

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.schedulers.api import ListAppResponse
    from topcoat.specs import CfgVal

EXAMPLES = """\
  topcoat list
  topcoat list -s local_docker --json | jq -r '.jobs[].handle'
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    add_scheduler(parser, default="every scheduler that was used from this machine")
    add_cfg(parser, "run options that say where to look, such as a namespace; with -s")
    add_json(parser)


def run(args: Namespace) -> int:
    """Print a line for each job, the newest first."""
    from topcoat.cli.output import json_result, result, table
    from topcoat.errors import UsageError

    if args.cfg and not args.scheduler:
        raise UsageError("-cfg needs -s: run options belong to one scheduler", hint="topcoat list -s SCHED -cfg K=V")
    with open_runner() as runner:
        one = args.scheduler
        if one:
            jobs = _jobs_of(runner, one, parse_cfg(runner.scheduler_run_opts(one), args.cfg))
        else:
            jobs = jobs_of_every_scheduler(runner)
    if args.json:
        json_result({"scheduler": args.scheduler, "jobs": [_facts(job) for job in jobs]})
    else:
        result(
            table(
                [
                    ("NAME", "STATE", "AGE", "DURATION", "SCHEDULER", "SIZE", "JOB"),
                    *(_row(job, in_full=bool(one)) for job in jobs),
                ]
            )
        )
    return 0


def _jobs_of(runner: Runner, scheduler: str, cfg: dict[str, CfgVal]) -> list[ListAppResponse]:
    from topcoat.runner import config

    config.apply(scheduler, cfg)
    return runner.list(scheduler, cfg)


def jobs_of_every_scheduler(runner: Runner) -> list[ListAppResponse]:
    """Return the jobs of the schedulers that were used; one that cannot list them gives a message."""
    from topcoat.cli.job_names import used_places
    from topcoat.cli.output import say
    from topcoat.errors import TopcoatError

    jobs: dict[str, ListAppResponse] = {}
    for place in used_places():
        try:
            # Without options, .torchxconfig may name one of the other places.
            jobs |= {job.app_handle: job for job in _jobs_of(runner, place.scheduler, dict(place.cfg))}
        except TopcoatError as error:
            say(f"the jobs of {place} are missing here: {error}", hint=error.hint or "")
    return sorted(jobs.values(), key=lambda job: job.created.timestamp() if job.created else 0.0, reverse=True)


def _duration(job: ListAppResponse) -> float | None:
    from datetime import datetime, timezone

    from topcoat.specs import is_terminal

    if job.created is None or (job.ended is None and is_terminal(job.state)):
        return None
    return ((job.ended or datetime.now(timezone.utc)) - job.created).total_seconds()


def _size(job: ListAppResponse) -> int | None:
    from topcoat.cli.sizes import disk_usage

    return disk_usage(job.directory) if job.directory else None


def _facts(job: ListAppResponse) -> dict[str, Any]:
    return {
        "handle": job.app_handle,
        "state": str(job.state),
        "name": job.name,
        "scheduler": job.app_handle.partition("://")[0],
        "created": job.created.isoformat() if job.created else None,
        "ended": job.ended.isoformat() if job.ended else None,
        "duration_s": _duration(job),
        "size": _size(job),
    }


def _row(job: ListAppResponse, *, in_full: bool) -> tuple[str, ...]:
    """Return the cells of a job: its handle *in_full*, as another machine needs it, or its id, which is enough here."""
    from topcoat.cli.sizes import age, human_duration, human_size

    duration = _duration(job)
    return (
        job.name,
        str(job.state),
        age(job.created),
        "" if duration is None else human_duration(duration),
        job.app_handle.partition("://")[0],
        human_size(_size(job)),
        job.app_handle if in_full else job.app_id,
    )
