"""Many commands at once, and programs that write into the workspace without pause."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.forked import run
from tests.faults.served import code_of, served_registry
from tests.support.waiting import eventually

BUILDS = int(os.environ.get("TOPCOAT_BUILDS_AT_ONCE", "20"))


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served_registry() as host:
        yield host


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    workspace = tmp_path / "ws"
    for number in range(50):
        path = workspace / f"pkg{number % 5}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"print({number})\n" * 50)
    return workspace


def code(workspace: Path, *, without: str = "") -> dict[str, bytes]:
    """Read every file whose name does not start with *without*."""
    paths = (path for path in workspace.rglob("*") if not (without and path.name.startswith(without)))
    return {str(path.relative_to(workspace)): path.read_bytes() for path in paths if path.is_file()}


def at_once(count: int, words: list[str], directory: Path) -> list[str]:
    """Run *count* commands side by side and return what they print; all of them must succeed."""
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            ended = run(words, directory / f"output{number}")
            os._exit(ended.code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    outputs = [(directory / f"output{number}").read_text() for number in range(count)]
    assert codes == [0] * count, outputs
    return outputs


def test_builds_at_once_print_one_image_and_it_is_right(host: str, workspace: Path, tmp_path: Path) -> None:
    words = ["build", "--image", f"{host}/base:1", "--image-repo", f"{host}/together", "--workspace", str(workspace)]
    for _ in range(2):
        outputs = at_once(BUILDS, words, tmp_path)
        images = {line for output in outputs for line in output.splitlines() if "@" in line}
        assert len(images) == 1
        (image,) = images
        assert code_of(host, "together", image.rpartition("@")[2]) == code(workspace)
        (workspace / "pkg0" / "module0.py").write_text("print('edited')\n")


def test_job_directories_at_once_are_one_and_complete(workspace: Path, tmp_path: Path) -> None:
    words = ["run", "--workspace", str(workspace), "-cfg", f"job_dir={tmp_path}/place/job", "--", "true"]
    at_once(4, words, tmp_path)
    filled = code(tmp_path / "place" / "job")
    assert filled.pop(".topcoat.json")
    assert filled == code(workspace)
    assert os.listdir(tmp_path / "place") == ["job"]


WRITERS = {
    "append": (
        "import time\n"
        "with open(path, 'ab', buffering=0) as file:\n"
        "    while True:\n"
        "        file.write(b'line\\n' * 100)\n"
        "        time.sleep(0.0002)"
    ),
    "in place": (
        "file = os.open(path, os.O_RDWR | os.O_CREAT)\nletter = 0\n"
        "while True:\n"
        "    letter = (letter + 1) % 26\n"
        "    os.pwrite(file, bytes([97 + letter]) * 300_000, 0)\n"
        "    step()"
    ),
    "rename": (
        "letter = 0\n"
        "while True:\n"
        "    letter = (letter + 1) % 26\n"
        "    with open(path + '.new', 'wb') as file: file.write(bytes([97 + letter]) * 300_000)\n"
        "    os.rename(path + '.new', path)"
    ),
    "appear and vanish": (
        "while True:\n    with open(path, 'wb') as file: file.write(b'x' * 1000)\n    os.unlink(path)"
    ),
}


class Steps:
    """How often a writer in another process has written, and how long its longest step took."""

    _FORMAT = struct.Struct("Qd")
    # A writer that waits for the processor in the middle of a write looks like one that has ended.
    _PAUSE_S = 0.05

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, self._FORMAT.size)
        self._last = time.monotonic()

    def step(self) -> None:
        now = time.monotonic()
        count, longest = self._FORMAT.unpack(self._shared)
        self._shared[:] = self._FORMAT.pack(count + 1, max(longest, now - self._last))
        self._last = now

    def have_paused(self) -> bool:
        """Wait until the writer has gone on, and tell whether it has paused since the last call."""
        begin, _ = self._FORMAT.unpack(self._shared)
        eventually(lambda: self._FORMAT.unpack(self._shared)[0] > begin + 1)
        count, longest = self._FORMAT.unpack(self._shared)
        self._shared[:] = self._FORMAT.pack(count, 0.0)
        return bool(longest > self._PAUSE_S)


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_beside_an_endless_writer_a_build_ends_with_a_whole_file_or_a_clear_error(
    host: str, workspace: Path, tmp_path: Path, writer: str
) -> None:
    path, steps = workspace / "written.log", Steps()
    child = os.fork()
    if not child:
        try:
            exec(WRITERS[writer], {"os": os, "path": str(path), "open": open, "step": steps.step})
        finally:
            os._exit(1)
    image = ["--image", f"{host}/base:1", "--image-repo", f"{host}/{writer.replace(' ', '-')}"]
    try:
        left = 3
        for _ in range(10):
            if not left:
                break
            ended = run(["build", *image, "--workspace", str(workspace)], tmp_path / "output")
            if ended.code:
                assert ended.code == 1
                assert "topcoat: error: " in ended.output
                assert "written.log" in ended.output
                assert "this is a bug" not in ended.output
                left -= 1
                continue
            name = next(line for line in ended.output.splitlines() if "@" in line)
            shipped = code_of(host, writer.replace(" ", "-"), name.rpartition("@")[2])
            written = shipped.pop("written.log", b"")
            shipped.pop("written.log.new", None)
            assert shipped == code(workspace, without="written")
            if len(set(written)) > 1 and writer == "in place" and steps.have_paused():
                continue
            if writer in ("in place", "rename"):
                assert len(set(written)) <= 1, "the file is torn"
            left -= 1
        assert not left, "the writer pauses all the time"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
