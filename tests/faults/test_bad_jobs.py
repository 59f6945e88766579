"""One bad job record, as each command meets it: one line about it, and the other jobs as usual."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.forked import Ended, run
from topcoat.cli.main import main
from topcoat.state import state_dir

COMMANDS = {
    "list": ["list"],
    "list of the other scheduler": ["list", "-s", "local_cwd"],
    "completion": ["completion", "--handles"],
}
HANDLE = "local://topcoat/bad"


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The handle of a job that has ended."""
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path / "ws")
    (tmp_path / "ws" / "a.py").write_text("print(1)\n")
    ended = run(["run", "--json", "--", "true"], tmp_path / "output")
    assert ended.code == 0, ended.output
    handle = json.loads(ended.output[ended.output.index("{\n") :])["handle"]
    return str(handle)


def spoil(good: str, name: str, content: bytes) -> Path:
    home = state_dir("jobs") / good.rpartition("/")[2]
    bad = home.with_name("bad")
    shutil.copytree(home, bad)
    (bad / name).write_bytes(content)
    return bad


@pytest.mark.parametrize("name", ["job.json", "status.json"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"state": "PONDERING"}', b"[" * 100_000, b"\xff" * 1000])
def test_a_bad_record_is_one_line_of_each_command(good: str, tmp_path: Path, name: str, content: bytes) -> None:
    bad = spoil(good, name, content)

    def line_about_bad(ended: Ended) -> str:
        (line,) = (line for line in ended.output.splitlines() if "bad" in line)
        return line

    for command, words in COMMANDS.items():
        ended = run(words, tmp_path / "output")
        assert ended.code == 0, (command, ended.output)
        assert (good.rpartition("/")[2] in ended.output) == ("-s" not in words)
        assert line_about_bad(ended).startswith(f"topcoat: cannot read the job bad: {name}: ")
    for words in (["status", HANDLE], ["log", HANDLE], ["cancel", HANDLE], ["delete", HANDLE], ["describe", HANDLE]):
        ended = run(words, tmp_path / "output")
        assert ended.code == 1, (words, ended.output)
        assert ended.output.startswith(f"topcoat: error: cannot read the job bad: {name}: ")
        assert ended.output.endswith(f"\n  hint: if it is not needed: rm -r {bad}\n")
        assert len(ended.output.splitlines()) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can leave files of another user")
def test_the_job_of_another_user_is_one_line(
    good: str, home: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``sudo topcoat run`` has left it."""
    bad = spoil(good, "job.json", b"{}")
    subprocess.run(["chown", "-R", "12345:12345", str(home)], check=True)
    for path in (bad, bad / "job.json"):
        os.chown(path, 0, 0)
    bad.chmod(0o700)
    own = tmp_path_factory.getbasetemp().parent.parent
    for directory in (home, *home.parents, tmp_path, *tmp_path.parents):
        if own in directory.parents:
            directory.chmod(directory.stat().st_mode | 0o055)

    def listed() -> int:
        # Loads what the user may not be able to read: the interpreter's own modules.
        main(["list"])
        os.setgid(12345)
        os.setuid(12345)
        return main(["list"])

    (tmp_path / "output").touch()
    (tmp_path / "output").chmod(0o666)
    ended = run([], tmp_path / "output", work=listed)
    assert ended.code == 0, ended.output
    assert good.rpartition("/")[2] in ended.output
    assert f"cannot read the job bad: job.json: it belongs to another user; sudo rm -r {bad}" in ended.output


@pytest.mark.parametrize("handle", ["local://topcoat/" + "x" * 300, "local://topcoat/" + "x" * 5000])
@pytest.mark.parametrize("command", ["status", "log", "cancel", "delete", "describe"])
def test_a_long_handle_is_an_unknown_job(handle: str, command: str, tmp_path: Path) -> None:
    ended = run([command, handle], tmp_path / "output")
    assert ended.code == 1
    assert ended.output.startswith("topcoat: error: unknown ")


@pytest.mark.parametrize("limit", [5, 8, 12, 16, 20, 40])
@pytest.mark.parametrize("words", [["list"], ["run", "--", "true"], ["status", "GOOD"]])
def test_too_few_file_descriptors_are_a_clear_end(good: str, tmp_path: Path, limit: int, words: list[str]) -> None:
    command = [sys.executable, "-m", "topcoat", *(good if word == "GOOD" else word for word in words)]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr
    if done.returncode:
        assert "Too many open files" in done.stderr
    assert run(["list"], tmp_path / "output").output.count("RUNNING") == 0


@pytest.mark.parametrize("closed", ["1", "2", "1,2", "0,1,2"])
@pytest.mark.parametrize("words", ["list", "run -- true", "completion --handles", "status {good}", "log {good}"])
def test_closed_outputs_are_a_clear_end(good: str, closed: str, words: str) -> None:
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed.split(","))
    done = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' -m topcoat {words.format(good=good)} {redirections}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode in (0, 1), done
    assert "Traceback" not in done.stdout + done.stderr
    assert "this is a bug" not in done.stderr
