"""Local jobs in the state directory, where any shell finds them.

``<state>/jobs/<app_id>/`` has ``job.json`` (the request, written once), ``status.json`` (written by the supervisor),
``code/`` (the snapshot that it runs) and ``logs/``. The supervisor reads from ``job.json`` ``grace`` (seconds between
SIGTERM and SIGKILL), ``retries`` (role to ``policy`` and ``max``) and ``replicas`` (``role``, ``id``, ``args``,
``env``, ``cwd``, ``stdout``, ``stderr``, ``combined``, ``error_file``).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from topcoat.errors import SchedulerError, StateError
from topcoat.foreign_text import escaped
from topcoat.leftovers import claim, claimed, release
from topcoat.notices import notice, notice_if_slow
from topcoat.schedulers.local import job_records
from topcoat.schedulers.local.descendants import kill_all_of
from topcoat.schedulers.local.job_records import JOB
from topcoat.schedulers.local.process import (
    boot_time,
    host_identity,
    is_process,
    run,
    signal_group,
    signal_process,
    start_mark,
)
from topcoat.schedulers.local.replica import GRACE_S
from topcoat.schedulers.local.status_file import STATUS, save_status
from topcoat.schedulers.local.supervisor import HEARTBEAT_S, STARTED, command
from topcoat.specs import AppState, is_terminal
from topcoat.state import make_private, state_dir, write_atomic

_START_TIMEOUT_S = 300
_MAX_SILENCE_S = 5 * HEARTBEAT_S
_LOST = "its supervisor has died: the machine was restarted, or the process was killed"
_NEVER_STARTED = "it was never started: the command that submitted it was killed"
# A status file that is written in place, on a full disk, may be read half written.
_READ_ATTEMPTS = 5
_READ_PAUSE_S = 0.02
_NO_JOB = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class LocalJob(NamedTuple):
    """Hold a job of the state directory: the content of ``job.json`` and ``status.json``."""

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
    claim(home, unless=home / JOB)
    try:
        _write_records(home, app_id, job)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    finally:
        release(home)
    try:
        with notice_if_slow(f"waiting for the supervisor of {app_id} to start"):
            done = run(command(str(home / JOB)), timeout=_START_TIMEOUT_S)
    except BaseException:
        # The user never got the handle, and could not cancel the job later.
        _withdraw(home)
        raise
    if done.stdout != STARTED:
        _remove(home)
        raise SchedulerError(f"cannot start the job's supervisor: {escaped(done.stderr.strip()) or done.exit_code}")


def _write_records(home: Path, app_id: str, job: dict[str, Any]) -> None:
    make_private(home)
    for replica in job["replicas"]:
        make_private(Path(replica["stdout"]).parent)
    facts = {
        "grace": GRACE_S,
        **job,
        "app_id": app_id,
        "host": host_identity(),
        "launcher": [os.getpid(), start_mark(os.getpid())],
        "created": time.time(),
    }
    pending = {"state": "PENDING", "exit_code": None, "pid": None, "start": None}
    replicas = [{"role": replica["role"], "id": replica["id"], **pending} for replica in job["replicas"]]
    status = {"state": "SUBMITTED", "msg": "", "num_restarts": 0, "pid": None, "start": None, "replicas": replicas}
    try:
        # First the status: a job always has one, and from now on it has room on the disk.
        save_status(str(home / STATUS), status)
    except OSError as error:
        hint = "free some space there, or set XDG_STATE_HOME to a directory on another disk"
        raise StateError(f"cannot write to {home / STATUS}: {error.strerror or error}", hint=hint) from error
    write_atomic(home / JOB, json.dumps(facts, default=str).encode())


def _withdraw(home: Path) -> None:
    """End a job whose start was interrupted, or remove it if its supervisor has not begun."""
    # Without its directory, a supervisor that is about to begin starts nothing.
    aside = home.with_name(f".{home.name}.withdrawn")
    with contextlib.suppress(OSError):
        os.rename(home, aside)
        if job_records.read_status(aside / STATUS)["pid"] is None:
            shutil.rmtree(aside, ignore_errors=True)
            return
        os.rename(aside, home)
        started = load(home.name)
        if started is not None:
            cancel(started)


def load(app_id: str) -> LocalJob | None:
    """Return the job *app_id*, ``None`` if it does not exist.

    Raises:
        StateError: its record cannot be read: it is damaged, or another user's.
    """
    if os.path.basename(app_id) != app_id or app_id in ("", ".", "..") or "\0" in app_id:
        return None
    home = directory(app_id)
    try:
        job = job_records.read_job(home)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _NO_JOB:
            return None
        raise _unreadable(home, JOB, error) from None
    try:
        return LocalJob(home, job, _status(home, job))
    except (OSError, ValueError) as error:
        raise _unreadable(home, STATUS, error) from None


def load_all() -> Iterator[LocalJob]:
    """Return all jobs, the newest first, and print a notice for each that cannot be read."""
    try:
        names = os.listdir(state_dir("jobs"))
    except (FileNotFoundError, NotADirectoryError):  # no job was ever started here
        names = []
    except OSError as error:
        raise StateError(f"cannot read {state_dir('jobs')}: {error.strerror or error}") from error
    jobs = []
    for name in names:
        try:
            job = load(name)
        except StateError as error:
            notice(f"{error.message}; {error.hint}")
        else:
            jobs += [job] if job else []
    return iter(sorted(jobs, key=lambda job: -job.job["created"]))


def cancel(job: LocalJob) -> None:
    """Ask the job's supervisor to end it; do nothing if it has ended.

    Raises:
        SchedulerError: it runs on another machine, or in another container.
    """
    if is_terminal(job.state):
        return
    if not _is_here(job.job):
        name, here = _host(job), host_identity().split()[0]
        where = f"{name} in another container (pid namespace)" if name == here else name
        raise SchedulerError(f"the job {job.directory.name} runs on {where}", hint="cancel it there")
    signal_process(job.status["pid"], job.status["start"], signal.SIGTERM)


def remove(job: LocalJob) -> None:
    """Remove the directory of a job that has ended.

    Raises:
        SchedulerError: the job has not ended.
        StateError: a part of the directory cannot be removed.
    """
    if not is_terminal(job.state):
        name = job.directory.name
        raise SchedulerError(f"the job {name} was cancelled and has not ended yet", hint="try again later")
    _remove(job.directory)


def _remove(home: Path) -> None:
    try:
        # Without its job.json, nothing but the claim would name it.
        with claimed(home):
            shutil.rmtree(home)
    except OSError as error:
        where = error.filename or home
        raise StateError(f"cannot remove {where}: {error.strerror}", hint=f"rm -r {home}") from error


def _unreadable(home: Path, name: str, error: OSError | ValueError) -> StateError:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return StateError(f"cannot read the jobs: {error.strerror}", hint="raise the limit: ulimit -n 4096")
    reason, hint = job_records.why_unreadable(error, home)
    return StateError(f"cannot read the job {escaped(home.name)}: {name}: {escaped(reason)}", hint=hint)


def _host(job: LocalJob) -> str:
    return str(job.job["host"]).split()[0]


def _is_here(job: dict[str, Any]) -> bool:
    """Tell whether the numbers of the job's processes mean the same processes here."""
    return bool(job["host"] == host_identity())


def _status(home: Path, job: dict[str, Any]) -> dict[str, Any]:
    status = _read_status(home)
    if is_terminal(AppState[status["state"]]) or _may_run(home, job, status):
        return status
    # It may have ended normally since the status was read.
    status = _read_status(home)
    if is_terminal(AppState[status["state"]]):
        return status
    return _record_lost(home, job, status)


def _read_status(home: Path) -> dict[str, Any]:
    for attempt in range(_READ_ATTEMPTS):
        try:
            return job_records.read_status(home / STATUS)
        except ValueError:
            if attempt == _READ_ATTEMPTS - 1:
                raise
            time.sleep(_READ_PAUSE_S)
    raise AssertionError


def _may_run(home: Path, job: dict[str, Any], status: dict[str, Any]) -> bool:
    if _is_here(job):
        pid, start = job["launcher"] if status["state"] == "SUBMITTED" else (status["pid"], status["start"])
        return is_process(pid, start)
    # Another machine or container that shares this directory runs it: only the heartbeat is visible from here.
    newest = max((home / name).stat().st_mtime for name in (JOB, STATUS))
    name, *boot = job["host"].split()[:2]
    here, *boot_here = host_identity().split()[:2]
    was_rebooted = name == here and boot != boot_here and newest < boot_time()
    return time.time() - newest < _MAX_SILENCE_S and not was_rebooted


def _record_lost(home: Path, job: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a job whose supervisor ended early; kill its processes and save that if they were here."""
    is_here = _is_here(job)
    for replica in status["replicas"]:
        if is_here and is_process(replica["pid"], replica["start"]):
            signal_group(replica["pid"], signal.SIGKILL)
        if not is_terminal(AppState[replica["state"]]):
            replica["state"] = "FAILED"
    status["msg"] = _NEVER_STARTED if status["state"] == "SUBMITTED" else _LOST
    status["state"] = "FAILED"
    if is_here:
        kill_all_of(home.name)
        with contextlib.suppress(OSError):
            save_status(str(home / STATUS), status)
    return status
