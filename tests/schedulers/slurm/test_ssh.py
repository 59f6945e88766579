"""Commands and files of a login node, over a real ssh connection."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.serve import free_port
from tests.components.ssh import LoginNode
from tests.support.notices import recorded_notices
from tests.support.waiting import eventually
from topcoat.errors import SchedulerError
from topcoat.leftovers import remove_leftovers
from topcoat.schedulers.slurm import session, ssh
from topcoat.schedulers.slurm.remote_shell import one_line, os_error, remote_words
from topcoat.schedulers.slurm.ssh import SshSite

_HOSTILE = [
    "", "a b", "'", '"', "\\", "\\n", "\\0101", "$HOME", "`id`", "$(id)", "!", "!!", ";", "a\nb", "\n", "\t", "*", "~",
    "é", "\udcff", "-n", "--", "%s", "%b", "a'b\"c\\d!e\nf",
]  # fmt: skip

_SHOW_ARGUMENTS = [sys.executable, "-c", "import os, sys; print(list(map(os.fsencode, sys.argv[1:])))"]


@pytest.mark.parametrize("shell", [["/bin/sh"], ["bash"], ["fish"], ["zsh"], ["tcsh"]])
def test_every_login_shell_passes_hostile_words_on(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    line = f"{one_line([*_SHOW_ARGUMENTS, *_HOSTILE])}\n".encode()
    done = subprocess.run([*shell, "-c", session.WAIT], input=line, capture_output=True, check=True)
    expected = str([os.fsencode(word) for word in _HOSTILE])
    assert done.stdout.removeprefix(session.BEGIN).decode().strip() == expected
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


def test_blocks_are_the_input_of_a_command(site: SshSite, tmp_path: Path) -> None:
    blocks = [os.urandom(1 << 20) for _ in range(5)]
    site.output(["sh", "-c", 'cat >"$1"', "sh", str(tmp_path / "copy")], stdin=iter(blocks), timeout_s=30)
    assert (tmp_path / "copy").read_bytes() == b"".join(blocks)


def test_no_more_blocks_are_made_for_a_command_that_has_ended(site: SshSite) -> None:
    made = itertools.count()
    done = site.output(["sh", "-c", "exit 7"], stdin=(bytes(1 << 16) for _ in made), timeout_s=30)
    assert done.exit_code == 7


def test_a_command_whose_input_fails_in_the_middle_has_cleaned_up(site: SshSite, tmp_path: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"one\n"
        eventually((tmp_path / "made").exists)
        raise ValueError("no more")

    script = 'trap \'sleep 0.5; rm "$1"\' EXIT; read -r line; touch "$1"; read -r line'
    with pytest.raises(ValueError, match="no more"):
        site.output(["/bin/sh", "-c", script, "sh", str(tmp_path / "made")], stdin=blocks(), timeout_s=30)
    assert os.listdir(tmp_path) == []


def test_all_commands_share_one_connection(site: SshSite) -> None:
    ports = {site.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=30).stdout for _ in range(3)}
    assert len(ports) == 1
    assert Path(site._directory).stat().st_mode & 0o7777 == 0o700


def test_closing_ends_the_connection_and_removes_its_directory(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    connection, directory, waiting = site._connection, site._directory, site._next_session
    assert connection is not None
    assert waiting is not None
    site.close()
    assert connection.poll() is not None
    assert not waiting.is_waiting
    assert not os.path.exists(directory)
    site.close()
    assert site.run(["true"], timeout_s=30).exit_code == 0


def test_the_connection_ends_with_a_killed_process(login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> None:
    login.use(monkeypatch)
    code = (
        "import os, signal\nfrom topcoat.schedulers.slurm.ssh import SshSite\nsite = SshSite('login')\n"
        "site.run(['true'], timeout_s=30)\n"
        "print(site._connection.pid, site._next_session._process.pid, site._directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    *pids, directory = done.stdout.split()
    deadline = time.monotonic() + 10
    while any(_runs(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(int(pid)) for pid in pids)
    with recorded_notices() as notices:
        remove_leftovers()
    assert not os.path.exists(directory)
    assert directory in notices[0]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_a_lost_connection_is_opened_again(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    assert site._connection is not None
    site._connection.kill()
    site._connection.wait()
    assert site.run(["echo", "again"], timeout_s=30).stdout == "again\n"


def test_a_session_that_has_ended_while_it_waited_is_replaced(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    assert site._next_session is not None
    site._next_session._process.kill()
    site._next_session._process.wait()
    assert site.run(["echo", "again"], timeout_s=30).stdout == "again\n"


def test_the_next_session_runs_its_start_up_files_before_there_is_a_command(site: SshSite) -> None:
    assert site.run(["echo", "one"], timeout_s=30).stdout == "one\n"
    waiting = site._next_session
    assert waiting is not None
    deadline = time.monotonic() + 30
    while session.BEGIN not in (printed := _printed_so_far(waiting)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert printed.endswith(session.BEGIN)
    assert site.run(["sh", "-c", "cat"], stdin=b"two", timeout_s=30).stdout == "two"
    assert not waiting.is_waiting


def _printed_so_far(waiting: session.Session) -> bytes:
    return os.pread(waiting._stdout.fileno(), 1 << 16, 0)


def test_what_start_up_files_print_is_not_output(site: SshSite, login: LoginNode, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.write_text('#!/bin/sh\necho "Welcome to the cluster"\necho "to stderr" >&2\nexec /bin/sh "$@"\n')
    noisy.chmod(0o755)
    done = subprocess.run([noisy, "-c", session.WAIT], input=b"echo one\n", capture_output=True, check=True)
    assert done.stdout.partition(session.BEGIN)[2] == b"one\n"


def test_a_command_that_does_not_end_is_ended(site: SshSite) -> None:
    site.run(["true"], timeout_s=30)
    with pytest.raises(SchedulerError, match="sleep did not respond within 1 s"):
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
    def _nothing_is_left(self, login: LoginNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        login.use(monkeypatch)
        monkeypatch.setattr("tempfile.tempdir", "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp")
        before = set(Path(ssh._socket_parent()).glob("topcoat-ssh-*"))
        yield
        assert set(Path(ssh._socket_parent()).glob("topcoat-ssh-*")) == before

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

        monkeypatch.setattr(ssh, "_CONNECT_TIMEOUT_S", 1)
        monkeypatch.setattr(ssh, "_OPTIONS", ("ConnectTimeout=1", *ssh._OPTIONS))
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
