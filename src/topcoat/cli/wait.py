"""Wait for a job in the foreground: print its logs, and cancel it on ^C."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from topcoat.cli.follow import LogQuery, print_logs, replicas_of, unknown_app, wait_until_started
from topcoat.cli.output import result, say
from topcoat.errors import AppFailed, OutputError

if TYPE_CHECKING:
    from topcoat.runner import Runner
    from topcoat.specs import AppStatus

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
            print_logs(runner, handle, replicas_of(runner, handle), LogQuery(follow=True), sys.stderr, always_prefix)
        status = runner.wait(handle, wait_interval=_MAX_POLL_INTERVAL_S)
    except (KeyboardInterrupt, BrokenPipeError, OutputError):
        if cancel:
            _cancel(runner, handle)
        else:
            say(f"{handle} continues to run; end it with: topcoat cancel {handle}")
        raise
    if status is None:
        raise unknown_app(handle)
    _say_outputs(runner, handle)
    return status


def _say_outputs(runner: Runner, handle: str) -> None:
    outputs = runner.outputs(handle)
    if outputs is not None:
        say(str(outputs) + "; topcoat delete removes them with the job" * outputs.are_deleted)


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


def _cancel(runner: Runner, handle: str) -> None:
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
