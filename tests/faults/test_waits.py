"""Commands that wait for others say so after a few seconds, and a signal ends the wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from topcoat.schedulers.local.process import start_mark
from topcoat.testing.registry import FakeRegistry


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_credential_helper_that_hangs_is_named_and_a_signal_ends_the_command(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    helper = tmp_path / "docker-credential-hanging"
    helper.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 120\n")
    helper.chmod(0o755)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credsStore": "hanging"}))
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "a.py").write_text("print(1)\n")
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with FakeRegistry(auth="basic", username="me", password="pw") as registry:
        words = ["build", "--image", f"{registry.host}/base:1", "--image-repo", f"{registry.host}/app"]
        with subprocess.Popen(
            [sys.executable, "-m", "topcoat", *words, "--workspace", str(tmp_path / "ws")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "credential helper" in line)
            assert line == f"topcoat: waiting for the credential helper docker-credential-hanging for {registry.host}\n"
            process.send_signal(number)
            assert process.wait(timeout=20) == 128 + number
            assert "Traceback" not in process.stderr.read()
    pid = int((tmp_path / "pid").read_text())
    if start_mark(pid) is not None:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the helper goes on")
