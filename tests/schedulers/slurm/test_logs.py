from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm import logs
from topcoat.schedulers.slurm.logs import follow
from topcoat.schedulers.slurm.site import LocalSite

SITE = LocalSite()


def read(*paths: Path, whole: bool = False, has_ended: Callable[[], bool] | None = None) -> list[str]:
    return list(follow(SITE, [str(path) for path in paths], whole=whole, has_ended=has_ended))


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "out") == read(tmp_path / "out", tmp_path / "err") == []


def test_lines_of_several_files_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a\nb\r\nhalf")
    (tmp_path / "err").write_bytes(b"c\n\xff")
    assert read(tmp_path / "out", tmp_path / "err") == ["a\n", "b\r\n", "half", "\n", "c\n", "\ufffd"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_is_followed_until_the_end_of_the_job_and_no_line_is_lost(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / str(number) for number in range(count)]
    asked = iter(range(100))

    def has_ended() -> bool:
        # The last line of each is written after the question to which the answer is yes.
        number = next(asked)
        for path in paths:
            with path.open("a") as file:
                file.write(f"line {number}\n")
        return number == 3

    lines = read(*paths, has_ended=has_ended)
    assert sorted(lines) == sorted([f"line {number}\n" for number in range(4)] * count)


def test_an_unfinished_line_is_shown_while_one_file_is_followed(tmp_path: Path) -> None:
    log, ended = tmp_path / "out", threading.Event()
    log.write_text("10 %")
    pieces = follow(SITE, [str(log)], whole=False, has_ended=ended.is_set)
    assert next(iter(pieces)) == "10 %"
    ended.set()


def test_a_progress_bar_is_shown_while_several_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"10 %\r20 %\r30")
    (tmp_path / "err").write_bytes(b"a\r\n")
    paths = [str(tmp_path / "out"), str(tmp_path / "err")]
    pieces = iter(follow(SITE, paths, whole=False, has_ended=lambda: False))
    assert [next(pieces) for _ in range(3)] == ["10 %\r", "20 %\r", "a\r\n"]
    assert read(tmp_path / "out", tmp_path / "err", whole=True) == ["10 %\r20 %\r30", "\n", "a\r\n"]


@pytest.mark.parametrize("whole", [False, True])
def test_a_line_without_an_end_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> None:
    for name in ("_MAX_PIECE", "_MAX_LINE", "_MAX_READ"):
        monkeypatch.setattr(logs, name, 10)
    text = "é" * 500 + "\u2028" + "x" * 55
    (tmp_path / "out").write_text(text)
    pieces = read(tmp_path / "out", tmp_path / "err", whole=whole)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 20


def test_a_connection_that_is_lost_does_not_end_the_following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.schedulers.slurm.patience._PAUSE_S", 0.0)
    (tmp_path / "out").write_text("one\ntwo\n")
    failures = [SchedulerError("lost"), SchedulerError("lost")]

    class LostSite(LocalSite):
        def read_file(self, path: str, offset: int = 0, limit: int = 3) -> bytes:
            if offset == 3 and failures:
                raise failures.pop()
            return super().read_file(path, offset, 3)

    for paths in ([tmp_path / "out"], [tmp_path / "out", tmp_path / "err"]):
        lines = follow(LostSite(), [*map(str, paths)], whole=False, has_ended=lambda: True)
        assert "".join(lines) == "one\ntwo\n"
        assert failures == []
        failures.append(SchedulerError("lost"))
    with pytest.raises(SchedulerError):
        "".join(follow(LostSite(), [str(tmp_path / "out")], whole=False, has_ended=None))
