"""``topcoat list``: list the jobs of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_cfg, add_json, add_scheduler, open_runner, parse_cfg, scheduler_name

if TYPE_CHECKING:
    from argparse import Namespace
    from datetime import datetime

    from topcoat.cli.parser import Parser
    from topcoat.schedulers.api import ListAppResponse

EXAMPLES = """\
  topcoat list
  topcoat list -s local_docker --json | jq -r '.jobs[].handle'
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    add_scheduler(parser)
    add_cfg(parser, "run options that say where to look, such as a namespace")
    add_json(parser)


def run(args: Namespace) -> int:
    """Print a line for each job: handle, state, name, and its age if the scheduler knows it."""
    from topcoat.cli.output import json_result, result, table
    from topcoat.runner import config

    scheduler = scheduler_name(args.scheduler)
    with open_runner() as runner:
        cfg = parse_cfg(runner.scheduler_run_opts(scheduler), args.cfg)
        config.apply(scheduler, cfg)
        jobs = runner.list(scheduler, cfg)
    if args.json:
        json_result({"scheduler": scheduler, "jobs": [_facts(job) for job in jobs]})
        return 0
    rows: list[tuple[str, ...]] = [("HANDLE", "STATE", "NAME")]
    rows += [*((job.app_handle, str(job.state), job.name) for job in jobs)]
    if any(job.created for job in jobs):
        ages = ["AGE", *(_age(job.created) for job in jobs)]
        rows = [(*row[:2], age, row[2]) for row, age in zip(rows, ages, strict=True)]
    result(table(rows))
    return 0


def _facts(job: ListAppResponse) -> dict[str, str]:
    facts = {"handle": job.app_handle, "state": str(job.state), "name": job.name}
    return {**facts, "created": job.created.isoformat()} if job.created else facts


def _age(created: datetime | None) -> str:
    """Return the time since *created* in its largest unit, as kubectl does; empty if it is not known."""
    from datetime import datetime, timezone

    if created is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - created).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
