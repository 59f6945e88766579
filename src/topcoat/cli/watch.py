"""Start a job again when files that ship have changed (``topcoat run --watch``)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from topcoat.cli.follow import LogQuery, print_logs, replicas_of, wait_until_started
from topcoat.cli.output import result, say
from topcoat.errors import TopcoatError, UsageError

if TYPE_CHECKING:
    from topcoat.runner import Runner
    from topcoat.scan.snapshot import Snapshot

QUIET_MS = 300
"""Milliseconds without a change before the job is started again."""
_MAX_WAIT_MS = 10_000
_FIRST_LOOK_MS = 500


def watch(runner: Runner, submit: Callable[[], str], workspace: str) -> int:
    """Submit the job, and again after each change of what *workspace* ships, until ^C; then cancel it.

    Raises:
        UsageError: the workspace is no local directory.
        KeyboardInterrupt: on ^C.
    """
    from topcoat.cli.wait import cancel_and_wait

    if not os.path.isdir(workspace):
        raise UsageError(f"--watch needs a local directory as workspace, not {workspace!r}")
    snapshot = _snapshot(workspace)
    while True:
        handle = _try(submit)
        ended = threading.Event()
        if handle is not None:
            result(handle)
            _show_in_background(runner, handle, ended)
        try:
            snapshot = _wait_for_change(workspace, snapshot)
        except BaseException:
            if handle is not None and not ended.is_set():
                cancel_and_wait(runner, handle)
            raise
        if handle is not None and not ended.is_set():
            cancel_and_wait(runner, handle)


def _try(submit: Callable[[], str]) -> str | None:
    """Submit; a mistake in the code that was just saved is told, and the next save is waited for."""
    try:
        return submit()
    except TopcoatError as error:
        say(f"error: {error.message}", hint=error.hint or "")
        say("waiting for the next change")
        return None


def _show(runner: Runner, handle: str, ended: threading.Event) -> None:
    """Print the logs of one round, and its end."""
    import sys

    from topcoat.cli.wait import say_end

    try:
        wait_until_started(runner, handle)
        print_logs(runner, handle, replicas_of(runner, handle), LogQuery(follow=True), sys.stderr)
        status = runner.wait(handle)
    except TopcoatError as error:
        say(f"error: {error.message}", hint=error.hint or "")
        return
    ended.set()
    if status is not None:
        say_end(runner, handle, status)
        say("waiting for the next change; ^C ends")


def _show_in_background(runner: Runner, handle: str, ended: threading.Event) -> None:
    threading.Thread(target=_show, args=(runner, handle, ended), daemon=True).start()


def _wait_for_change(workspace: str, before: Snapshot) -> Snapshot:
    """Return the new snapshot after files that ship have changed: their content, not their time."""
    from watchfiles import watch as file_events

    from topcoat.cli.what_goes import changed_paths

    has_looked = False
    for changes in file_events(
        workspace,
        debounce=_MAX_WAIT_MS,
        step=QUIET_MS,
        raise_interrupt=True,
        watch_filter=None,
        yield_on_timeout=True,
        rust_timeout=_FIRST_LOOK_MS,
        ignore_permission_denied=True,
    ):
        # A file may have been saved before its directory was watched.
        if has_looked and not changes:
            continue
        has_looked = True
        try:
            now = _snapshot(workspace)
        except TopcoatError as error:
            say(f"error: {error.message}", hint=error.hint or "")
            continue
        if now.digest != before.digest:
            say(f"changed: {changed_paths(before, now)}; starting again")
            return now
    raise KeyboardInterrupt


def _snapshot(workspace: str) -> Snapshot:
    from topcoat.scan.job_dirs import without_job_dirs
    from topcoat.scan.retry import retry_if_changed
    from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
    from topcoat.specs.workspace import Workspace

    local = Workspace({workspace: ""})
    return retry_if_changed(lambda: without_job_dirs(scan(local, ScanOptions(IMAGE_IGNORE_FILES)), local).snapshot)
