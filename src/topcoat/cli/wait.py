"""Wait for a job in the foreground: print its logs, and cancel it on ^C."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from topcoat.cli.disk import warn_if_large
from topcoat.cli.follow import LogQuery, print_logs, replicas_of, unknown_app, wait_until_started
from topcoat.cli.output import result, say, write_stderr
from topcoat.errors import AppFailed, OutputError, SchedulerError

if TYPE_CHECKING:
    from topcoat.runner import Runner
    from topcoat.specs import AppDef, AppStatus

_MAX_POLL_INTERVAL_S = 5.0
_CANCEL_TIMEOUT_S = 30.0


def wait_for(
    runner: Runner,
    handle: str,
    *,
    logs: bool,
    cancel: bool,
    show_handle: bool = False,
    always_prefix: bool = False,
) -> AppStatus:
    """Wait until an application has ended and return its status.

    Args:
        runner: knows the application.
        handle: the application.
        show_handle: print the handle first.
        logs: print its logs on stderr meanwhile.
        cancel: on ^C, SIGTERM and SIGHUP, or when its logs can no longer be printed (a closed terminal, ``| head``),
            cancel it and wait for its end; else it continues to run.
        always_prefix: begin the log lines of a single replica with its name too.

    Raises:
        KeyboardInterrupt: on ^C.
        BrokenPipeError: the reader of the logs is gone.
        UnknownApp: the scheduler no longer knows it.
    """
    try:
        if show_handle:
            result(handle)
        if logs:
            wait_until_started(runner, handle)
            query = LogQuery(follow=True)
            if not print_logs(runner, handle, replicas_of(runner, handle), query, sys.stderr, always_prefix):
                write_stderr("\n")
        status = runner.wait(handle, wait_interval=_MAX_POLL_INTERVAL_S)
    except (KeyboardInterrupt, BrokenPipeError, OutputError):
        if cancel:
            cancel_and_wait(runner, handle)
        else:
            say(f"{handle} continues to run; end it with: topcoat cancel {handle}")
        raise
    if status is None:
        raise unknown_app(handle)
    say_end(runner, handle, status)
    return status


def say_end(runner: Runner, handle: str, status: AppStatus) -> None:
    """Say how the job ended: state, duration, exit code; where its outputs and logs are; what to type next."""
    from topcoat.cli.jobs import duration, replica_times
    from topcoat.cli.sizes import human_duration

    name = handle.rpartition("/")[2]
    times = replica_times(runner, handle)
    seconds = max((spent for time in times if (spent := duration(time)) is not None), default=None)
    codes = sorted({time.exit_code for time in times if time.exit_code is not None})
    parts = [f"{name}: {status.state}"]
    parts += [] if seconds is None else [f"after {human_duration(seconds)}"]
    parts += [f"(exit code {', '.join(map(str, codes))})"] if codes else []
    say(f"{' '.join(parts)}; next: topcoat log {name}, topcoat cp {name}:PATH .")
    _say_outputs(runner, handle)
    warn_if_large()


def _say_outputs(runner: Runner, handle: str) -> None:
    try:
        outputs = runner.outputs(handle)
    except SchedulerError as error:
        # The job has ended all the same.
        say(f"which files it wrote is not known: {error}")
        return
    if outputs is not None:
        say(str(outputs) + "; topcoat delete removes them with the job" * outputs.are_deleted)


def attach_to(runner: Runner, handle: str, app: AppDef, *, cancel: bool) -> int:
    """Connect this terminal to the one replica until the job ends; return the exit code of ``topcoat run -i``."""
    (role,) = app.roles
    try:
        wait_until_started(runner, handle, for_logs=False)
        runner.attach(handle, role.name, 0)
        status = runner.wait(handle, wait_interval=_MAX_POLL_INTERVAL_S)
    except BaseException:
        if cancel:
            cancel_and_wait(runner, handle)
        raise
    if status is None:
        raise unknown_app(handle)
    say_end(runner, handle, status)
    if str(status.state) != "SUCCEEDED":
        raise failure(handle, status)
    return 0


def failure(handle: str, status: AppStatus) -> AppFailed:
    """Return the error for an application that ended without success: who failed, how, and where its logs are."""
    from urllib.parse import unquote

    try:
        status.raise_for_status()
    except AppFailed as error:
        hint = f"topcoat log {handle}"
        url = status.ui_url or ""
        if url.startswith("file://"):
            hint += f"; its logs are in {unquote(url.removeprefix('file://'))}"
        elif url:
            hint += f", or see {url}"
        return AppFailed(f"{handle}: {error}", hint=hint, status=status)
    raise ValueError(f"{handle} has succeeded")


def cancel_and_wait(runner: Runner, handle: str) -> None:
    """Cancel a job and wait until it has ended, or for 30 seconds."""
    say(f"cancelling {handle} (it has 10 s to end by itself)")
    try:
        runner.cancel(handle)
    except KeyboardInterrupt:
        # SIGTERM may follow SIGHUP at once.
        runner.cancel(handle)
        raise
    # A second ^C ends this wait; the job still ends.
    deadline = time.monotonic() + _CANCEL_TIMEOUT_S
    while (status := runner.status(handle)) is not None and not status.is_terminal() and time.monotonic() < deadline:
        time.sleep(0.05)
    _say_outputs(runner, handle)
