"""Files that no scan ships, by device and inode."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.notices import recorded_notices

from topcoat.scan.exclude import exclude_files, is_excluded
from topcoat.scan.scanner import scan
from topcoat.specs.workspace import Workspace


def identity(path: Path) -> tuple[int, int]:
    st = path.stat()
    return st.st_dev, st.st_ino


def paths(directory: Path) -> list[bytes]:
    return [entry.path for entry in scan(Workspace({str(directory): ""})).snapshot]


def test_file_that_receives_this_commands_output_is_left_out_with_a_notice(tmp_path: Path) -> None:
    (tmp_path / ".torchxignore").touch()
    (tmp_path / "train.py").touch()
    log = tmp_path / "logs" / "run.log"
    log.parent.mkdir()
    log.write_text("output\n")
    os.link(log, tmp_path / "other-name.log")
    with recorded_notices() as notices, exclude_files([identity(log)]):
        assert paths(tmp_path) == [b".torchxignore", b"logs", b"train.py"]
        assert notices == [
            "other-name.log receives the output of this command: left out",
            "logs/run.log receives the output of this command: left out",
        ]
    assert b"logs/run.log" in paths(tmp_path)


def test_file_with_the_inode_of_an_excluded_file_on_another_device_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.touch()
    device, inode = identity(file)
    with exclude_files([(device + 1, inode)]):
        assert not is_excluded(str(file))
        assert paths(tmp_path) == [b"train.py"]


def test_exclusions_nest(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.touch()
    second.touch()
    with exclude_files([identity(first)]):
        with exclude_files([identity(second)]):
            assert paths(tmp_path) == []
        assert paths(tmp_path) == [b"b"]
