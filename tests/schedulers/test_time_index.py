from __future__ import annotations

from pathlib import Path

from topcoat.schedulers.time_index import ENTRY, first_byte_after, index_path


def _write_index(log: Path, data: bytes) -> str:
    Path(index_path(str(log))).write_bytes(data)
    return str(log)


def test_the_index_lies_beside_the_log_and_is_hidden(tmp_path: Path) -> None:
    assert index_path(str(tmp_path / "stdout.log")) == str(tmp_path / ".stdout.log.times")


def test_the_first_byte_after_a_time_is_found(tmp_path: Path) -> None:
    log = _write_index(tmp_path / "log", ENTRY.pack(100.0, 0) + ENTRY.pack(200.0, 7))
    assert [first_byte_after(log, moment) for moment in (99.0, 100.0, 199.0, 200.0)] == [0, 7, 7, None]


def test_a_half_written_entry_is_ignored(tmp_path: Path) -> None:
    log = _write_index(tmp_path / "log", ENTRY.pack(100.0, 0) + ENTRY.pack(200.0, 7)[:-1])
    assert first_byte_after(log, 150.0) is None


def test_a_log_without_an_index_has_no_byte_after_any_time(tmp_path: Path) -> None:
    assert first_byte_after(str(tmp_path / "log"), 0.0) is None
