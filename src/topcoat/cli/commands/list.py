"""``topcoat list``: list the jobs of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_cfg, add_json, add_scheduler, open_runner, parse_cfg, scheduler_name

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

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
    """Print a line for each job: handle, state and name."""
    from topcoat.cli.output import json_result, result, table
    from topcoat.runner import config

    scheduler = scheduler_name(args.scheduler)
    with open_runner() as runner:
        cfg = parse_cfg(runner.scheduler_run_opts(scheduler), args.cfg)
        config.apply(scheduler, cfg)
        jobs = runner.list(scheduler, cfg)
    if args.json:
        facts = [{"handle": job.app_handle, "state": str(job.state), "name": job.name} for job in jobs]
        json_result({"scheduler": scheduler, "jobs": facts})
    else:
        result(table([("HANDLE", "STATE", "NAME"), *((job.app_handle, str(job.state), job.name) for job in jobs)]))
    return 0
