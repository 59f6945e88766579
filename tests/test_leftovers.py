"""What a killed process has claimed is removed by the next command, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.notices import recorded_notices
from topcoat.leftovers import claim, claimed, private_directory, release, remove_leftovers
from topcoat.state import state_dir


def killed(work: Callable[[], object]) -> None:
    """Run *work* in a child that is killed afterwards."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def fill(directory: Path) -> None:
    claim(directory)
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_text("content")


def test_the_directory_of_a_killed_process_is_removed_with_a_notice(tmp_path: Path) -> None:
    killed(lambda: fill(tmp_path / "new"))
    assert (tmp_path / "new").exists()
    with recorded_notices() as notices:
        remove_leftovers()
        remove_leftovers()
    assert not (tmp_path / "new").exists()
    assert notices == [f"removed {tmp_path}/new: the command that made it did not finish"]
    assert os.listdir(state_dir("claims")) == []


def test_the_directory_of_a_live_process_stays(tmp_path: Path) -> None:
    fill(tmp_path / "new")
    try:
        # A lock of this very process would not keep it out.
        killed(remove_leftovers)
        assert (tmp_path / "new" / "deep" / "file").exists()
    finally:
        release(tmp_path / "new")


def test_a_released_directory_stays(tmp_path: Path) -> None:
    def work() -> None:
        fill(tmp_path / "new")
        release(tmp_path / "new")

    killed(work)
    remove_leftovers()
    assert (tmp_path / "new" / "deep").exists()


def test_a_directory_that_is_complete_stays(tmp_path: Path) -> None:
    def work() -> None:
        claim(tmp_path / "new", unless=tmp_path / "new" / "done")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "done").touch()

    killed(work)
    remove_leftovers()
    assert (tmp_path / "new" / "done").exists()
    assert os.listdir(state_dir("claims")) == []


def test_a_directory_that_was_given_its_final_name_stays(tmp_path: Path) -> None:
    def work() -> None:
        fill(tmp_path / "new")
        os.rename(tmp_path / "new", tmp_path / "final")

    killed(work)
    remove_leftovers()
    assert (tmp_path / "final" / "deep").exists()


def test_what_a_link_in_its_place_leads_to_stays(tmp_path: Path) -> None:
    killed(lambda: fill(tmp_path / "new"))
    os.rename(tmp_path / "new", tmp_path / "elsewhere")
    (tmp_path / "new").symlink_to("elsewhere")
    remove_leftovers()
    assert (tmp_path / "elsewhere" / "deep").exists()


@pytest.mark.parametrize("content", [b"", b"\0", b"/", b"relative", b"\xff\xfe"])
def test_a_damaged_claim_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    removed: list[object] = []
    monkeypatch.setattr("shutil.rmtree", removed.append)
    monkeypatch.chdir(tmp_path)
    for name in ("relative", "name", "name with a tail"):
        (tmp_path / name).mkdir()
    state_dir("claims").mkdir(parents=True)
    (state_dir("claims") / "x").write_bytes(content)
    killed(lambda: claim(tmp_path / "name with a tail"))
    (cut,) = (path for path in state_dir("claims").iterdir() if path.name != "x")
    cut.write_bytes(cut.read_bytes()[: -len(" with a tail\0")])
    remove_leftovers()
    assert removed == []


def test_a_fifo_among_the_claims_makes_nobody_wait() -> None:
    state_dir("claims").mkdir(parents=True)
    os.mkfifo(state_dir("claims") / "x")
    remove_leftovers()


def test_without_a_state_directory_there_is_nothing_to_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/x")
    with claimed(tmp_path / "new"):
        (tmp_path / "new").mkdir()
    remove_leftovers()
    assert (tmp_path / "new").exists()


def test_a_private_directory_is_removed_at_its_end_and_readable_by_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with private_directory(str(tmp_path), "x-") as directory:
            assert directory.stat().st_mode & 0o777 == 0o700
            assert [path.stat().st_mode & 0o777 for path in state_dir("claims").iterdir()] == [0o600]
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == []
    assert os.listdir(state_dir("claims")) == []
