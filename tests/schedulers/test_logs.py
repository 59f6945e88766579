from __future__ import annotations

import os
import re
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import StateError, UsageError
from topcoat.schedulers import logs
from topcoat.schedulers.local.output_pump import LogFile
from topcoat.schedulers.logs import decode, filter_regex, follow, split_lines, split_lines_iterator
from topcoat.schedulers.time_index import ENTRY, index_path


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a\n"]),
        ("a\nb", ["a\n", "b"]),
        ("\n\n", ["\n", "\n"]),
        ("a\r\nb\rc\n", ["a\r\n", "b\rc\n"]),
        ("a\x0b\x0c\u2028b\n", ["a\x0b\x0c\u2028b\n"]),
    ],
)
def test_lines_end_at_newlines_and_nowhere_else(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


def test_chunks_are_split_each_on_its_own() -> None:
    assert list(split_lines_iterator(["foo\nbar", "foobar"])) == ["foo\n", "bar", "foobar"]


def test_a_regex_is_searched_in_each_line() -> None:
    assert list(filter_regex("o+b", ["foob", "bar", "ob"])) == ["foob", "ob"]


def test_a_malformed_regex_is_an_error_at_once() -> None:
    with pytest.raises(UsageError, match="invalid regular expression"):
        filter_regex("(", ["a"])


@given(st.lists(st.binary(max_size=8)), st.booleans())
def test_decoding_keeps_every_byte_wherever_the_text_is_cut(chunks: list[bytes], whole: bool) -> None:
    assert "".join(decode(chunks, whole=whole)) == b"".join(chunks).decode(errors="replace")


@given(st.text(alphabet="ab\r\n"), st.lists(st.integers(1, 4)))
def test_whole_lines_do_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int]) -> None:
    chunks, rest = [], text
    for cut in cuts:
        chunks.append(rest[:cut].encode())
        rest = rest[cut:]
    assert list(decode([*chunks, rest.encode()], whole=True)) == split_lines(text)


def test_a_progress_bar_comes_piece_by_piece() -> None:
    assert list(decode([b"1%\r2%\r", b"3%", b"", b"\r100%\r\nend\n"])) == [
        "1%\r",
        "2%\r",
        "3%",
        "\r",
        "100%\r\n",
        "end\n",
    ]


def test_a_carriage_return_and_its_newline_stay_together_across_chunks() -> None:
    assert list(decode([b"a\r", b"\nb\r", b"c"])) == ["a\r\n", "b\r", "c"]


def test_a_character_that_is_cut_in_two_is_put_together_again() -> None:
    euro = "€".encode()
    assert list(decode([euro[:1], b"", euro[1:] + b"\n"])) == ["€\n"]


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert list(follow(str(tmp_path / "none.log"))) == []


def test_a_log_is_read_to_its_current_end(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"one\ntwo \xff\nthr")
    assert list(follow(str(tmp_path / "x.log"))) == ["one\n", "two \ufffd\n", "thr"]


def test_a_regex_sees_whole_lines_only(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"loss=1\nstep\rloss=2\nother\n")
    assert list(follow(str(tmp_path / "x.log"), regex="^step.*2")) == ["step\rloss=2\n"]


def test_a_log_larger_than_one_read_is_complete(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    (tmp_path / "x.log").write_text(text)
    assert "".join(follow(str(tmp_path / "x.log"))) == text


def test_following_ends_with_the_last_line_when_the_job_has_ended(tmp_path: Path) -> None:
    path, ended = tmp_path / "x.log", threading.Event()

    def write() -> None:
        # The file does not exist when following begins.
        time.sleep(0.1)
        with path.open("wb", buffering=0) as file:
            for piece in (b"first\nsec", b"ond\n", b"no newline"):
                file.write(piece)
                time.sleep(0.02)
            ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    text = "".join(follow(str(path), done=ended.is_set))
    writer.join()
    assert text == "first\nsecond\nno newline"


def test_following_shows_a_prompt_before_its_newline(tmp_path: Path) -> None:
    path, ended = tmp_path / "x.log", threading.Event()
    path.write_bytes(b"password: ")
    lines = iter(follow(str(path), done=ended.is_set))
    assert next(lines) == "password: "
    ended.set()
    assert list(lines) == []


def test_following_with_a_regex_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path, ended = tmp_path / "x.log", threading.Event()
    path.write_bytes(b"loss=")

    def write() -> None:
        time.sleep(0.2)
        with path.open("ab", buffering=0) as file:
            file.write(b"0.5\n")
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(follow(str(path), regex=r"loss=\d", done=ended.is_set)) == ["loss=0.5\n"]
    writer.join()


@pytest.fixture
def timed_log(tmp_path: Path) -> str:
    """A log with a line at each of the seconds 100, 200 and 300."""
    path = str(tmp_path / "x.log")
    Path(path).write_bytes(b"a\nb\nc\n")
    index = [ENTRY.pack(100.0, 0), ENTRY.pack(200.0, 2), ENTRY.pack(300.0, 4)]
    Path(index_path(path)).write_bytes(b"".join(index))
    return path


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


@pytest.mark.parametrize(
    ("since", "until", "text"),
    [
        (None, None, "abc"),
        (150, None, "bc"),
        (200, None, "bc"),
        (301, None, ""),
        (None, 250, "ab"),
        (None, 50, ""),
        (150, 250, "b"),
        (250, 150, ""),
    ],
)
def test_since_and_until_select_by_the_time_of_writing(
    timed_log: str, since: float | None, until: float | None, text: str
) -> None:
    lines = follow(timed_log, since=at(since) if since else None, until=at(until) if until else None)
    assert "".join(lines).replace("\n", "") == text


def test_naive_times_are_local_times(timed_log: str) -> None:
    assert list(follow(timed_log, since=datetime.fromtimestamp(250))) == ["c\n"]


def test_following_until_a_past_time_ends(timed_log: str) -> None:
    assert list(follow(timed_log, until=at(250), done=lambda: False)) == ["a\n", "b\n"]


def test_the_time_index_that_the_supervisor_writes_is_the_one_that_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "x.log")
    log = LogFile(path)
    log.write(b"early\n")
    time.sleep(0.15)
    between = datetime.now(timezone.utc)
    time.sleep(0.15)
    log.write(b"late\n")
    log.close()
    assert list(follow(path, since=between)) == ["late\n"]
    assert list(follow(path, until=between)) == ["early\n"]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_long_line_takes_linear_time(monkeypatch: pytest.MonkeyPatch, whole: bool, end: str) -> None:
    """Splitting the whole unfinished line with each chunk took 244 s for 32 MB."""
    searched = 0
    split = re.split

    def counting(pattern: str, text: str) -> list[str]:
        nonlocal searched
        searched += len(text)
        return list(split(pattern, text))

    monkeypatch.setattr(logs.re, "split", counting)
    size = 32 << 20
    chunks = [b"x" * (1 << 16)] * (size >> 16) + [end.encode()]
    pieces = list(decode(chunks, whole=whole))
    assert sum(map(len, pieces)) == size + len(end)
    assert searched <= 3 * size
    assert len(pieces) == 1 if whole else max(map(len, pieces)) < 2 << 20


def test_a_line_without_end_needs_bounded_memory() -> None:
    sizes = [len(piece) for piece in decode((b"x" * (1 << 20) for _ in range(200)), whole=True)]
    assert sum(sizes) == 200 << 20
    assert max(sizes) <= 65 << 20


@given(st.lists(st.text(alphabet="ab\r\n", max_size=5).map(str.encode)))
def test_pieces_end_where_they_may(chunks: list[bytes]) -> None:
    text = b"".join(chunks).decode()
    pieces = list(decode([chunk for chunk in chunks if chunk]))
    assert pieces == [piece for piece in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if piece]


def test_a_log_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.log").mkdir()
    with pytest.raises(StateError, match=r"cannot read the log .*x\.log: not a regular file"):
        list(follow(str(tmp_path / "x.log")))


def test_a_fifo_in_the_place_of_a_time_index_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("one\n")
    os.mkfifo(index_path(str(tmp_path / "x.log")))
    assert list(follow(str(tmp_path / "x.log"), until=datetime.now())) == ["one\n"]


def test_a_fifo_in_the_place_of_a_log_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.log")
    assert list(follow(str(tmp_path / "x.log"))) == []
