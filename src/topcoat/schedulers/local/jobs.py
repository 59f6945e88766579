"""Local jobs in the state directory, where any shell finds them.

``<state>/jobs/<app_id>/`` has ``job.json`` (the request, written once), ``status.json`` (written by the supervisor),
``code/`` (the snapshot that it runs) and ``logs/``. The supervisor reads from ``job.json`` ``grace`` (seconds between
SIGTERM and SIGKILL), ``retries`` (role to ``policy`` and ``max``) and ``replicas`` (``role``, ``id``, ``args``,
``env``, ``cwd``, ``stdout``, ``stderr``, ``combined``, ``error_file``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from topcoat.errors import SchedulerError, StateError
from topcoat.schedulers.local.process import host_identity, run, signal_group, start_mark
from topcoat.schedulers.local.replica import GRACE_S
from topcoat.schedulers.local.supervisor import HEARTBEAT_S, STARTED, STATUS, command
from topcoat.specs import AppState, is_terminal
from topcoat.state import make_private, state_dir, write_atomic

JOB = "job.json"
_START_TIMEOUT_S = 300
_LOST = "its supervisor has died: the machine was restarted, or the process was killed"
_NEVER_STARTED = "it was never started: the command that submitted it was killed"


class LocalJob(NamedTuple):
    """Hold a job of the state directory: the content of ``job.json`` and ``status.json``.

    Before the supervisor has written its first status, and after it was lost, *status* is made up from *job*.
    """

    directory: Path
    job: dict[str, Any]
    status: dict[str, Any]

    @property
    def state(self) -> AppState:
        """The state of the whole job."""
        return AppState[self.status["state"]]

    @property
    def logs(self) -> dict[tuple[str, int], dict[str, str]]:
        """The files of each replica: ``stdout``, ``stderr``, ``combined``, ``error_file``."""
        return {(replica["role"], replica["id"]): replica for replica in self.job["replicas"]}


def directory(app_id: str) -> Path:
    """Return the directory of the job *app_id*, which need not exist."""
    return state_dir("jobs") / app_id


def start(app_id: str, job: dict[str, Any]) -> None:
    """Write *job* to the state directory and start it; return when its replicas run or have failed to start.

    Raises:
        SchedulerError: a job of that id exists, or no process can be started here.
        StateError: the state directory cannot be written.
    """
    if not hasattr(os, "fork"):
        raise SchedulerError("local jobs need a POSIX system", hint="use -s local_docker")
    home = directory(app_id)
    if (home / JOB).exists():
        raise SchedulerError(f"the job {app_id} was started already", hint="make a new request to run it again")
    make_private(home)
    try:
        for replica in job["replicas"]:
            os.makedirs(os.path.dirname(replica["stdout"]), exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot write the job to {error.filename or home}: {error.strerror}") from error
    facts = {
        "grace": GRACE_S,
        **job,
        "app_id": app_id,
        "host": host_identity(),
        "launcher": [os.getpid(), start_mark(os.getpid())],
        "created": time.time(),
    }
    write_atomic(home / JOB, json.dumps(facts, default=str).encode())
    try:
        done = run(command(str(home / JOB)), timeout=_START_TIMEOUT_S)
    except BaseException:
        # The user never got the handle, and could not cancel the job later.
        started = load(app_id)
        if started is not None:
            cancel(started)
        raise
    if done.stdout != STARTED:
        shutil.rmtree(home, ignore_errors=True)
        raise SchedulerError(f"cannot start the job's supervisor: {done.stderr.strip() or done.exit_code}")


def load(app_id: str) -> LocalJob | None:
    """Return the job *app_id*, ``None`` if it does not exist."""
    if os.path.basename(app_id) != app_id or app_id in ("", ".", ".."):
        return None
    home = directory(app_id)
    job = _read(home / JOB)
    return None if job is None else LocalJob(home, job, _status(home, job))


def load_all() -> Iterator[LocalJob]:
    """Return all jobs, the newest first."""
    try:
        names = os.listdir(state_dir("jobs"))
    except OSError:  # no job was ever started here
        names = []
    jobs = filter(None, map(load, names))
    return iter(sorted(jobs, key=lambda job: -job.job["created"]))


def cancel(job: LocalJob) -> None:
    """Ask the job's supervisor to end it; do nothing if it has ended.

    Raises:
        SchedulerError: it runs on another machine.
    """
    if is_terminal(job.state):
        return
    if job.job["host"] != host_identity():
        raise SchedulerError(f"the job {job.directory.name} runs on {_host(job)}", hint="cancel it on that machine")
    if _supervisor_runs(job.status):
        with contextlib.suppress(ProcessLookupError):
            os.kill(job.status["pid"], signal.SIGTERM)


def remove(job: LocalJob) -> None:
    """Remove the directory of a job that has ended."""
    shutil.rmtree(job.directory, ignore_errors=True)


def _host(job: LocalJob) -> str:
    return str(job.job["host"]).split()[0]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _supervisor_runs(status: dict[str, Any]) -> bool:
    return bool(status["pid"]) and start_mark(status["pid"]) == status["start"]


def _status(home: Path, job: dict[str, Any]) -> dict[str, Any]:
    status = _read(home / STATUS) or _before_start(job)
    if is_terminal(AppState[status["state"]]) or _may_run(home, job, status):
        return status
    # It may have ended normally since the status was read.
    status = _read(home / STATUS) or status
    if is_terminal(AppState[status["state"]]):
        return status
    return _record_lost(home, job, status)


def _before_start(job: dict[str, Any]) -> dict[str, Any]:
    pending = {"state": "PENDING", "exit_code": None, "pid": None, "start": None}
    replicas = [{"role": replica["role"], "id": replica["id"], **pending} for replica in job["replicas"]]
    pid, start = job["launcher"]
    return {"state": "SUBMITTED", "msg": "", "num_restarts": 0, "pid": pid, "start": start, "replicas": replicas}


def _may_run(home: Path, job: dict[str, Any], status: dict[str, Any]) -> bool:
    here = host_identity()
    if job["host"] == here:
        return _supervisor_runs(status)
    if job["host"].split()[0] == here.split()[0]:
        return False
    # Another machine that shares this directory runs it: only the heartbeat is visible from here.
    newest = max(path.stat().st_mtime for path in (home / JOB, home / STATUS) if path.exists())
    return time.time() - newest < 5 * HEARTBEAT_S


def _record_lost(home: Path, job: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """Kill the replicas of a supervisor that ended early, and record that the job has failed."""
    for replica in status["replicas"]:
        if replica["pid"] and job["host"] == host_identity() and start_mark(replica["pid"]) == replica["start"]:
            signal_group(replica["pid"], signal.SIGKILL)
        if not is_terminal(AppState[replica["state"]]):
            replica["state"] = "FAILED"
    status["msg"] = _NEVER_STARTED if status["state"] == "SUBMITTED" else _LOST
    status["state"] = "FAILED"
    with contextlib.suppress(StateError):
        write_atomic(home / STATUS, json.dumps(status).encode())
    return status
