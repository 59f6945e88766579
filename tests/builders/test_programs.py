"""Programs of builders: their output as it comes, and limits for those that hang."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import pytest

from tests.support.notices import recorded_notices
from tests.support.waiting import made_when
from topcoat.builders.programs import run_quick, run_streaming
from topcoat.errors import DaemonError, TopcoatError


def test_lines_arrive_as_they_are_printed_and_input_of_any_size_is_fed() -> None:
    program = (
        "import sys; d = sys.stdin.buffer.read(); print(len(d)); sys.stdout.buffer.write(b'\\xff\\n'); sys.exit(3)"
    )
    lines: list[str] = []
    code = run_streaming([sys.executable, "-c", program], lines.append, env={}, stdin=io.BytesIO(b"x" * (5 << 20)))
    assert (code, lines) == (3, [str(5 << 20), "\\xff"])


def test_a_program_that_does_not_read_its_input_does_no_harm() -> None:
    lines: list[str] = []
    code = run_streaming(
        [sys.executable, "-c", "print('no')"], lines.append, env={}, stdin=io.BytesIO(b"x" * (5 << 20))
    )
    assert (code, lines) == (0, ["no"])


def test_a_build_ends_if_its_output_cannot_be_printed() -> None:
    def broken(line: str) -> None:
        raise TopcoatError("the output cannot be printed")

    program = "import sys, time; print('here', flush=True); time.sleep(600)"
    started = time.monotonic()
    with pytest.raises(TopcoatError, match="the output cannot be printed"):
        run_streaming([sys.executable, "-c", program], broken, env={})
    assert time.monotonic() - started < 300


def test_the_wait_for_a_silent_program_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("topcoat.builders.programs.SLOW_S", 0.1)
    monkeypatch.setattr("topcoat.builders.programs._POLL_S", 0.05)
    lines: list[str] = []
    script = f"until [ -e {tmp_path}/said ]; do sleep 0.05; done; echo done; sleep 0.4"
    with recorded_notices() as notices, made_when(tmp_path / "said", lambda: notices):
        assert run_streaming(["sh", "-c", script], lines.append, env={"PATH": os.environ["PATH"]}) == 0
    assert notices == ["waiting for sh"]
    assert lines == ["done"]


def test_a_program_that_is_silent_for_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.builders.programs._MAX_SILENCE_S", 0.3)
    monkeypatch.setattr("topcoat.builders.programs._POLL_S", 0.05)
    with pytest.raises(DaemonError, match="sleep printed nothing for"):
        run_streaming(["sleep", "600"], print, env={})


def test_a_query_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.builders.programs._QUICK_TIMEOUT_S", 0.2)
    with pytest.raises(DaemonError, match=r"sleep 600 did not end within 0\.2 s"):
        run_quick(["sleep", "600"])
