from __future__ import annotations

import os
from pathlib import Path

import pytest

from topcoat.schedulers.local.output_pump import NEVER, LogFile, OutputPump


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, LogFile]:
    return {name: LogFile(str(tmp_path / name)) for name in ("out", "err", "all")}


def pipe(own: LogFile, combined: LogFile) -> tuple[int, OutputPump]:
    source, sink = os.pipe()
    return sink, OutputPump(source, own, combined)


def test_lines_of_two_outputs_do_not_mix(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    out, out_stream = pipe(logs["out"], logs["all"])
    err, err_stream = pipe(logs["err"], logs["all"])
    os.write(out, b"begin ")
    assert out_stream.read()
    os.write(err, b"warning\n")
    assert err_stream.read()
    os.write(out, b"end\n")
    assert out_stream.read()
    assert (tmp_path / "all").read_bytes() == b"warning\nbegin end\n"
    assert (tmp_path / "out").read_bytes() == b"begin end\n"
    assert (tmp_path / "err").read_bytes() == b"warning\n"


def test_an_unfinished_line_is_due_after_a_while(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    out, stream = pipe(logs["out"], logs["all"])
    assert stream.flush_at == NEVER
    os.write(out, b"name? ")
    stream.read()
    assert stream.flush_at < NEVER
    assert (tmp_path / "all").read_bytes() == b""
    stream.flush()
    assert (tmp_path / "all").read_bytes() == b"name? "
    assert stream.flush_at == NEVER


def test_a_progress_bar_goes_into_the_combined_log_at_once(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    out, stream = pipe(logs["out"], logs["all"])
    os.write(out, b"10%\r20%\r3")
    stream.read()
    assert (tmp_path / "all").read_bytes() == b"10%\r20%\r"


def test_reading_tells_an_empty_pipe_from_a_closed_one(logs: dict[str, LogFile]) -> None:
    out, stream = pipe(logs["out"], logs["all"])
    assert stream.read()
    os.close(out)
    assert not stream.read()


def test_the_end_of_an_output_completes_its_last_line(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    out, stream = pipe(logs["out"], logs["all"])
    os.write(out, b"no newline")
    os.close(out)
    stream.drain()
    stream.flush()
    assert (tmp_path / "all").read_bytes() == b"no newline"


def test_a_line_without_end_does_not_pile_up_in_memory(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    out, stream = pipe(logs["out"], logs["all"])
    for _ in range(3):
        os.write(out, b"x" * 50_000)
        stream.read()
    assert (tmp_path / "all").stat().st_size >= 100_000


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = LogFile(str(tmp_path / "x"))
        log.write(text)
        log.close()
    assert (tmp_path / "x").read_bytes() == b"first\nsecond\n"


def test_logs_are_for_their_owner_only(tmp_path: Path, logs: dict[str, LogFile]) -> None:
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_affects_the_log_and_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/dev/full")
    log = LogFile(str(tmp_path / "x"))
    log.write(b"text")
    assert log.error == "the logs are incomplete: No space left on device"
