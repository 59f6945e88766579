"""Commands in odd places: never a traceback, never a secret, never a hang."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import Cli, environment
from tests.cli.test_terminal import on_terminal, read_until
from topcoat.runner import get_runner
from topcoat.specs import AppState
from topcoat.testing.registry import FakeRegistry

SECRET = "s3cr3t"
TOPCOAT = (sys.executable, "-m", "topcoat")
READ_ONLY = 'mount --bind "$HOME" "$HOME" && mount -o remount,ro,bind "$HOME" && exec "$@"'
FULL = 'mkdir -p "$FULL" && mount -t tmpfs -o size=64k,mode=700 none "$FULL" && yes > "$FULL/x" 2>/dev/null; exec "$@"'
PRIVATE_MOUNTS = ("unshare", "-m", "sh", "-c")
NOBODY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
# The interpreter of the tests may be in a directory that only root can read.
READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


class Place(NamedTuple):
    """How a place differs from the usual one.

    Attributes:
        wrapper: runs the command line that follows it.
        env: variables; None unsets one.
        codes: exit codes that differ from the usual ones, by the command's name; ``*`` is every other command's.
        needs: a command that has to succeed for the place to exist.
    """

    wrapper: Sequence[str] = ()
    env: Mapping[str, str | None] = {}
    codes: Mapping[str, int] = {}
    needs: Sequence[str] = ("true",)


def _sh(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh")


_HOMELESS = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"))
_NO_JOBS = {"run": 1, "status": 1, "log": 1, "describe": 1, "cancel": 1, "delete": 1}
_NO_CODE = {"ls": 1, "build": 1, "run": 1, "run-dryrun": 1, "init": 1}
_NO_RESULT = {"*": 1, "cancel": 0, "delete": 0}
_MOUNTS = ("unshare", "-m", "true")
PLACES = {
    "usual": Place(),
    "home-not-writable": Place((*PRIVATE_MOUNTS, READ_ONLY, "sh"), {}, {"run": 1, "delete": 1}, _MOUNTS),
    "cache-full": Place((*PRIVATE_MOUNTS, FULL, "sh"), {"FULL": "{home}/.cache"}, {}, _MOUNTS),
    "state-full": Place((*PRIVATE_MOUNTS, FULL, "sh"), {"FULL": "{home}/.local"}, _NO_JOBS, _MOUNTS),
    "home-a-file": Place((), {**_HOMELESS, "HOME": "{workspace}/train.py"}, _NO_JOBS),
    "no-home-no-user": Place((*NOBODY, *READS_ALL), _HOMELESS, {**_NO_JOBS, "init": 2}, (*NOBODY, *READS_ALL, "true")),
    "home-of-another-user": Place(
        (*NOBODY, *READS_ALL), {}, {"run": 1, "init": 2, "delete": 1}, (*NOBODY, *READS_ALL, "true")
    ),
    "cwd-removed": Place(_sh('d=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"'), {}, _NO_CODE),
    "stdin-closed": Place(_sh('exec "$@" <&-')),
    "stdout-closed": Place(_sh('exec "$@" >&-'), {}, _NO_RESULT),
    "stdout-full": Place(_sh('exec "$@" >/dev/full'), {}, _NO_RESULT),
    "stderr-closed": Place(_sh('exec "$@" 2>&-')),
    "stdout-in-workspace": Place(_sh('exec "$@" > "out-$$.txt"')),
    "locale-c": Place((), {"LC_ALL": "C"}),
    "locale-ascii": Place((), {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "locale-8-bit": Place((), {"LC_ALL": "xx_XX", "LOCPATH": "{locales}", "PYTHONUTF8": "0"}),
    "no-network": Place(("unshare", "-n"), {}, {"build": 1}, ("unshare", "-n", "true")),
    "proxy-down": Place((), dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://me:{SECRET}@127.0.0.1:9")),
    "proxy-invalid": Place((), dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://me:{SECRET}#x@127.0.0.1:9")),
    "umask": Place(_sh('umask 077; exec "$@"')),
    "warnings-are-errors": Place((), {"PYTHONWARNINGS": "error"}),
    "sigint-ignored": Place(_sh("trap '' INT HUP TERM; exec \"$@\"")),
    "columns-10": Place((), {"COLUMNS": "10", "LINES": "200", "TERM": "dumb"}),
    "no-session": Place(("setsid", "-w"), {"TERM": None}),
}  # fmt: skip


# Here the same happens to all commands; these stand for the others.
_ALIKE = {
    *("stdin-closed", "stderr-closed", "stdout-in-workspace", "locale-c", "no-network", "proxy-down", "proxy-invalid"),
    *("umask", "sigint-ignored", "columns-10", "no-session", "home-a-file", "state-full"),
}
_FEW = ("unknown", "ls", "build", "run", "run-dryrun", "list", "log")


@pytest.fixture
def commands(workspace: Path, fake_registry: FakeRegistry, topcoat: Cli) -> dict[str, tuple[int, list[str]]]:
    """Every command by name: its usual exit code and its command line."""
    (workspace / "données").mkdir()
    (workspace / os.fsdecode(b"caf\xe9.txt")).touch()
    (workspace / "ignore-here").mkdir()
    handle = topcoat("run", "--detach", "--", "echo", "hello").out.strip()
    done = topcoat("run", "--detach", "--", "true").out.strip()
    host = fake_registry.host
    image = ["--image", f"{host}/base:1", "--image-repo", f"{host}/app"]
    return {
        "help": (0, ["--help"]),
        "unknown": (2, ["lss"]),
        "ls": (0, ["ls"]),
        "build": (0, ["build", *image]),
        "run": (0, ["run", "--", "echo", "hello"]),
        "run-dryrun": (0, ["run", "--dryrun", "--", "echo", "hello"]),
        "build-engine": (1, ["build", "--image", "base"]),
        "list-docker": (1, ["list", "-s", "local_docker"]),
        "status": (0, ["status", handle]),
        "log": (0, ["log", handle]),
        "describe": (0, ["describe", handle]),
        "cancel": (0, ["cancel", handle]),
        "delete": (0, ["delete", done]),
        "list": (0, ["list"]),
        "runopts": (0, ["runopts"]),
        "builtins": (0, ["builtins"]),
        "configure": (0, ["configure", "--print"]),
        "init": (0, ["init", "ignore-here"]),
        "completion": (0, ["completion", "bash"]),
        "complete-handles": (0, ["completion", "--handles"]),
    }


def _check(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """Return what is wrong with a command that should end with *code*; empty if nothing is."""
    shown = (done.stdout + done.stderr).decode("utf-8", "replace")
    words = [word for word in ("Traceback", "bug in topcoat", "Exception ignored", SECRET) if word in shown]
    if words or done.returncode != code:
        return f"exit code {done.returncode}, not {code}; {words}: {shown[-1500:]}"
    return "" if code == 0 or b"topcoat: error: " in done.stderr or not done.stderr else f"no error: {shown}"


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.parametrize("name", PLACES)
def test_commands_end_as_they_should_in(
    name: str, commands: dict[str, tuple[int, list[str]]], workspace: Path, home: Path, locales: Path
) -> None:
    place = PLACES[name]
    if "{locales}" in place.env.values() and not (locales / "xx_XX").exists():
        _skip("localedef cannot make a locale here")
    try:
        subprocess.run(place.needs, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        _skip(f"{' '.join(place.needs)} is refused here")
    env = environment(TERM="xterm", DOCKER_HOST=f"unix://{home}/no.sock")
    for variable, value in place.env.items():
        env.pop(variable, None)
        if value is not None:
            env[variable] = value.format(home=home, workspace=workspace, locales=locales)

    def check(command: str) -> str:
        usual, words = commands[command]
        code = place.codes.get(command, place.codes.get("*", usual) if usual == 0 else usual)
        argv = [*place.wrapper, *TOPCOAT, *words]
        # Output in files: a descriptor that is closed must not be a pipe of ours.
        try:
            done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return f"{command}: no end"
        wrong = _check(done, code)
        return wrong and f"{command}: {wrong}"

    with ThreadPoolExecutor(4) as pool:
        wrong = list(filter(None, pool.map(check, _FEW if name in _ALIKE else commands)))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("proxy", ["http://me:{}@127.0.0.1:9", "http://me:{}#x@127.0.0.1:9", "http://me:x{}@:y@"])
def test_a_proxys_login_is_not_shown(proxy: str, topcoat: Cli, workspace: Path) -> None:
    env = environment(HTTPS_PROXY=proxy.format(SECRET), https_proxy=proxy.format(SECRET))
    for debug in ((), ("--debug",)):
        done = topcoat(
            *debug,
            "build",
            "--image",
            "registry.example.test/base",
            "--image-repo",
            "registry.example.test/app",
            env=env,
        )
        assert done.code == 1
        assert "topcoat: error: " in done.err
        assert "bug in topcoat" not in done.err
        assert SECRET not in done.err


@pytest.mark.parametrize("size", [(10, 200), (200, 10), (0, 0)])
def test_a_terminal_of_any_size_shows_the_help_and_the_files(size: tuple[int, int], workspace: Path) -> None:
    for words, text in ((["run", "--help"], b"--workspace"), (["ls"], b"train.py"), (["list"], b"SCHEDULER")):
        process, terminal = on_terminal([*TOPCOAT, *words], size=size)
        shown = read_until(terminal)
        os.close(terminal)
        assert process.wait(60) == 0
        assert text in shown.replace(b"\r\n", b"")


@pytest.mark.parametrize("words", [["ls"], ["list"], ["run", "--help"], ["--help"], ["ls", "--workspace", "/no/such"]])
def test_a_command_on_a_dead_terminal_ends_without_a_traceback(words: list[str], workspace: Path) -> None:
    for stderr_too in (False, True):
        mine, theirs = pty.openpty()
        os.close(mine)
        done = subprocess.run(
            [*TOPCOAT, *words],
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if stderr_too else subprocess.PIPE,
            timeout=60,
            check=False,
        )
        os.close(theirs)
        assert done.returncode == 1
        if not stderr_too:
            assert done.stderr.startswith(b"topcoat: error: ")
            assert done.stderr.count(b"\n") <= 2


def test_a_job_on_a_dead_terminal_is_cancelled(workspace: Path) -> None:
    mine, theirs = pty.openpty()
    os.close(mine)
    command = [*TOPCOAT, "run", "--", "sh", "-c", "while :; do echo line; sleep 0.1; done"]
    process = subprocess.Popen(command, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert process.wait(60) == 1
    runner = get_runner()
    status = runner.wait(runner.list("local")[0].app_handle, 0.1)
    assert status is not None
    assert status.state is AppState.CANCELLED
