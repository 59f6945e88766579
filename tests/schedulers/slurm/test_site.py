from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm.site import LocalSite, is_missing, program_of

SITE = LocalSite()


def test_a_command_that_hangs_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(SchedulerError, match=r"this machine did not read or write files within 0 s \(sleep\)"):
        SITE.run(["env", "A=1", "sleep", "60"], timeout_s=0.3)
    assert time.monotonic() - started < 30


def test_a_command_of_slurm_that_hangs_has_a_hint_on_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SchedulerError, match="Slurm's squeue did not respond") as error:
        SITE.run(["env", "A=1", "squeue"], timeout_s=0.3)
    assert "scontrol ping" in str(error.value.hint)


def test_exit_code_127_of_a_command_in_a_job_is_its_own() -> None:
    done = SITE.run(["sh", "-c", "echo 'srun: error: task 0: tar: not found' >&2; exit 127"], timeout_s=10)
    assert done.exit_code == 127


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"sh: 1: srun: not found\n", True),
        (b"bash: line 1: srun: command not found\n", True),
        (b"env: \xe2\x80\x98srun\xe2\x80\x99: No such file or directory\n", True),
        (b"env: 'srun': No such file or directory\n", True),
        (b"slurmstepd: error: execve(): tar: No such file or directory\nsrun: error: node1: task 0\n", False),
        (b"srun: error: tar: not found\n", False),
    ],
)
def test_only_the_program_itself_is_missing(said: bytes, expected: bool) -> None:
    assert is_missing("srun", said) == expected


@pytest.mark.parametrize("command", [["no-such-program"], ["env", "-u", "A", "B=1", "no-such-program", "x"]])
def test_a_missing_program_is_named_with_the_way_to_a_cluster(command: list[str]) -> None:
    with pytest.raises(SchedulerError, match="this machine has no program 'no-such-program'") as error:
        SITE.run(command, timeout_s=10)
    assert "slurm_host=user@login" in str(error.value.hint)


def test_output_that_is_not_text_is_kept() -> None:
    done = SITE.run(["cat"], stdin=b"a\xff", timeout_s=10)
    assert done.stdout.encode(errors="surrogateescape") == b"a\xff"


def test_a_file_appears_whole_with_its_mode(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    SITE.write_file(path, b"new", 0o600)
    assert (SITE.read_file(path, 1, 1), (tmp_path / "file").stat().st_mode & 0o777) == (b"e", 0o600)
    with pytest.raises(FileNotFoundError):
        SITE.write_file(str(tmp_path / "missing" / "file"), b"")
    assert SITE.list_dir(str(tmp_path)) == ["file"]


def test_a_removed_directory_leaves_what_its_links_name(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("gone", "link", "missing"):
        SITE.remove_tree(str(tmp_path / name))
    assert SITE.list_dir(str(tmp_path)) == ["kept"]


def test_the_program_of_a_command_is_behind_env() -> None:
    assert program_of(["env", "-u", "X", "A=1", "squeue", "-h"]) == "squeue"
    assert program_of(["sbatch", "A=1"]) == "sbatch"


def test_the_variables_of_a_job_that_runs_topcoat_are_no_options_of_the_next_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_CONF", "/conf")
    assert "SLURM_NTASKS=8" in SITE.run(["env"], timeout_s=10).stdout
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    variables = SITE.run(["env"], timeout_s=10).stdout
    assert "SLURM_NTASKS" not in variables
    assert "SLURM_CONF=/conf" in variables


@pytest.mark.parametrize("words", [["no-srun"], ["env", "-u", "SRUN_CONTAINER", "no-srun", "--pty"]])
def test_a_missing_program_for_the_terminal_is_an_error(words: list[str]) -> None:
    with pytest.raises(SchedulerError, match="this machine has no program 'no-srun'"):
        LocalSite().interactive(words, tty=True)
