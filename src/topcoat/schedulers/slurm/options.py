"""The run options of ``slurm``, and their checks. No side effects."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.structured_opts import StructuredOpts
from topcoat.specs import CfgVal
from topcoat.system_text import system_bytes

CONTAINERS = ("none", "pyxis", "apptainer", "oci")
MAX_VALUE = 1024
"""Bytes of a value of sbatch; it calls a longer one a path that is too long."""

_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", re.ASCII)
_NO_LIMIT = ("infinite", "unlimited")
_HOST = re.compile(r"(?:[^\s/@:-][^\s/@:]*@)?(?:[^\s/@:\[-][^\s/@:]*|\[[0-9A-Fa-f:.%\w]+\])(?::\d{1,5})?")
_SBATCH_OPTION = re.compile(r"(?:--)?([a-z][a-z0-9-]+)(?:=(.*))?", re.DOTALL)
_OURS = {
    "chdir": "the job runs in its snapshot; --workspace chooses it",
    "cpus-per-task": "--cpu",
    "error": "topcoat log shows the output",
    "export": "--env NAME=VALUE",
    "export-file": "--env NAME=VALUE",
    "job-name": "--name",
    "mem": "--memMB",
    "no-requeue": "--max-retries 0; add a partition that does not preempt",
    "nodes": "--num-replicas",
    "ntasks": "--num-replicas",
    "ntasks-per-node": "--num-replicas",
    "open-mode": "logs of a requeued job are always appended",
    "output": "topcoat log shows the output",
    "parsable": "the handle has the job's id",
    "requeue": "--max-retries",
    "tasks-per-node": "--num-replicas",
    "wrap": "topcoat run -s slurm -- COMMAND",
}
"""Options of sbatch that topcoat sets itself, and what to use instead."""

OTHER_CLUSTER = "-cfg slurm_host=user@login, or set SLURM_CLUSTERS, which all of Slurm's commands read"
_NOT_AVAILABLE = {
    "array": "submit one job for each value",
    "clusters": OTHER_CLUSTER,
    "container": "-cfg container=oci; the image of the role is the bundle",
    "container-id": "-cfg container=oci; the image of the role is the bundle",
    "help": "topcoat runopts slurm",
    "quiet": "topcoat run --quiet; topcoat reads the id that sbatch prints",
    "test-only": "topcoat run --dryrun",
    "usage": "topcoat runopts slurm",
    "version": "run it yourself: sbatch --version",
    "wait": "topcoat run --wait",
}
"""Options of sbatch that topcoat cannot have, and what to do instead."""


@dataclass
class SlurmOpts(StructuredOpts):
    """The run options of the scheduler, under TorchX's names and some more."""

    account: str | None = None
    """account that the job is charged to"""

    partition: str | None = None
    """partition that the job runs in"""

    time: str | None = None
    """time limit: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes or
    days-hours:minutes:seconds"""

    comment: str | None = None
    """comment of the job"""

    constraint: str | None = None
    """features that the nodes must have"""

    mail_user: str | None = field(default=None, metadata={"cfg_key": "mail-user"})
    """who gets mail about the job"""

    mail_type: str | None = field(default=None, metadata={"cfg_key": "mail-type"})
    """events that send mail: BEGIN, END, FAIL, ..."""

    job_dir: str | None = None
    """directory, on a file system that the nodes share, that the workspace is copied to; the job runs there (default:
    a directory for each job below job_root)"""

    qos: str | None = None
    """quality of service"""

    reservation: str | None = None
    """reservation that the job runs in"""

    nodelist: str | None = None
    """nodes that the job must have"""

    exclude: str | None = None
    """nodes that the job must not have"""

    gres: str | None = None
    """generic resources of each node, such as gpu:a100:2 or lustre:1; in addition to the GPUs of the role"""

    exclusive: bool = False
    """share the nodes with no other job"""

    sbatch: list[str] = field(default_factory=list)
    """other options of sbatch, quoted: sbatch='--licenses=matlab:1 --nice=100'"""

    slurm_host: str | None = None
    """login node that is reached over ssh: user@login or user@login:port (default: Slurm's commands on this machine)"""

    interactive: bool = False
    """the replica waits until a terminal is attached to it, and runs in that terminal (one replica)"""

    container: str = "none"
    """how the nodes run images: pyxis, apptainer, or oci (Slurm's own --container, the image is a bundle); none: the
    command runs on the node, and the role's image is ignored"""


def check_options(opts: Mapping[str, CfgVal]) -> None:
    """Raise ``InvalidRunConfigException`` for a value that sbatch would misunderstand or refuse."""
    for key in ("account", "partition", "comment", "constraint", "mail-user", "mail-type", "qos", "reservation"):
        check_value(key, opts.get(key))
    for key in ("nodelist", "exclude", "gres"):
        check_value(key, opts.get(key))
    time = opts.get("time")
    if time is not None and str(time).lower() not in _NO_LIMIT and not _TIME.fullmatch(str(time)):
        raise InvalidRunConfigException(
            f"invalid time {time!r}", "time", hint="minutes, hours:minutes:seconds or days-hours, such as time=2:00:00"
        )
    host = opts.get("slurm_host")
    if host and not _HOST.fullmatch(str(host)):
        raise InvalidRunConfigException(
            f"invalid slurm_host {host!r}", "slurm_host", hint="user@login, or user@login:port"
        )
    if str(opts.get("container") or "none") not in CONTAINERS:
        raise InvalidRunConfigException(
            f"invalid container {opts.get('container')!r}", "container", hint=f"choose {', '.join(CONTAINERS)}"
        )
    free_options(opts)


def check_value(key: str, value: CfgVal) -> None:
    """Raise ``InvalidRunConfigException`` if sbatch cannot take *value* for an option."""
    if value is None:
        return
    text = str(value)
    if not text.strip():
        raise InvalidRunConfigException(f"the run option {key!r} is empty", key, hint=f"leave {key} out")
    if "\0" in text or len(system_bytes(text)) > MAX_VALUE:
        raise InvalidRunConfigException(
            f"invalid {key}: it has a NUL character, or more than {MAX_VALUE} bytes", key, hint="shorten it"
        )


def free_options(opts: Mapping[str, CfgVal]) -> dict[str, str | None]:
    """Return the other options of sbatch by name; a flag has the value ``None``.

    Raises:
        InvalidRunConfigException: an option is malformed, set by topcoat, or not available.
    """
    options: dict[str, str | None] = {}
    items = opts.get("sbatch") or []
    for item in items if isinstance(items, (list, dict)) else [items]:
        try:
            words = shlex.split(str(item))
        except ValueError as error:
            raise InvalidRunConfigException(
                f"invalid sbatch option {item!r}: {error}", "sbatch", hint="close the quotation mark"
            ) from None
        for word in words:
            match = _SBATCH_OPTION.fullmatch(word)
            if match is None:
                raise InvalidRunConfigException(
                    f"invalid sbatch option {word!r}", "sbatch", hint="write --name=value or --name, without spaces"
                )
            name, value = match.groups()
            _check_name(name)
            check_value("sbatch", value)
            options[name] = value
    return options


def _check_name(name: str) -> None:
    """Raise ``InvalidRunConfigException`` if *name* is an option that is not free, or short for one."""
    fault, hint = "", ""
    if name in _OURS:
        fault, hint = "is set by topcoat", f"use instead: {_OURS[name]}"
    elif name in _NOT_AVAILABLE:
        fault, hint = "is not available", _NOT_AVAILABLE[name]
    elif name in _RUN_OPTIONS:
        fault, hint = "is a run option", f"-cfg {name}=..."
    elif full := next((full for full in (*_OURS, *_NOT_AVAILABLE, *_RUN_OPTIONS) if full.startswith(name)), None):
        # sbatch takes the beginning of a name for the name.
        fault, hint = f"is the beginning of --{full}", "write the name in full"
    if fault:
        raise InvalidRunConfigException(f"the sbatch option --{name} {fault}", "sbatch", hint=hint)


def time_limit_s(text: str) -> float:
    """Return a time limit of Slurm in seconds, infinity without a limit.

    Raises:
        ValueError: *text* is not one.
    """
    if text.lower() in (*_NO_LIMIT, "n/a", "none"):
        return float("inf")
    if not _TIME.fullmatch(text):
        raise ValueError(f"not a time limit: {text!r}")
    days, dash, rest = text.rpartition("-")
    numbers = [int(number) for number in rest.split(":")]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return float((int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds)


_RUN_OPTIONS = frozenset(
    key for key in SlurmOpts() if key not in ("job_dir", "sbatch", "slurm_host", "interactive", "container")
)
