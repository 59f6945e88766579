"""Beside a program that writes without pause, a scan gives a whole version of the file, or an error."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from topcoat.errors import WorkspaceChanged
from topcoat.scan import content
from topcoat.scan.content import Content, digest_file
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan, ScanOptions, scan
from topcoat.scan.tree import LocalTree
from topcoat.specs.workspace import Workspace

_SIZE = 300_000
# Each version has one byte only, so that a part or a mixture of versions is none of them.
_VERSIONS = [bytes([65 + number]) * _SIZE for number in range(8)]
_WHOLE = {hashlib.sha256(version).digest() for version in _VERSIONS}

_WRITE = {
    "at once": "open(path, 'wb').write(data)",
    "in parts": """
with open(path, 'wb', buffering=0) as file:
    for at in range(0, len(data), 4096):
        file.write(data[at:at + 4096])
        step()
""",
    "in place": """
with open(path, 'r+b', buffering=0) as file:
    for at in range(0, len(data), 4096):
        file.write(data[at:at + 4096])
        step()
""",
    "with a pause": """
with open(path, 'wb', buffering=0) as file:
    for at in range(0, len(data), 4096):
        file.write(data[at:at + 4096])
        step()
time.sleep(0.03)
""",
    "by renaming": """
with open(path + '.new', 'wb') as file:
    file.write(data)
os.replace(path + '.new', path)
""",
}
# A program that pauses in the middle of a write looks like one that has written all; it says so.
_PAUSE_S = 0.05
_PROGRAM = f"""
import itertools, os, sys, time
path = sys.argv[1]
last = time.monotonic()
def step():
    global last
    now = time.monotonic()
    if now - last > {_PAUSE_S}:
        open(sys.argv[2], 'a').close()
    last = now
versions = [bytes([65 + number]) * {_SIZE} for number in range(8)]
for data in itertools.cycle(versions):
    step()
"""


@contextmanager
def writing(path: Path, how: str, paused: Path) -> Iterator[None]:
    """Write the versions to *path*, one after the other, while a ``with`` block runs; make *paused* after a pause."""
    path.write_bytes(_VERSIONS[0])
    body = "".join(f"    {line}\n" for line in _WRITE[how].strip().splitlines())
    with subprocess.Popen([sys.executable, "-c", _PROGRAM + body, str(path), str(paused)]) as writer:
        try:
            time.sleep(0.1)
            yield
            assert writer.poll() is None, "the writer ended"
        finally:
            writer.kill()


def look(directory: Path) -> Scan:
    return scan(Workspace({str(directory): ""}), ScanOptions())


@pytest.mark.parametrize("how", list(_WRITE))
def test_a_file_beside_a_writer_is_whole_or_an_error(tmp_path: Path, how: str) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / ".torchxignore").write_text("*.new\n")
    for attempt in range(10):
        paused = tmp_path / f"paused{attempt}"
        with writing(workspace / "data.bin", how, paused):
            found = look_often(workspace, until_whole=how in ("by renaming", "with a pause"))
            if found <= {"whole", "error"} or not has_paused(workspace / "data.bin", paused):
                break
    assert found <= {"whole", "error"}


def has_paused(path: Path, paused: Path) -> bool:
    """Wait until the writer has gone on, and tell whether it has paused."""
    versions: set[tuple[int, int, int]] = set()
    end = time.monotonic() + 60
    while not paused.exists() and len(versions) < 3 and time.monotonic() < end:
        st = path.stat()
        versions.add((st.st_ino, st.st_ctime_ns, st.st_size))
        time.sleep(0.01)
    return paused.exists()


def look_often(workspace: Path, *, until_whole: bool) -> set[str]:
    found: list[str] = []
    begin = time.monotonic()
    while (time.monotonic() - begin < 1.5 and len(found) < 40) or (until_whole and "whole" not in found):
        assert time.monotonic() - begin < 60, "the file is never whole"
        try:
            (entry,) = [entry for entry in look(workspace).snapshot if entry.path == b"data.bin"]
        except WorkspaceChanged:
            found.append("error")
        else:
            found.append("whole" if entry.content in _WHOLE else f"{entry.size} bytes")
    return set(found)


def test_an_empty_file_that_a_program_is_about_to_write_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program may be slow.
    monkeypatch.setattr(content, "SETTLED", 60_000_000_000)
    monkeypatch.setattr(content, "_MAX_EMPTY_WAIT_S", 60.0)
    program = "import sys, time\nfile = open(sys.argv[1], 'w')\nprint(flush=True)\ntime.sleep(0.5)\nfile.write('new')"
    (tmp_path / "data.bin").write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data.bin")], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        entry = look(tmp_path).snapshot.find(b"data.bin")
    assert entry is not None
    assert entry.content == hashlib.sha256(b"new").digest()


def test_a_file_that_was_written_a_moment_ago_is_scanned(tmp_path: Path) -> None:
    for version in _VERSIONS:
        (tmp_path / "data.bin").write_bytes(version)
        entry = look(tmp_path).snapshot.find(b"data.bin")
        assert entry is not None
        assert entry.content == hashlib.sha256(version).digest()


def test_a_log_that_grows_without_pause_is_scanned(tmp_path: Path) -> None:
    program = "import itertools, sys\nfor n in itertools.count(): open(sys.argv[1], 'a').write(f'line {n}\\n')"
    log = tmp_path / "out.log"
    log.write_text("begin\n")
    with subprocess.Popen([sys.executable, "-c", program, str(log)]) as writer:
        time.sleep(0.1)
        entries = [look(tmp_path).snapshot.find(b"out.log") for _ in range(5)]
        writer.kill()
    lines = log.read_bytes()
    for entry in entries:
        assert entry is not None
        assert entry.content == hashlib.sha256(lines[: entry.size]).digest()


def test_a_date_in_the_future_costs_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.bin").write_bytes(b"x")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)  # the clock was set back
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert digest_file(LocalTree(str(tmp_path)), "data.bin") == Content(1, hashlib.sha256(b"x").digest())


def test_an_empty_file_that_a_program_keeps_open_ships_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x")
    with (tmp_path / "run.log").open("w"):
        snapshot = scan(Workspace({str(tmp_path): ""}), ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert [(entry.path, entry.size) for entry in snapshot] == [(b"run.log", 0), (b"train.py", 1)]
