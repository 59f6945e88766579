"""Run one local job to its end, independent of the shell that started it.

``command`` starts the replicas of a job file (``jobs`` describes it), each in a session of its own, and goes on in the
background: it writes the logs, restarts what the retry policy says, ends the other replicas when one has failed for
good, ends all of them on SIGTERM, and updates ``status.json`` beside the job file until the last one has ended.

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

from topcoat.schedulers.local.process import start_mark
from topcoat.schedulers.local.replica import Replica

STATUS = "status.json"
STARTED = "started"
HEARTBEAT_S = 60.0
"""Seconds between two updates of ``status.json``, whose modification time tells other machines that the job runs."""
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from topcoat.schedulers.local.supervisor import main; main(sys.argv[2])"
)


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
    job = Job(job_file)
    job.start()
    os.write(1, STARTED.encode())
    log = os.path.join(os.path.dirname(job_file), "supervisor.log")
    for source, target in (
        (os.open(os.devnull, os.O_RDONLY), 0),
        (os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2),
        (2, 1),
    ):
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
        for replica in self._replicas:
            self._launch(replica)
        self._save("RUNNING")

    def run(self) -> None:
        """Go on until every replica has ended."""
        while any(replica.alive for replica in self._replicas):
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    os.read(key.fd, 4096)
                elif not key.data.read():
                    self._selector.unregister(key.fd)
            if self._step() or time.monotonic() - self._saved >= HEARTBEAT_S:
                self._save("RUNNING")
        states = {replica.state for replica in self._replicas}
        self._save("SUCCEEDED" if states == {"SUCCEEDED"} else self._outcome)

    def _timeout(self) -> float:
        deadline = min(self._saved + HEARTBEAT_S, *(replica.next_deadline() for replica in self._replicas))
        return max(0.0, deadline - time.monotonic())

    def _step(self) -> bool:
        """Do what is due; tell whether a replica has ended."""
        ended = [replica for replica in self._replicas if replica.poll()]
        for replica in ended:
            self._close(replica)
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
        if replica.exit_code == 0 and not replica.terminating:
            replica.state = "SUCCEEDED"
        elif self._outcome:
            replica.state = "CANCELLED"
        elif replica.restart_pending:
            replica.state = "PENDING"
        else:
            self._restart_or_end(replica)

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

    def _save(self, state: str) -> None:
        if state != "RUNNING":
            for replica in self._replicas:
                replica.state = "CANCELLED" if replica.state == "PENDING" else replica.state
        self._saved = time.monotonic()
        log_errors = {log.error for replica in self._replicas for log in replica.logs.values()}
        status = {
            "state": state,
            "msg": "; ".join(filter(None, [self._msg, *sorted(log_errors)])),
            "num_restarts": sum(self._restarts.values()),
            "pid": os.getpid(),
            "start": start_mark(os.getpid()),
            "replicas": [replica.facts() for replica in self._replicas],
        }
        with contextlib.suppress(OSError):
            with open(f"{self._status}.new", "w") as file:
                json.dump(status, file)
            os.replace(f"{self._status}.new", self._status)


def how_it_ended(exit_code: int) -> str:
    """Return *exit_code*, as ``subprocess`` counts it, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"was killed by signal {-exit_code}"
