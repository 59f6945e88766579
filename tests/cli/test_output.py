from __future__ import annotations

import io
import sys

import pytest

from topcoat.cli.output import colors, json_result, result, say, table


def test_results_go_to_stdout_and_messages_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    result("a")
    json_result({"b": 1})
    say("c\nd")
    assert capsys.readouterr() == ('a\n{\n  "b": 1\n}\n', "topcoat: c\ntopcoat: d\n")


def test_a_table_has_columns_and_no_space_at_the_end() -> None:
    assert table([("NAME", "STATE"), ("a-long-name", "RUNNING"), ("b", "")]) == (
        "NAME         STATE\na-long-name  RUNNING\nb"
    )
    assert table([]) == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colors_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colors(_Terminal())
    assert not colors(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colors(_Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colors(_Terminal())


def test_a_message_is_one_write_so_that_no_log_line_gets_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    say("cancelling\nwaiting")
    assert written == ["topcoat: cancelling\ntopcoat: waiting\n"]
