from __future__ import annotations

import time
from pathlib import Path

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm.site import LocalSite, program_of

SITE = LocalSite()


def test_a_command_that_hangs_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(SchedulerError, match="Slurm's sleep did not respond within 0 s"):
        SITE.run(["env", "A=1", "sleep", "60"], timeout_s=0.3)
    assert time.monotonic() - started < 30


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
