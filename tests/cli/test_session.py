"""A day in a terminal of 100 columns and 30 lines: the commands as a user types them, one after the other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.conftest import environment

PROMPT = "day> "
TRAIN = """
import pathlib, sys, time
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path("out/model.txt").write_text("weights")
print("version", {version}, flush=True)
time.sleep({seconds})
"""


class Session:
    """A shell in a terminal."""

    def __init__(self, directory: Path, program: Path) -> None:
        path = f"{program}:{os.environ['PATH']}"
        self._shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting"],
            env=environment(TERM="xterm", PS1=PROMPT, PATH=path),
            cwd=str(directory),
            encoding="utf-8",
            timeout=60,
            dimensions=(30, 100),
        )
        self._shell.expect_exact(PROMPT)

    def start(self, line: str) -> Any:
        """Type a line; return the terminal."""
        self._shell.sendline(line)
        return self._shell

    def type(self, line: str) -> str:
        """Type a line and return what the terminal shows until the next prompt, without the codes of the terminal."""
        self.start(line).expect_exact(PROMPT)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self._shell.before)

    def close(self) -> None:
        self._shell.close(force=True)


@pytest.fixture
def session(workspace: Path, tmp_path: Path) -> Iterator[Session]:
    program = tmp_path / "bin"
    program.mkdir()
    (program / "topcoat").write_text(f'#!/bin/sh\nexec {sys.executable} -m topcoat "$@"\n')
    (program / "topcoat").chmod(0o755)
    shell = Session(workspace, program)
    yield shell
    shell.close()


def test_a_day_in_a_terminal(session: Session, workspace: Path) -> None:
    script = workspace / "train.py"
    run = f"topcoat run -- {sys.executable} train.py"

    script.write_text(TRAIN.format(version=1, seconds=0))
    first = session.type(run)
    assert "; first run from here; " in " ".join(first.split())
    assert "version 1" in first
    assert re.search(r"train-\w+: SUCCEEDED after [\d.]+s \(exit code 0\); next: topcoat log train-\w+", first)

    script.write_text(TRAIN.format(version=2, seconds=0))
    second = session.type(run)
    assert "; changed: train.py; " in " ".join(second.split())
    assert "version 2" in second
    name = re.findall(r"(train-\w+): SUCCEEDED", second)[0]

    assert "version 2" in session.type("topcoat log")
    assert re.search(r"State: SUCCEEDED[\s\S]*EXIT CODE\ntrain/0 .* [\d.]+s +0\n", session.type("topcoat status"))
    assert "error" not in session.type(f"topcoat cp {name}:out/model.txt copy.txt; cat copy.txt")
    assert (workspace / "copy.txt").read_text() == "weights"
    (workspace / "copy.txt").unlink()

    session.type("topcoat run --detach --name long -- sleep 300")
    assert "train.py" in session.type("topcoat exec long -- ls")
    listed = session.type("topcoat list")
    assert [line.split()[:2] for line in listed.splitlines() if " local " in line] == [
        ["long", "RUNNING"],
        ["train", "SUCCEEDED"],
        ["train", "SUCCEEDED"],
    ]
    assert "can be freed: 0 B" in session.type("topcoat gc")

    script.write_text(TRAIN.format(version=10, seconds=300))
    terminal = session.start(run.replace("run", "run --watch", 1))
    terminal.expect_exact("version 10")
    for version in (11, 12, 13):
        script.write_text(TRAIN.format(version=version, seconds=300))
        terminal.expect_exact("changed: train.py; starting again")
        terminal.expect_exact(f"version {version}")
    terminal.sendcontrol("c")
    terminal.expect_exact("cancelling")
    terminal.expect_exact(PROMPT)
    states = [line.split()[1] for line in session.type("topcoat list").splitlines() if line.startswith("train")]
    assert states == ["CANCELLED"] * 4 + ["SUCCEEDED"] * 2
    assert "error" not in session.type("topcoat cancel long")
