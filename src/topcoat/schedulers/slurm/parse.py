"""What Slurm's commands print, as values. No side effects.

The columns are requested by name, so text is the same in every release; ``sacct --json`` of 22.05 and 23.02 says that a
job with exit code 3 has succeeded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from topcoat.schedulers.slurm.options import time_limit_s

FIELD, ROW = "\x1f", "\x1e"
MAX_ROWS = 200_000

SQUEUE_FORMAT = FIELD.join(("%i", "%T", "%r", "%N", "%V", "%u", "%Z", "%j")) + ROW
SACCT_FIELDS = "jobid,state,exitcode,derivedexitcode,submit,start,end,nodelist,user,workdir,jobname"
SINFO_FORMAT = FIELD.join(("%P", "%a", "%l", "%s", "%D", "%c", "%m", "%G")) + ROW
EPOCH = "SLURM_TIME_FORMAT=%s"
"""The variable that makes squeue and sacct print times as seconds since 1970."""

_ID = re.compile(r"(\d{1,18})(?:_\d+|_\[[^\]]*\])?(?:\+(\d+))?(?:\.(\w+))?", re.ASCII)


class QueueRow(NamedTuple):
    """Hold a line of squeue: a job that Slurm's controller has in memory, or a component of one."""

    job_id: str
    component: int
    state: str
    reason: str
    nodes: str
    submitted: float | None
    user: str
    directory: str
    name: str


class Step(NamedTuple):
    """Hold a step of a job, from sacct."""

    name: str
    state: str
    exit_code: int
    signal: int


class Run(NamedTuple):
    """Hold a run of a job or component, from sacct: a job that was requeued has several."""

    job_id: str
    component: int
    state: str
    exit_code: int
    signal: int
    derived_exit_code: int
    derived_signal: int
    submitted: float | None
    started: float | None
    ended: float | None
    nodes: str
    user: str
    directory: str
    name: str
    steps: tuple[Step, ...] = ()


class PartitionNodes(NamedTuple):
    """Hold the equal nodes of a partition, from sinfo, and the limits of a job there.

    Attributes:
        nodes: how many of them there are.
        min_nodes: a job has at least so many.
        max_nodes: a job has at most so many; infinite without a limit.
    """

    partition: str
    is_default: bool
    is_up: bool
    time_limit_s: float
    min_nodes: int
    max_nodes: float
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int


class Record(NamedTuple):
    """Hold what a replica wrote about its last run; no exit code while it runs."""

    name: str
    node: str
    started: float | None
    ended: float | None
    exit_code: int | None


def queue_rows(text: str) -> list[QueueRow]:
    """Return the rows of squeue in `SQUEUE_FORMAT`."""
    rows = []
    for fields in _table(text, ROW, 8):
        job_id, state, reason, nodes, submitted, user, directory, name = fields
        if match := _ID.fullmatch(job_id.strip()):
            component = int(match[2] or 0)
            rows.append(
                QueueRow(match[1], component, state, reason, nodes, _time(submitted), user, directory, name.strip())
            )
    return rows


def accounting_runs(text: str) -> list[Run]:
    """Return the runs of sacct, whose columns are `SACCT_FIELDS`, in the order of their submission."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for fields in _table(text, "\n", 11):
        match = _ID.fullmatch(fields[0])
        if match is None:
            continue
        key = (match[1], int(match[2] or 0))
        code, signal_number = _exit(fields[2])
        if match[3]:
            if key in runs:
                step = Step(match[3], fields[1], code, signal_number)
                runs[key][-1] = runs[key][-1]._replace(steps=(*runs[key][-1].steps, step))
            continue
        derived = _exit(fields[3])
        times = (_time(fields[4]), _time(fields[5]), _time(fields[6]))
        run = Run(*key, fields[1], code, signal_number, *derived, *times, fields[7], fields[8], fields[9], fields[10])
        runs.setdefault(key, []).append(run)
    return sorted((run for group in runs.values() for run in group), key=lambda run: run.submitted or 0)


def partitions(text: str) -> list[PartitionNodes]:
    """Return the rows of sinfo in `SINFO_FORMAT`."""
    rows = []
    for column, availability, limit, job_size, count, cpus, memory, gres in _table(text, ROW, 8):
        name = column.strip()
        try:
            limit_s = time_limit_s(limit.strip())
        except ValueError:
            limit_s = float("inf")
        rows.append(
            PartitionNodes(
                name.rstrip("*"),
                name.endswith("*"),
                availability == "up",
                limit_s,
                *_range(job_size),
                _number(count),
                _number(cpus),
                _number(memory),
                _gpus(gres),
            )
        )
    return rows


def records(text: str) -> dict[str, Record]:
    """Return the records of the replicas, by name."""
    found = {}
    for line in text.split("\n"):
        words = line.split(" ", 4)
        if len(words) == 5:
            node, started, ended, code, name = words
            exit_code = int(code) if re.fullmatch(r"\d{1,3}", code, re.ASCII) else None
            found[name] = Record(name, node, _time(started), _time(ended), exit_code)
    return found


def submitted_id(stdout: str) -> str:
    """Return the id that ``sbatch --parsable`` prints, maybe with a cluster's name and after other lines.

    Raises:
        ValueError: there is none.
    """
    for line in reversed(stdout.splitlines()):
        if match := re.fullmatch(r"(\d{1,18})(;.*)?", line.strip(), re.ASCII):
            return match[1]
    raise ValueError("no job id")


def _table(text: str, end: str, columns: int) -> Iterator[list[str]]:
    for row in text.split(end, MAX_ROWS)[:MAX_ROWS]:
        fields = row.lstrip("\n").split(FIELD, columns - 1)
        if len(fields) == columns:
            yield fields


def _time(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}", text.strip(), re.ASCII) else None


def _exit(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})", text.strip(), re.ASCII)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _number(text: str) -> int:
    """Return the number at the start of *text*; from 1024 on, sinfo prints CPUs as ``1K`` or ``1.50K``."""
    match = re.match(r"\s*(\d{1,15}(?:\.\d{1,9})?)([KMG]?)", text, re.ASCII)
    return int(float(match[1]) * 1024 ** "_KMG".index(match[2] or "_")) if match else 0


def _range(text: str) -> tuple[int, float]:
    """Return the bounds of ``1-16``, ``1-infinite`` or ``4``."""
    low, dash, high = text.strip().partition("-")
    return _number(low), _number(high if dash else low) or float("inf")


def _gpus(gres: str) -> int:
    """Return the number of GPUs in a list like ``gpu:a100:4(S:0-1),gpu:t4:no_consume:2,lustre:1``."""
    return sum(
        int(match[1])
        for item in re.sub(r"\([^)]*\)", "", gres).split(",")
        if (match := re.fullmatch(r"gpu(?::[^:]+){0,2}?:(\d{1,6})", item.strip(), re.ASCII))
    )
