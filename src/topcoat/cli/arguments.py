"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

JOB_METAVAR = "JOB"
JOB_HELP = "a handle, or a part of one or of a job's name that only one job has (default: the newest of this workspace)"

if TYPE_CHECKING:
    from argparse import ArgumentParser, _ActionsContainer

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.specs import CfgVal, runopts


def add_scheduler(
    parser: _ActionsContainer, *, default: str = "[cli:run] scheduler of .torchxconfig, else local"
) -> None:
    """Add ``-s``, whose help names the *default*; ``scheduler_name`` resolves the usual one."""
    parser.add_argument(
        "-s",
        "--scheduler",
        metavar="SCHED",
        help=f"scheduler (default: {default}); topcoat runopts lists them",
    )


def scheduler_name(requested: str | None) -> str:
    """Return the scheduler to use: the *requested* one, that of ``[cli:run]``, or the default."""
    from topcoat.cli.defaults import configured
    from topcoat.schedulers import get_default_scheduler_name

    return requested or configured("run").get("scheduler") or get_default_scheduler_name()


def add_cfg(parser: Parser, text: str) -> None:
    """Add ``-cfg`` with help *text*."""
    parser.add_argument(
        "-cfg",
        dest="cfg",
        action="append",
        default=[],
        metavar="K=V,...",
        help=f"{text}; may be repeated, the last one wins",
    )
    parser.alias("-cfg", "--scheduler-args")


def parse_cfg(opts: runopts, texts: Sequence[str]) -> dict[str, CfgVal]:
    """Parse *texts*, each ``key=value,...``.

    Raises:
        InvalidRunConfigException: unknown option, with the nearest names, or invalid value.
    """
    cfg: dict[str, CfgVal] = {}
    for text in texts:
        cfg.update(opts.cfg_from_str(text))
    return cfg


def add_workspace(parser: Parser, text: str, *, default: str | None) -> None:
    """Add ``--workspace`` with help *text*."""
    parser.add_argument("--workspace", metavar="W", default=default, help=text)
    parser.alias("--workspace", "--buck-target")


def add_no_cache(parser: _ActionsContainer) -> None:
    """Add ``--no-cache``, which `main` obeys."""
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="read every file and look up every image again, as if nothing was cached",
    )


def add_json(parser: _ActionsContainer, text: str = "print one JSON object") -> None:
    """Add ``--json`` with help *text*."""
    parser.add_argument("--json", action="store_true", help=text)


def add_jobs(parser: ArgumentParser) -> None:
    """Add any number of jobs; none means the newest of this workspace."""
    parser.add_argument("jobs", nargs="*", metavar=JOB_METAVAR, help=JOB_HELP)


def add_job(parser: ArgumentParser) -> None:
    """Add one job, by default the newest of this workspace; ``find_job`` finds it."""
    parser.add_argument("job", nargs="?", metavar=JOB_METAVAR, help=JOB_HELP)


def open_runner() -> Runner:
    """Return a runner, a context manager, without importing it before."""
    from topcoat.runner import get_runner

    return get_runner()
