from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, environment
from topcoat.cli.error_handler import ErrorHandler
from topcoat.errors import RegistryError, TopcoatError, UsageError
from topcoat.notices import notice


def _raising(error: BaseException) -> int:
    def command(handler: ErrorHandler) -> int:
        raise error

    return ErrorHandler().run(command)


@pytest.mark.parametrize(("error", "code"), [(UsageError("no"), 2), (RegistryError("no"), 1), (TopcoatError("no"), 1)])
def test_an_error_of_ours_is_its_message_and_its_exit_code(
    error: TopcoatError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(error) == code
    assert capsys.readouterr() == ("", "topcoat: error: no\n")


def test_a_hint_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    _raising(UsageError("no", hint="do this"))
    assert capsys.readouterr().err == "topcoat: error: no\n  hint: do this\n"


def test_an_unexpected_error_is_one_line_with_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert _raising(ZeroDivisionError("by zero")) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "topcoat: error: unexpected ZeroDivisionError: by zero"
    assert "--debug" in second


def test_an_interrupt_is_exit_code_130_without_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert _raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


def test_debug_shows_the_traceback_of_any_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("--debug", "ls", "--workspace", "/no/such"), ("ls", "--debug", "--workspace", "/no/such")):
        done = cli(*words)
        assert done.code == 1
        assert "Traceback" in done.err
        assert "WorkspaceNotFound" in done.err
    assert "Traceback" not in cli("ls", "--workspace", "/no/such").err
    monkeypatch.setenv("TOPCOAT_DEBUG", "1")
    assert "Traceback" in cli("ls", "--workspace", "/no/such").err
    monkeypatch.setenv("TOPCOAT_DEBUG", "0")
    assert "Traceback" not in cli("ls", "--workspace", "/no/such").err


def test_debug_after_the_name_of_a_component_belongs_to_the_component(cli: Cli) -> None:
    done = cli("run", "no.such", "--debug")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [("ls",), ("ls", "--json"), ("runopts", "local"), ("--help",)])
@pytest.mark.usefixtures("workspace")
def test_a_closed_pipe_ends_a_command_quietly(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "topcoat", *words],
            env=environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_result_that_cannot_be_written_is_a_failure(workspace: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "topcoat", "ls"], env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("topcoat: error: cannot write the result: ")
    assert b"Traceback" not in done.stderr


def test_notices_show_on_stderr_and_only_while_a_command_runs(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def command(handler: ErrorHandler) -> int:
        notice("mind the gap")
        return 0

    assert ErrorHandler().run(command) == 0
    assert capsys.readouterr() == ("", "topcoat: mind the gap\n")
    assert not caplog.records
    notice("outside")
    assert capsys.readouterr() == ("", "")
    assert [(record.name, record.message) for record in caplog.records] == [("topcoat", "outside")]


def test_a_notice_is_shown_once_per_command(capsys: pytest.CaptureFixture[str]) -> None:
    def command(handler: ErrorHandler) -> int:
        notice("mind the gap")
        notice("mind the gap")
        return 0

    for _ in range(2):
        assert ErrorHandler().run(command) == 0
    assert capsys.readouterr().err == "topcoat: mind the gap\n" * 2
