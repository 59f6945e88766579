"""Files for several processes: all are done once, and no process stays."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from topcoat.errors import TopcoatError
from topcoat.helpers import plain_files, pool
from topcoat.helpers.plain_files import Batch, Result
from topcoat.helpers.pool import Background, HelperPool

COUNT = 1500


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """The digests of a directory of files."""
    directory = tmp_path_factory.mktemp("files")
    files = []
    for number in range(COUNT):
        path = directory / f"{number}é\udcff"
        path.write_bytes(b"%d" % number)
        st = path.stat()
        files.append((os.fsencode(path.name), st.st_size, st.st_ctime_ns, False))
    return "digest", bytes(directory), b"", (), files


def digests(done: list[tuple[Batch, list[Result]]]) -> dict[bytes, Result]:
    return {file[0]: result for batch, results in done for file, result in zip(batch[-1], results, strict=True)}


EXPECTED = {os.fsencode(f"{number}é\udcff"): hashlib.sha256(b"%d" % number).digest() for number in range(COUNT)}


def processes(helpers: HelperPool) -> list[int]:
    return [helper._process.pid for helper in helpers._helpers]


def wait_until_ready(helpers: HelperPool) -> None:
    for helper in helpers._helpers:
        assert helper._poll.poll(60_000)


def test_each_file_has_a_result_and_one_that_is_not_plain_has_none(batch: Batch) -> None:
    *head, files = batch
    size = sum([file[1] for file in files])
    files = [*files[:1000], (b"missing", 7, 1, False), *files[1000:]]
    done: list[int] = []
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        results = helpers.do_all([(*head, files)], done.append)  # type: ignore[list-item]
        again = helpers.do_all(iter([batch]))
        (pid,) = processes(helpers)
    assert digests(results) == {**EXPECTED, b"missing": None}
    assert digests(again) == EXPECTED
    assert sum(done) == size
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_helper_does_a_part(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[Batch] = []

    def do_slowly(batch: Batch) -> list[Result]:
        own.append(batch)
        # This process does a part only while the helper has two.
        wait_until_ready(helpers)
        return plain_files.do(batch)

    monkeypatch.setattr(pool, "do", do_slowly)
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        assert digests(helpers.do_all([batch])) == EXPECTED
    assert sum(len(batch[-1]) for batch in own) < COUNT / 2


def test_few_files_have_no_helpers(batch: Batch) -> None:
    *head, files = batch
    with HelperPool(pool.MIN_FILES - 1) as helpers:
        assert processes(helpers) == []
        assert None not in digests(helpers.do_all([(*head, files[:10])])).values()  # type: ignore[list-item]
        assert helpers.do_all([]) == helpers.do_all([("digest", b"/", b"", (), [])]) == []


@pytest.mark.parametrize("executable", ["", "/usr/sbin/uwsgi", "/nowhere/python3"])
def test_without_a_python_to_start_this_process_does_everything(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with HelperPool(COUNT) as helpers:
        assert processes(helpers) == []
        assert digests(helpers.do_all([batch])) == EXPECTED


def test_a_helper_that_cannot_start_is_not_missed(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        assert digests(helpers.do_all([batch])) == EXPECTED


def test_a_helper_that_is_killed_in_the_middle_is_an_error(batch: Batch) -> None:
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        (pid,) = processes(helpers)
        os.kill(pid, signal.SIGSTOP)
        killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(TopcoatError, match="a helper process was killed") as caught:
            helpers.do_all([batch])
    assert "again" in str(caught.value.hint)


def test_in_the_background_helpers_do_each_file_once(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "do", None)
    results: list[tuple[Batch, list[Result]]] = []
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        background = Background(helpers, [batch], 16)
        while sum(len(done) for _, done in results) < COUNT:
            results += background.collect()
        assert background.collect() == []
    assert digests(results) == EXPECTED
    assert {len(done) <= 16 for _, done in results} == {True}


def test_without_helpers_nothing_is_done_in_the_background(batch: Batch) -> None:
    with HelperPool(1) as helpers:
        assert Background(helpers, [batch], 16).collect() == []


def test_a_helper_that_is_killed_in_the_background_is_an_error(batch: Batch) -> None:
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        background = Background(helpers, [batch], 16)
        background.collect()
        os.kill(processes(helpers)[0], signal.SIGKILL)
        with pytest.raises(TopcoatError, match="a helper process was killed"):
            deque(iter(background.collect, None), 0)


def test_a_helper_that_stops_answering_is_an_error(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_MAX_WAIT_S", 0.1)
    with HelperPool(COUNT) as helpers:
        wait_until_ready(helpers)
        (pid,) = processes(helpers)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TopcoatError, match="does not answer"):
            helpers.do_all([batch])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_chunk_has_a_bounded_size() -> None:
    sizes = [0] * 100 + [5 << 20] * 4 + [64 << 20] + [0] * 95
    files = [(b"%d" % number, size) for number, size in enumerate(sizes)]
    batches: list[Batch] = [("link", b"/a", b"/b", (), files), *[("link", b"/c", b"/d", (), [(b"x", 1)])] * 100]
    chunks = list(pool.chunks(batches))
    parts = [(batch, file) for chunk in chunks for batch in chunk.batches for file in batch[-1]]
    assert [file for _, file in parts] == [*files, *[(b"x", 1)] * 100]
    assert {batch[:4] for batch, _ in parts} == {batch[:4] for batch in batches}
    for chunk in chunks:
        count = sum(len(batch[-1]) for batch in chunk.batches)
        assert chunk.size == sum(file[1] for batch in chunk.batches for file in batch[-1])
        assert count <= 64
        assert chunk.size <= 8 << 20 or count == 1
    # Small batches share a chunk.
    assert len(chunks) < 20
