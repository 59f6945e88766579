from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, environment
from topcoat.cli.commands import COMMANDS


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a file and a directory of the same beginning."""
    (tmp_path / "sourcery").mkdir()
    (tmp_path / "source.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _script(cli: Cli, shell: str, place: Path) -> Path:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = place / f".{shell}"
    path.write_text(cli("completion", shell).out)
    return path


def _in_bash(script: Path, words_: str, line: str = "") -> list[str]:
    words, line = words_.split(" "), line or words_
    program = f"""
        source {script}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
        COMP_LINE='{line}' COMP_POINT={len(line)}
        _topcoat
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


def _in_fish(script: Path, line: str) -> list[str]:
    program = f"source {script}; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return [found.split("\t")[0] for found in done.stdout.splitlines()]


COMMON = [
    ("topcoat descr", ["describe"]),
    ("topcoat run --work", ["--workspace"]),
    ("topcoat run -s local_", ["local_cwd", "local_docker"]),
    ("topcoat run --scheduler local_c", ["local_cwd"]),
    ("topcoat run --log utils.ec", ["utils.echo"]),
    ("topcoat runopts local_c", ["local_cwd"]),
    ("topcoat completion z", ["zsh"]),
    ("topcoat log --streams std", ["stderr", "stdout"]),
    ("topcoat run --retry-policy R", ["REPLICA", "ROLE"]),
    ("topcoat --debug ls --image", ["--image-rules"]),
    ("topcoat builtins --print utils.ec", ["utils.echo"]),
]


@pytest.mark.parametrize(("line", "found"), [*COMMON, ("topcoat --ver", ["--version"])])
def test_bash_completes(cli: Cli, place: Path, line: str, found: list[str]) -> None:
    assert sorted(_in_bash(_script(cli, "bash", place), line)) == found


def test_bash_completes_directories_and_what_follows_the_dashes(cli: Cli, place: Path) -> None:
    script = _script(cli, "bash", place)
    assert _in_bash(script, "topcoat ls --workspace sour") == ["sourcery"]
    assert "cat" in _in_bash(script, "topcoat run --cpu 2 -- ca")
    # Nothing of ours: bash then completes files.
    assert _in_bash(script, "topcoat run -- cat sour") == []


@pytest.mark.parametrize(("line", "found"), COMMON)
def test_fish_completes(cli: Cli, place: Path, line: str, found: list[str]) -> None:
    assert sorted(_in_fish(_script(cli, "fish", place), line)) == found


def test_fish_completes_directories_and_what_follows_the_dashes(cli: Cli, place: Path) -> None:
    script = _script(cli, "fish", place)
    assert _in_fish(script, "topcoat ls --workspace sour") == ["sourcery/"]
    assert "cat" in _in_fish(script, "topcoat run --cpu 2 -- ca")
    assert _in_fish(script, "topcoat run -- cat sour") == ["source.py", "sourcery/"]


@pytest.fixture
def handles(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The handles of two jobs of this machine, the newest first; ``topcoat`` is on PATH."""
    bin_ = place / "bin"
    bin_.mkdir()
    program = f"#!{sys.executable}\nfrom topcoat.cli.main import entry\nentry()\n"
    (bin_ / "topcoat").write_text(program)
    (bin_ / "topcoat").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    return [cli("run", "-s", "local_cwd", "--name", name, "--", "true").out.strip() for name in ("one", "two")][::-1]


def test_the_handles_of_local_jobs_are_printed_without_asking_an_engine(
    cli: Cli, handles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("something was asked over a socket"))
    assert cli("completion", "--handles") == (0, "".join(f"{handle}\n" for handle in handles), "")


def test_without_jobs_no_handle_is_printed(cli: Cli) -> None:
    assert cli("completion", "--handles") == (0, "", "")


@pytest.mark.parametrize("command", ["status", "log -f", "cancel x", "delete", "describe --json"])
def test_bash_completes_handles(cli: Cli, place: Path, handles: list[str], command: str) -> None:
    script = _script(cli, "bash", place)
    assert _in_bash(script, f"topcoat {command} ") == handles
    # What stands before the colon is a word of its own to bash.
    words = f"topcoat {command} local_cwd : //topcoat/two"
    line = f"topcoat {command} local_cwd://topcoat/two"
    assert _in_bash(script, words, line) == [handles[0].removeprefix("local_cwd:")]
    assert _in_bash(script, f"topcoat {command} -") != handles


def test_fish_completes_handles(cli: Cli, place: Path, handles: list[str]) -> None:
    script = _script(cli, "fish", place)
    assert sorted(_in_fish(script, "topcoat cancel ")) == sorted(handles)
    assert _in_fish(script, "topcoat log local_cwd://topcoat/one") == [handles[1]]


def test_zsh_completes_handles(cli: Cli, place: Path, handles: list[str]) -> None:
    zsh = _Zsh(_script(cli, "zsh", place))
    try:
        assert zsh.complete("topcoat status local_cwd://topcoat/two") == f"topcoat status {handles[0]} "
        assert zsh.complete("topcoat log -f local_cwd://topcoat/o") == f"topcoat log -f {handles[1]} "
    finally:
        zsh.close()


def test_no_shell_and_no_handles_is_wrong_usage(cli: Cli) -> None:
    done = cli("completion")
    assert (done.code, done.error) == (2, ("topcoat completion: no shell given", "choose bash, zsh, fish"))


class _Zsh:
    """An interactive zsh on a terminal of its own, whose line editor completes what is typed."""

    def __init__(self, script: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="dumb", COLUMNS="200")
            os.execlp("zsh", "zsh", "-f", "-i")
        settings = "unsetopt zle_bracketed_paste; setopt no_beep; PS1=''; autoload -U compinit; compinit -D"
        # A key that shows the line as the editor has it; what a terminal gets is only how to change what it shows.
        key = "show() { print -r -- \"<$BUFFER>\"; }; zle -N show; bindkey '^X' show"
        os.write(self._terminal, f"{settings}; {key}; source {script}; print rea''dy\n".encode())
        self._read_until(b"ready")

    def complete(self, line: str) -> str:
        """Return the line as it is after the tab key."""
        os.write(self._terminal, f"{line}\t\x18".encode())
        shown = self._read_until(b">")
        # Kill the line, for the next one.
        os.write(self._terminal, b"\x15")
        return shown[shown.rindex("<") + 1 : shown.rindex(">")]

    def close(self) -> None:
        """End the shell."""
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    def _read_until(self, end: bytes) -> str:
        read, deadline = b"", time.monotonic() + 20
        while end not in read:
            assert time.monotonic() < deadline, read
            if select.select([self._terminal], [], [], 0.1)[0]:
                read += os.read(self._terminal, 65536)
        return read.decode()


def test_zsh_completes(cli: Cli, place: Path) -> None:
    zsh = _Zsh(_script(cli, "zsh", place))
    try:
        for line, completed in [
            ("topcoat descr", "topcoat describe "),
            ("topcoat run --works", "topcoat run --workspace "),
            ("topcoat run -s local_c", "topcoat run -s local_cwd "),
            ("topcoat run --log utils.ec", "topcoat run --log utils.echo "),
            ("topcoat runopts local_d", "topcoat runopts local_docker "),
            ("topcoat completion z", "topcoat completion zsh "),
            ("topcoat ls --workspace sour", "topcoat ls --workspace sourcery/"),
            ("topcoat run --cpu 2 -- mkfif", "topcoat run --cpu 2 -- mkfifo "),
            ("topcoat run -- cat source.", "topcoat run -- cat source.py "),
        ]:
            assert zsh.complete(line) == completed
    finally:
        zsh.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_every_script(cli: Cli, shell: str) -> None:
    script = cli("completion", shell).out
    for command in COMMANDS:
        assert command in script


def test_an_unknown_shell_is_wrong_usage(cli: Cli) -> None:
    done = cli("completion", "tcsh")
    assert done.code == 2
    assert "invalid choice: 'tcsh'" in done.error[0]


COMPONENTS = """
from topcoat.specs import AppDef
def train(*, lr: float) -> AppDef: ...
def helper() -> int: ...
def _hidden() -> AppDef: ...
raise SystemExit("completion runs no code")
"""

LINE_WORDS = [
    ("topcoat run jobs.py:tr", ["jobs.py:train"]),
    ("topcoat run jobs.py", ["jobs.py:train"]),
    ("topcoat run -s local -cfg job_dir=/x,mod", ["job_dir=/x,modes="]),
    ("topcoat run -s local -cfg modes=", ["modes=exact", "modes=portable"]),
    ("topcoat run -s local_cwd -cfg prepend_cwd=t", ["prepend_cwd=true"]),
    ("topcoat run -s kubernetes -cfg gang=ku", ["gang=kueue"]),
    ("topcoat run -s nowhere -cfg x", []),
    ("topcoat run absent.py:x", []),
    ("topcoat run -- jobs.py:", []),
]


@pytest.mark.parametrize(("line", "words"), LINE_WORDS)
def test_run_options_and_components_of_files_are_found_without_running_them(
    cli: Cli, place: Path, line: str, words: list[str]
) -> None:
    (place / "jobs.py").write_text(COMPONENTS)
    last = line.rpartition(" ")[2]
    assert sorted(word for word in cli("completion", "--line", line).out.split() if word.startswith(last)) == words


@pytest.mark.usefixtures("handles")
def test_bash_completes_run_options_and_components_of_files(cli: Cli, place: Path) -> None:
    (place / "jobs.py").write_text(COMPONENTS)
    script = _script(cli, "bash", place)
    line = "topcoat run jobs.py:tr"
    assert _in_bash(script, "topcoat run jobs.py : tr", line) == ["train"]
    line = "topcoat run -s local -cfg job_dir=/x,mod"
    assert _in_bash(script, "topcoat run -s local -cfg job_dir = /x,mod", line) == ["/x,modes="]
    assert _in_bash(script, "topcoat run -s local -cfg mod") == ["modes="]


@pytest.mark.usefixtures("handles")
def test_fish_completes_run_options_and_components_of_files(cli: Cli, place: Path) -> None:
    (place / "jobs.py").write_text(COMPONENTS)
    script = _script(cli, "fish", place)
    assert _in_fish(script, "topcoat run jobs.py:tr") == ["jobs.py:train"]
    assert _in_fish(script, "topcoat run -s local -cfg job_dir=/x,mod") == ["job_dir=/x,modes="]


@pytest.mark.usefixtures("handles")
def test_zsh_completes_run_options_and_components_of_files(cli: Cli, place: Path) -> None:
    (place / "jobs.py").write_text(COMPONENTS)
    zsh = _Zsh(_script(cli, "zsh", place))
    try:
        assert zsh.complete("topcoat run jobs.py:tr") == "topcoat run jobs.py:train "
        assert zsh.complete("topcoat run -s local -cfg mod") == "topcoat run -s local -cfg modes="
    finally:
        zsh.close()
