"""Run one local job to its end, independent of the shell that started it.

``command`` starts the replicas of a job file (``jobs`` describes it), each in a session of its own, and goes on in the
background: it writes the logs, restarts what the retry policy says, ends the other replicas when one has failed for
good, ends all of them on SIGTERM, and updates ``status.json`` beside the job file until the last one has ended. What
a replica has started ends with it, in whatever session it is.

It imports the standard library and its neighbours only, so that it starts fast and needs little memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time

from topcoat.schedulers.local.descendants import BOOT_MARK, adopt_orphans, kill_adopted, reap_adopted
from topcoat.schedulers.local.process import start_mark
from topcoat.schedulers.local.replica import Replica
from topcoat.schedulers.local.status_file import STATUS, save_status

STARTED = "started"
_MAX_END_ATTEMPTS = 30
HEARTBEAT_S = 60.0
"""Seconds between two updates of ``status.json``, whose modification time tells other machines that the job runs."""
_BOOT = f"import sys; sys.path.append(sys.argv[1]); from {BOOT_MARK.decode()} import main; main(sys.argv[2])"


def command(job_file: str) -> list[str]:
    """Return the command that runs *job_file* in the background.

    It ends when the replicas have been started, with ``STARTED`` on stdout; otherwise the error is on stderr. It runs
    in isolated mode, with the standard library first on its path, so that nothing in the user's directory or
    environment can replace its imports.
    """
    root = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))
    return [sys.executable, "-I", "-S", "-c", _BOOT, root, job_file]


def main(job_file: str) -> None:
    """Run *job_file* in a child that outlives this process and its terminal."""
    if os.fork():
        os._exit(0)
    os.setsid()
    try:
        # Opened first: once the replicas run, the disk may be full, or too many files open.
        log = os.open(os.path.join(os.path.dirname(job_file), "supervisor.log"), os.O_WRONLY | os.O_CREAT, 0o600)
        devnull = os.open(os.devnull, os.O_RDONLY)
        job = Job(job_file)
        job.start()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    os.write(1, STARTED.encode())
    for source, target in ((devnull, 0), (log, 2), (log, 1)):
        os.dup2(source, target)
    job.run()


class Job:
    """Run the replicas of one job file."""

    def __init__(self, job_file: str) -> None:
        with open(job_file) as file:
            job = json.load(file)
        self._status = os.path.join(os.path.dirname(job_file), STATUS)
        self._retries: dict[str, dict[str, object]] = job["retries"]
        self._replicas = [Replica(spec, job["grace"]) for spec in job["replicas"]]
        self._selector = selectors.DefaultSelector()
        self._restarts: dict[str, int] = {}
        self._outcome, self._msg, self._saved = "", "", 0.0
        self._start_mark = start_mark(os.getpid())

    def start(self) -> None:
        """Start the replicas until one of them cannot be started."""
        wakeup_read, wakeup_write = os.pipe()
        os.set_blocking(wakeup_read, False)
        os.set_blocking(wakeup_write, False)
        self._selector.register(wakeup_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end("CANCELLED", ""))
        # Handlers, not SIG_IGN: the replicas would inherit it.
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        adopt_orphans()
        # Before anything runs: whoever finds a replica has to find this process too.
        save_status(self._status, self._facts("RUNNING"))
        for replica in self._replicas:
            self._launch(replica)
        self._save()

    def run(self) -> None:
        """Go on until every replica has ended."""
        while any(replica.alive for replica in self._replicas):
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    os.read(key.fd, 4096)
                elif not key.data.read():
                    self._selector.unregister(key.fd)
            if self._step() or time.monotonic() - self._saved >= HEARTBEAT_S:
                self._save()
        kill_adopted(())
        self._save_end()

    def _timeout(self) -> float:
        deadline = min(self._saved + HEARTBEAT_S, *(replica.next_deadline() for replica in self._replicas))
        return max(0.0, deadline - time.monotonic())

    def _step(self) -> bool:
        """Do what is due; tell whether a replica has ended."""
        ended = [replica for replica in self._replicas if replica.poll()]
        for replica in ended:
            self._close(replica)
        reap_adopted(self._own_children())
        restarting = [replica for replica in self._replicas if replica.restart_pending]
        if self._outcome:
            for replica in self._replicas:
                replica.terminate()
        elif restarting and not any(replica.alive for replica in restarting):
            for replica in restarting:
                self._launch(replica)
        return bool(ended)

    def _launch(self, replica: Replica) -> None:
        if self._outcome:
            return
        replica.launch()
        for stream in replica.streams:
            self._selector.register(stream.source, selectors.EVENT_READ, stream)
        if replica.problem:
            self._end("FAILED", f"{replica.name}: {replica.problem}")

    def _close(self, replica: Replica) -> None:
        for stream in replica.streams:
            # A replica that closed its output itself is no longer registered.
            with contextlib.suppress(KeyError):
                self._selector.unregister(stream.source)
        replica.close()
        # Those of the other replicas may be among them.
        kill_adopted(self._own_children(), replica.variables)
        if replica.exit_code == 0 and not replica.terminating:
            replica.state = "SUCCEEDED"
        elif self._outcome:
            replica.state = "CANCELLED"
        elif replica.restart_pending:
            replica.state = "PENDING"
        else:
            self._restart_or_end(replica)

    def _own_children(self) -> set[int]:
        return {replica.pid for replica in self._replicas if replica.pid is not None}

    def _restart_or_end(self, replica: Replica) -> None:
        """Restart what the retry policy of the failed *replica* says, or end the job."""
        replica.state = "FAILED"
        retries = self._retries[replica.role]
        scope, members = {
            "REPLICA": (replica.name, [replica]),
            "ROLE": (replica.role, [other for other in self._replicas if other.role == replica.role]),
            "APPLICATION": ("", self._replicas),
        }[str(retries["policy"])]
        restarts = self._restarts.get(scope, 0)
        if restarts >= int(str(retries["max"])):
            after = f", after {restarts} restart{'s' * (restarts > 1)}" if restarts else ""
            self._end("FAILED", f"{replica.name} {how_it_ended(replica.exit_code or 0)}{after}")
            return
        self._restarts[scope] = restarts + 1
        for member in members:
            member.restart_pending = True
            member.state = "RUNNING" if member.alive else "PENDING"
            member.terminate()

    def _end(self, outcome: str, msg: str) -> None:
        if not self._outcome:
            self._outcome, self._msg = outcome, msg

    def _save(self) -> None:
        self._saved = time.monotonic()
        with contextlib.suppress(OSError):
            save_status(self._status, self._facts("RUNNING"))

    def _save_end(self) -> None:
        for replica in self._replicas:
            replica.state = "CANCELLED" if replica.state == "PENDING" else replica.state
        states = {replica.state for replica in self._replicas}
        facts = self._facts("SUCCEEDED" if states == {"SUCCEEDED"} else self._outcome)
        for _ in range(_MAX_END_ATTEMPTS):
            try:
                save_status(self._status, facts)
            except FileNotFoundError:  # the job was deleted
                return
            except OSError:  # a file server that does not respond
                time.sleep(1)
            else:
                return

    def _facts(self, state: str) -> dict[str, object]:
        log_errors = {log.error for replica in self._replicas for log in replica.logs.values()}
        return {
            "state": state,
            "msg": "; ".join(filter(None, [self._msg, *sorted(log_errors)])),
            "num_restarts": sum(self._restarts.values()),
            "pid": os.getpid(),
            "start": self._start_mark,
            "replicas": [replica.facts() for replica in self._replicas],
        }


def how_it_ended(exit_code: int) -> str:
    """Return *exit_code*, as ``subprocess`` counts it, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"was killed by signal {-exit_code}"
