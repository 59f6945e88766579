"""An engine that accepts connections and never answers: a notice after a few seconds, an error after a while."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notices import recorded_notices
from topcoat import notices
from topcoat.engines import engine
from topcoat.engines.engine import connect, engine_errors
from topcoat.errors import DaemonUnavailable


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """The address of an engine whose connections are accepted by the kernel, and by nobody else."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen(8)
        yield f"unix://{tmp_path}/engine.sock"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CONNECT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(notices.notice_if_slow.__wrapped__, "__defaults__", (0.1,))  # type: ignore[attr-defined]


def test_the_wait_for_its_first_response_is_said_and_ends(
    silent: str, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", silent)
    expected = f"cannot connect to the container engine at {silent}: it accepts connections and does not respond"
    with recorded_notices() as texts, pytest.raises(DaemonUnavailable) as caught:
        connect()
    assert caught.value.message == expected
    assert texts == [f"waiting for the container engine at {silent}"]


def test_the_wait_for_a_full_backlog_ends(tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen(0)
        other.connect(str(tmp_path / "engine.sock"))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        with pytest.raises(DaemonUnavailable, match=r"does not respond|Resource temporarily unavailable"):
            connect()


def test_a_wait_later_is_said(soon: None) -> None:
    import time

    with recorded_notices() as texts, engine_errors("loading an image"):
        deadline = time.monotonic() + 30
        while not texts and time.monotonic() < deadline:
            time.sleep(0.05)
    assert texts == ["waiting for the container engine: loading an image"]
    with recorded_notices() as texts, engine_errors("reading a log", shows_output=True):
        time.sleep(0.3)
    assert texts == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(silent: str, tmp_path: Path, number: int) -> None:
    environment = {**os.environ, "DOCKER_HOST": silent, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-m", "topcoat", "list", "-s", "local_docker"],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        # It says what it waits for after five seconds, so it waits now.
        assert "waiting for the container engine" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(timeout=20) in (130, 143)
