"""Terminals and pipes: what is shown on them, and what happens when they close."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import environment
from tests.support.signals import default_signals
from topcoat.cli.wait import wait_for
from topcoat.errors import OutputError
from topcoat.runner import get_runner
from topcoat.specs import AppState, AppStatus

TOPCOAT = [sys.executable, "-m", "topcoat"]


def on_terminal(
    command: Sequence[str], size: tuple[int, int] = (24, 80), **env: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start *command* as the session leader of a new terminal; return it and the terminal's other side."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with default_signals():
        process = subprocess.Popen(
            command,
            env=environment(TERM="xterm", **env),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509
        )
    os.close(theirs)
    return process, mine


def read_until(terminal: int, text: bytes = b"no such text") -> bytes:
    """Return what is shown until *text* is, or until nobody has the terminal open."""
    shown = b""
    while text not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # how Linux says that
            break
    return shown


def show(*words: str, **env: str) -> tuple[int, str]:
    """Return the exit code of ``topcoat`` *words* and what a terminal shows."""
    process, terminal = on_terminal([*TOPCOAT, *words], **env)
    shown = read_until(terminal)
    os.close(terminal)
    return process.wait(60), shown.decode()


def final_state() -> AppState:
    """Return the state of the only local job, once it has ended."""
    runner = get_runner()
    (app,) = runner.list("local")
    status = runner.wait(app.app_handle, 0.1)
    assert status is not None
    return status.state


@pytest.mark.parametrize("shell", [[], ["bash", "--norc", "-i", "-c", '"$@"; true', "bash"]])
@pytest.mark.parametrize("replicas", ["1", "2"])
@pytest.mark.usefixtures("workspace")
def test_closing_the_terminal_cancels_a_local_job_that_is_waited_for(shell: list[str], replicas: str) -> None:
    script = "echo started; exec sleep 300"
    process, terminal = on_terminal([*shell, *TOPCOAT, "run", "--num-replicas", replicas, "--", "sh", "-c", script])
    read_until(terminal, b"started")
    os.close(terminal)
    assert process.wait(60) == (129 if not shell else process.returncode)
    assert final_state() is AppState.CANCELLED


@pytest.mark.usefixtures("workspace")
def test_closing_the_terminal_does_not_end_a_detached_job() -> None:
    process, terminal = on_terminal([*TOPCOAT, "run", "--detach", "--", "sleep", "2"])
    read_until(terminal, b"local://")
    os.close(terminal)
    process.wait(60)
    assert final_state() is AppState.SUCCEEDED


@pytest.mark.parametrize(
    "loop", ["while :; do echo line; sleep 0.05; done", "while :; do echo line >&2; sleep 0.05; done"]
)
@pytest.mark.usefixtures("workspace")
def test_a_reader_that_has_seen_enough_cancels_a_local_job_that_is_waited_for(loop: str) -> None:
    command = 'set -o pipefail; "$@" 2>&1 | head -5'
    with default_signals():
        done = subprocess.run(
            ["bash", "-c", command, "bash", *TOPCOAT, "run", "--", "sh", "-c", loop],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.endswith("line\n")
    assert final_state() is AppState.CANCELLED


@pytest.mark.usefixtures("workspace")
def test_a_handle_that_cannot_be_printed_cancels_a_local_job() -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *TOPCOAT, "run", "--", "sleep", "300"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "error: cannot write the result: Bad file descriptor" in done.stderr
    assert final_state() is AppState.CANCELLED


class _Runner:
    """A runner whose job goes on."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def cancel(self, handle: str) -> None:
        self.cancelled.append(handle)
        if len(self.cancelled) == 1:
            raise KeyboardInterrupt

    def wait(self, handle: str, wait_interval: float) -> AppStatus:
        raise AssertionError

    def status(self, handle: str) -> None:
        return None


@pytest.mark.parametrize("error", [BrokenPipeError(), OutputError("gone"), KeyboardInterrupt()])
def test_a_clusters_job_goes_on_when_the_terminal_closes(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> AppStatus:
        raise error

    runner: Any = _Runner()
    monkeypatch.setattr(runner, "wait", fail)
    for cancel in (False, True):
        with pytest.raises((type(error), KeyboardInterrupt)):
            wait_for(runner, "slurm:///1", logs=False, cancel=cancel)
        # A signal that arrives meanwhile does not stop the cancelling.
        assert runner.cancelled == ["slurm:///1"] * (2 * cancel)


EVIL = "evil\x1b]0;owned\x07\x1b[2Jname\nnext"


def test_names_of_files_do_not_reach_the_terminal_raw(workspace: Path) -> None:
    (workspace / EVIL).touch()
    (workspace / os.fsdecode(b"caf\xe9")).touch()
    # No spinner: it would write control characters of its own.
    code, shown = show("ls", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in shown
    assert "evil\\x1b]0;owned\\x07\\x1b[2Jname\\x0anext\r\n" in shown
    assert "caf\\xe9" in shown


def test_a_pipe_gets_names_and_logs_byte_by_byte(workspace: Path) -> None:
    (workspace / EVIL).touch()
    name = EVIL.encode()

    def output(*words: str, stream: str = "stdout") -> bytes:
        done = subprocess.run([*TOPCOAT, *words], env=environment(LC_ALL="C"), capture_output=True, check=True)
        data: bytes = getattr(done, stream)
        return data

    assert name + b"\n" in output("ls")
    assert name + b"\0" in output("ls", "-0")
    assert EVIL in {entry["path"] for entry in json.loads(output("ls", "--json"))["entries"]}
    log = b"\x1b[31mred \xe2\x82\xac \xff\x00\x1b[0m\n"
    script = "printf '\\033[31mred \\342\\202\\254 \\377\\000\\033[0m\\n'"
    assert output("run", "--", "sh", "-c", script, stream="stderr").count(log) == 1
    assert output("log", get_runner().list("local")[0].app_handle) == log


@pytest.mark.parametrize("words", [("ls", "--workspace", f"/no/{EVIL}"), ("--debug", "ls", "--workspace", f"/{EVIL}")])
def test_errors_do_not_reach_the_terminal_raw(words: tuple[str, ...]) -> None:
    code, shown = show(*words, NO_COLOR="1")
    assert code in (1, 2)
    assert "\x1b" not in shown
    assert "evil\\x1b]0;owned" in shown


def test_a_spinner_shows_a_workspace_whose_name_looks_like_markup(tmp_path: Path) -> None:
    program = (
        "import time\nfrom topcoat.cli.progress import Progress\n"
        f"with Progress({'laying [/' + EVIL + ']'!r}): time.sleep(1)"
    )
    process, terminal = on_terminal([sys.executable, "-c", program])
    shown = read_until(terminal).decode()
    os.close(terminal)
    assert process.wait(60) == 0
    assert "topcoat: laying [/" in shown
    assert "Traceback" not in shown
    assert "\x1b[2J" not in shown
