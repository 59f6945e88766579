"""``topcoat list``: list the jobs of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_cfg, add_json, add_scheduler, open_runner, parse_cfg, scheduler_name

if TYPE_CHECKING:
    from argparse import Namespace

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
        facts = [
            {
                "handle": job.app_handle,
                "state": str(job.state),
                "name": job.name,
                **({"created": job.created.isoformat()} if job.created else {}),
            }
            for job in jobs
        ]
        json_result({"scheduler": scheduler, "jobs": facts})
        return 0
    rows = [
        ("HANDLE", "STATE", "NAME", "AGE"),
        *((job.app_handle, str(job.state), job.name, _age(job)) for job in jobs),
    ]
    columns = 4 if any(job.created for job in jobs) else 3
    result(table([row[:columns] for row in rows]))
    return 0


def _age(job: ListAppResponse) -> str:
    """Return how long ago a job was submitted, such as ``5m``; empty if that is not known."""
    from datetime import datetime, timezone

    if job.created is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - job.created).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
