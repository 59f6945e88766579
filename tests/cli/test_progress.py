from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import environment
from topcoat.cli import progress
from topcoat.cli.progress import Progress

PROGRAM = """
import sys, time
from topcoat.cli import progress
progress.DELAY_S = float(sys.argv[2])
with progress.Progress("doing a thing"):
    time.sleep(float(sys.argv[1]))
print("rich" in sys.modules)
"""


def _on_a_terminal(seconds: float, delay: float) -> tuple[str, bool]:
    """Return what a terminal shows while something takes *seconds*, and whether rich was imported."""
    mine, theirs = pty.openpty()
    with open(mine, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seconds), str(delay)],
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while data := terminal.read(1024):
                shown += data
        except OSError:
            # Linux reports this when no process has the terminal open for writing.
            pass
        out, _ = process.communicate(timeout=30)
    return shown.decode(), out.strip() == b"True"


def test_a_slow_operation_shows_a_spinner_on_a_terminal_until_it_ends() -> None:
    shown, rich = _on_a_terminal(1.2, delay=0.3)
    assert "topcoat: doing a thing" in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))
    assert rich


def test_a_quick_operation_shows_nothing_and_imports_nothing() -> None:
    assert progress.DELAY_S == 0.5
    assert _on_a_terminal(0.05, delay=30) == ("", False)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO(), False), (_Terminal(), True)])
def test_no_spinner_without_a_terminal_or_when_quiet(
    stream: io.StringIO, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY_S", 0)
    with Progress("doing a thing", quiet=quiet):
        time.sleep(0.1)
    assert stream.getvalue() == ""


# The import of rich takes longest; without it, the transfer may be over before the first bar.
TRANSFER = """
import sys, time
import rich.console, rich.live, rich.progress, rich.spinner, rich.text
from topcoat.cli import progress
progress.DELAY_S = 0.1
from topcoat.transfers import advance, expect
progress.LINE_INTERVAL_S = 0.3
with progress.Progress("doing a thing"):
    expect("pushing", 4 << 20)
    for _ in range(10):
        time.sleep(0.15)
        advance("pushing", 300 << 10)
"""


def _transfer(**env: str) -> tuple[str, str]:
    """Return what a terminal shows of a transfer, and what a file gets."""
    import pexpect

    environ = {**environment(TERM="xterm"), **env}
    process = pexpect.spawn(
        sys.executable, ["-c", TRANSFER], env=environ, encoding="utf-8", timeout=30, dimensions=(30, 100)
    )
    process.expect(pexpect.EOF)
    redirected = subprocess.run(
        [sys.executable, "-c", TRANSFER], env=environ, capture_output=True, text=True, check=True
    )
    return str(process.before), redirected.stderr


def test_a_slow_transfer_shows_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    shown, lines = _transfer()
    for text in ("pushing", "━", "/4.0 MiB", "/s", "0:00:0"):
        assert text in shown
    assert re.search(r"^topcoat: pushing [\d.]+ [KM]iB of 4.0 MiB, [\d.]+ [KM]iB/s, [\d.]+s left$", lines, re.M)
    assert lines.endswith(" left\n")
    assert "━" not in lines
    assert "\x1b" not in lines


@pytest.mark.parametrize("variable", ["NO_COLOR", "CI"])
def test_without_colors_and_in_ci_a_terminal_gets_plain_lines(variable: str) -> None:
    shown, _ = _transfer(**{variable: "1"})
    assert "topcoat: pushing" in shown
    assert "━" not in shown
    assert "\x1b" not in shown
