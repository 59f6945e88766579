"""Commands and files of a login node, over a real ssh connection."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.components.serve import free_port
from tests.components.ssh import LoginNode
from tests.support.waiting import eventually
from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm import connection, session, ssh
from topcoat.schedulers.slurm.remote_shell import one_line, os_error, remote_words
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.tasks import Task

_HOSTILE = [
    "", "a b", "'", '"', "\\", "\\n", "\\0101", "$HOME", "`id`", "$(id)", "!", "!!", ";", "a\nb", "\n", "\t", "*", "~",
    "é", "\udcff", "-n", "--", "%s", "%b", "a'b\"c\\d!e\nf",
]  # fmt: skip

_SHOW_ARGUMENTS = [sys.executable, "-c", "import os, sys; print(list(map(os.fsencode, sys.argv[1:])))"]


@pytest.mark.parametrize("shell", [["/bin/sh"], ["bash"], ["fish"], ["zsh"], ["tcsh"]])
def test_every_login_shell_passes_hostile_words_on(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    input_ = f"mark\nmark 0 {one_line([*_SHOW_ARGUMENTS, *_HOSTILE])}\n".encode()
    done = subprocess.run([*shell, "-c", session.SERVE], input=input_, capture_output=True, check=True)
    expected = str([os.fsencode(word) for word in _HOSTILE])
    _, _, output, end, _ = done.stdout.split(b"\x1e", 1)[1].split(b"\x1e")
    assert output.decode().strip() == expected
    assert end == b"mark 0"
    assert done.stderr == session.BEGIN + b"\x1emark\x1e"
    words = ssh._PLAIN + remote_words([*_SHOW_ARGUMENTS, *_HOSTILE])
    done = subprocess.run([*shell, "-c", words], capture_output=True, check=True)
    assert done.stdout.decode().strip() == expected


def test_hostile_words_reach_the_program(site: SshSite) -> None:
    assert site.run([*_SHOW_ARGUMENTS, *_HOSTILE], timeout_s=30).stdout.strip() == str(
        [os.fsencode(word) for word in _HOSTILE]
    )


def test_output_input_and_exit_code_are_those_of_the_command(site: SshSite) -> None:
    done = site.run(["sh", "-c", "cat; echo two >&2; exit 3"], stdin=b"one", timeout_s=30)
    assert done == (3, "one", "two\n")


@pytest.mark.parametrize("code", [0, 1, 126, 127, 143, 254, 255])
def test_every_exit_code_comes_back(site: SshSite, code: int) -> None:
    """Also 255, which ssh itself uses for a lost connection and sbatch for an unknown option."""
    assert site.run(["sh", "-c", f"exit {code}"], timeout_s=30).exit_code == code


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_bytes_are_the_whole_input_of_a_command(site: SshSite, size: int) -> None:
    data = os.urandom(size)
    for _ in range(2):
        assert site.output(["cat"], stdin=data, timeout_s=30).stdout == data


@pytest.mark.parametrize("data", [b"touch made\n", b"mark 0 touch\n" * 10_000])
def test_input_that_a_command_leaves_is_not_taken_for_a_command(site: SshSite, data: bytes) -> None:
    for command in (["true"], ["false"], ["sh", "-c", "read -r line"]):
        site.output(command, stdin=data, timeout_s=30)
        assert site.run(["echo", "next"], timeout_s=30) == (0, "next\n", "")


def test_blocks_are_the_input_of_a_command_that_finds_their_end(site: SshSite, tmp_path: Path) -> None:
    blocks = [os.urandom(1 << 20) for _ in range(5)]
    copy = ["sh", "-c", 'head -c "$2" >"$1"', "sh", str(tmp_path / "copy"), str(5 << 20)]
    site.output(copy, stdin=iter(blocks), timeout_s=30)
    assert (tmp_path / "copy").read_bytes() == b"".join(blocks)
    assert site.run(["echo", "next"], timeout_s=30).stdout == "next\n"


def test_no_more_blocks_are_made_for_a_command_that_has_ended(site: SshSite) -> None:
    made = itertools.count()
    done = site.output(["sh", "-c", "exit 7"], stdin=(bytes(1 << 16) for _ in made), timeout_s=30)
    assert done.exit_code == 7
    assert site.run(["echo", "next"], timeout_s=30).stdout == "next\n"


def test_much_output_is_kept_up_to_a_limit(site: SshSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_OUTPUT", 1 << 20)
    done = site.output(["sh", "-c", "yes | head -c 20000000; exit 3"], timeout_s=30)
    assert (done.exit_code, len(done.stdout)) == (3, 1 << 20)


def test_a_command_whose_input_fails_in_the_middle_has_cleaned_up(site: SshSite, tmp_path: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"one\n"
        eventually((tmp_path / "made").exists)
        raise ValueError("no more")

    script = 'trap \'sleep 0.5; rm "$1"\' EXIT; read -r line; touch "$1"; read -r line'
    with pytest.raises(ValueError, match="no more"):
        site.output(["/bin/sh", "-c", script, "sh", str(tmp_path / "made")], stdin=blocks(), timeout_s=30)
    assert os.listdir(tmp_path) == []


def test_a_command_that_takes_no_input_is_ended(site: SshSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run(["true"], timeout_s=30)
    monkeypatch.setattr(session, "_STALLED_S", 1.0)
    with pytest.raises(SchedulerError, match=r"did not read or write files within 1 s \(sleep\)"):
        site.run(["sleep", "60"], stdin=bytes(32 << 20), timeout_s=600)
    assert site.run(["echo", "next"], timeout_s=30).stdout == "next\n"


_SHELL = ["sh", "-c", "sed -n 's/^PPid://p' /proc/$PPID/status"]


def test_commands_one_after_the_other_share_a_shell(site: SshSite) -> None:
    first = site.run(_SHELL, timeout_s=30).stdout
    site.run(["sh", "-c", "exit 255"], stdin=b"input", timeout_s=30)
    assert site.run(_SHELL, timeout_s=30).stdout == first


def test_commands_side_by_side_have_shells_of_their_own_in_one_connection(site: SshSite, tmp_path: Path) -> None:
    script = f'echo $SSH_CONNECTION; {_SHELL[2]}; touch "$1/$$"; while [ ! -e "$1/gate" ]; do sleep 0.05; done'
    tasks = [Task(lambda: site.run(["sh", "-c", script, "sh", str(tmp_path)], timeout_s=60)) for _ in range(4)]
    eventually(lambda: len(os.listdir(tmp_path)) == 4)
    (tmp_path / "gate").touch()
    connections, shells = zip(*(task.result().stdout.rsplit(None, 1) for task in tasks), strict=True)
    assert len(set(connections)) == 1
    assert len(set(shells)) == 4


class TestConnection:
    """One connection serves the commands of all processes."""

    def _connection(self) -> str:
        site = SshSite("login")
        try:
            return site.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=30).stdout
        finally:
            site.close()

    @pytest.fixture(autouse=True)
    def _use(self, login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> None:
        login.use(monkeypatch)

    def test_the_next_process_finds_it(self, login: LoginNode) -> None:
        assert self._connection() == self._connection()
        assert (login.runtime / "topcoat").stat().st_mode & 0o7777 == 0o700

    def test_it_ends_when_it_was_not_used_for_some_time(
        self, login: LoginNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOPCOAT_SSH_KEEP_S", "0")
        self._connection()
        eventually(lambda: not list(login.runtime.glob("topcoat/*")))

    @pytest.mark.parametrize("value", ["x", "-1", "1.5", "86401", "9" * 30])
    def test_another_time_to_keep_it_is_refused(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("TOPCOAT_SSH_KEEP_S", value)
        with pytest.raises(SchedulerError, match="invalid TOPCOAT_SSH_KEEP_S") as raised:
            self._connection()
        assert "seconds" in (raised.value.hint or "")

    def test_other_settings_are_another_connection(self, login: LoginNode) -> None:
        first = self._connection()
        login.add_host("login", Compression="yes")
        assert self._connection() != first

    def test_it_holds_neither_the_output_nor_the_directory_of_who_opened_it(self, tmp_path: Path) -> None:
        code = (
            "from topcoat.schedulers.slurm.ssh import SshSite\nprint(SshSite('login').run(['echo', '1'], timeout_s=9))"
        )
        # Waits for the end of all who have the pipe.
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, timeout=30)
        assert b"stdout='1" in done.stdout
        assert tmp_path not in {process.cwd for process in _ssh_processes()}

    def test_the_users_own_connection_is_used_if_it_is_open(self, login: LoginNode, tmp_path: Path) -> None:
        login.add_host("login", ControlPath=str(login.runtime / "own"), ControlMaster="no")
        before = self._connection()
        subprocess.run(
            [login.bin / "ssh", "-MNf", "login"],
            check=True,
            timeout=30,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert self._connection() == self._connection() != before
        finally:
            subprocess.run(
                [login.bin / "ssh", "-O", "exit", "login"], check=True, timeout=30, stderr=subprocess.DEVNULL
            )
        assert self._connection() == before

    def test_one_that_does_not_respond_is_left_alone(self, login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self._connection()
        (socket,) = login.runtime.glob("topcoat/*")
        (process,) = (process for process in _ssh_processes() if f"{socket} [mux]" in process.command)
        monkeypatch.setattr(ssh, "_OPEN_TIMEOUT_S", 0.5)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            second = self._connection()
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert second not in ("", first)
        assert self._connection() == second
        os.kill(process.pid, signal.SIGTERM)

    def test_a_directory_of_another_user_is_not_used(self, login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> None:
        (login.runtime / "topcoat").chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", str(login.runtime))
        self._connection()
        (login.runtime / "topcoat").chmod(0o700)
        assert list((login.runtime / f"topcoat-{os.geteuid()}").iterdir())

    def test_without_a_directory_for_its_socket_each_session_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "_socket_directory", lambda: "")
        assert self._connection() != self._connection()


class _Process(NamedTuple):
    pid: int
    command: str
    cwd: Path


def _ssh_processes() -> list[_Process]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (directory / "comm").read_text().strip() == "ssh":
                command = (directory / "cmdline").read_text()
                found.append(_Process(int(directory.name), command, (directory / "cwd").readlink()))
    return found


def test_the_sessions_of_a_killed_process_end(login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> None:
    login.use(monkeypatch)
    code = (
        "import os, signal\nfrom topcoat.schedulers.slurm.ssh import SshSite\nsite = SshSite('login')\n"
        "print(site.run(['sh', '-c', 'echo $PPID'], timeout_s=30).stdout, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    shell = int(done.stdout)
    eventually(lambda: not _runs(shell))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_a_lost_connection_is_opened_again(site: SshSite, login: LoginNode) -> None:
    site.run(["true"], timeout_s=30)
    login.disconnect()
    eventually(lambda: not any(waiting.is_usable for waiting in site._waiting))
    assert site.run(["echo", "again"], timeout_s=30).stdout == "again\n"


def test_a_connection_that_is_lost_during_a_command_is_one_error(site: SshSite, login: LoginNode) -> None:
    task = Task(lambda: site.run(["sleep", "60"], timeout_s=60))
    eventually(lambda: list(login.runtime.glob("topcoat/*")))
    eventually(lambda: site._facts is not None)
    login.disconnect()
    with pytest.raises(SchedulerError, match="cannot connect to login over ssh"):
        task.result()


def test_closing_ends_the_sessions_and_may_be_done_twice(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    (waiting,) = site._waiting
    site.close()
    assert not waiting.is_usable
    site.close()
    assert site.run(["true"], timeout_s=30).exit_code == 0


def test_what_start_up_files_print_is_not_output(site: SshSite, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = 'echo "Welcome to the cluster"; printf "\\036"; (sleep 0.2; echo "to stderr" >&2); '
    monkeypatch.setattr(ssh, "SERVE", noise + session.SERVE)
    assert site.run(["echo", "one"], timeout_s=30) == (0, "one\n", "")


def test_a_login_that_allows_no_commands_is_one_error(site: SshSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "SERVE", "echo This account is closed.; exit 1")
    with pytest.raises(SchedulerError, match=r"login did not run a command: This account is closed\.") as raised:
        site.run(["true"], timeout_s=30)
    assert "ssh login true" in (raised.value.hint or "")


def test_a_command_that_does_not_end_is_ended(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    with pytest.raises(SchedulerError, match=r"did not read or write files within 1 s \(sleep\)"):
        site.run(["sleep", "30"], timeout_s=1)
    assert site.run(["echo", "next"], timeout_s=30).stdout == "next\n"


@pytest.mark.parametrize("before", [[], ["env", "-u", "X", "-u", "Y", "A=b"]])
def test_a_program_that_is_missing_there_is_named(site: SshSite, before: list[str]) -> None:
    with pytest.raises(SchedulerError, match="login has no program 'sbatch-of-topcoat'") as raised:
        site.run([*before, "sbatch-of-topcoat", "--x"], timeout_s=30)
    assert "PATH" in (raised.value.hint or "")


class TestConnectionErrors:
    """One clear error each, and nothing left behind."""

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        login.use(monkeypatch)
        yield
        assert not list(login.runtime.glob("topcoat/*"))

    def _error(self, host: str) -> SchedulerError:
        site = SshSite(host)
        with pytest.raises(SchedulerError) as raised:
            site.run(["true"], timeout_s=30)
        site.close()
        return raised.value

    def test_refused(self) -> None:
        error = self._error(f"127.0.0.1:{free_port()}")
        assert "cannot connect to 127.0.0.1:" in error.message
        assert "Connection refused" in error.message
        assert "slurm_host=user@login:port" in (error.hint or "")

    def test_unknown_host(self) -> None:
        error = self._error("me@login.invalid")
        assert "cannot connect to me@login.invalid over ssh" in error.message
        assert "~/.ssh/config" in (error.hint or "")

    def test_a_key_that_is_not_accepted(self, login: LoginNode) -> None:
        error = self._error(f"nobody-of-topcoat@127.0.0.1:{login.port}")
        assert "Permission denied" in error.message
        assert "ssh-copy-id" in (error.hint or "")

    def test_a_host_key_that_is_not_known(self, login: LoginNode) -> None:
        login.add_host("unknown", HostName="127.0.0.1", Port=str(login.port), UserKnownHostsFile="/dev/null")
        error = self._error("unknown")
        assert "Host key verification failed" in error.message
        assert "ssh unknown" in (error.hint or "")

    def test_a_host_whose_key_has_changed(self, login: LoginNode) -> None:
        keys = login.directory / "changed_hosts"
        keys.write_text(f"[127.0.0.1]:{login.port} {(login.directory / 'id.pub').read_text()}")
        login.add_host("changed", HostName="127.0.0.1", Port=str(login.port), UserKnownHostsFile=str(keys))
        assert "has changed" in (self._error("changed").hint or "")

    def test_no_ssh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        assert "ssh is not installed" in self._error("login").message

    def test_a_server_that_never_responds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket

        monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 1)
        monkeypatch.setattr(connection, "_OPTIONS", ("ConnectTimeout=1", *connection._OPTIONS))
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            error = self._error(f"127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot connect" in error.message

    @pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "", "a@-b@c", "a\nb", "h:123456", "h:x"])
    def test_an_invalid_address_is_refused(self, host: str) -> None:
        with pytest.raises(SchedulerError, match="invalid slurm_host"):
            SshSite(host)


class TestFiles:
    """As on this machine: the same results, and the same errors."""

    def test_a_file_is_written_and_read(self, site: SshSite, tmp_path: Path) -> None:
        path = tmp_path / "a 'file'\n"
        site.write_file(str(path), bytes(range(256)), 0o640)
        assert path.read_bytes() == bytes(range(256))
        assert path.stat().st_mode & 0o7777 == 0o640
        assert site.read_file(str(path)) == bytes(range(256))
        assert site.read_file(str(path), 250) == bytes(range(250, 256))
        assert site.read_file(str(path), 10, 3) == b"\x0a\x0b\x0c"
        assert site.read_file(str(path), 1000) == b""
        assert os.listdir(tmp_path) == [path.name]

    def test_directories_are_made_listed_and_removed(self, site: SshSite, tmp_path: Path) -> None:
        path = tmp_path / "one/-two words"
        site.make_dir(str(path), 0o700)
        site.make_dir(str(path))
        assert path.stat().st_mode & 0o7777 == 0o700
        for name in ("new\nline", ".hidden", "b"):
            (path / name).touch()
        assert site.list_dir(str(path)) == [".hidden", "b", "new\nline"]
        site.remove_tree(str(tmp_path / "one"))
        site.remove_tree(str(tmp_path / "one"))
        assert os.listdir(tmp_path) == []

    def test_errors_are_those_of_this_machine(self, site: SshSite, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(FileNotFoundError):
            site.read_file(str(tmp_path / "missing"))
        with pytest.raises(FileNotFoundError):
            site.list_dir(str(tmp_path / "missing"))
        with pytest.raises(FileNotFoundError):
            site.write_file(str(tmp_path / "missing/file"), b"")
        with pytest.raises(IsADirectoryError):
            site.read_file(str(tmp_path))
        with pytest.raises(NotADirectoryError):
            site.list_dir(str(tmp_path / "file"))
        with pytest.raises(FileExistsError):
            site.make_dir(str(tmp_path / "file"))

    def test_the_home_directory_is_that_of_the_account(self, site: SshSite) -> None:
        import pwd

        assert site.home() == pwd.getpwuid(os.geteuid()).pw_dir

    @pytest.mark.parametrize(
        "text",
        [
            "cat: write error: No space left on device",
            "mktemp: x: Disk quota exceeded",
            "tar: x: Wrote only 1 of 2 bytes",
        ],
    )
    def test_a_full_disk_is_known(self, text: str) -> None:
        assert os_error(text.encode(), "/x").errno in (errno.ENOSPC, errno.EDQUOT)
