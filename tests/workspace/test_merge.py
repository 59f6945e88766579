"""Projects merged into one directory, and into nothing outside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support import workspaces
from tests.support.inside import expected, on_disk
from topcoat.errors import DestinationError, InvalidWorkspace, WorkspaceNotFound
from topcoat.scan.scanner import scan
from topcoat.specs import Workspace


def _names(directory: Path) -> set[str]:
    return {os.fsdecode(path) for path in on_disk(directory)}


def test_one_project_is_copied_as_it_is(tmp_path: Path) -> None:
    workspace = workspaces.odd(tmp_path / "w")
    workspace.merge_into(tmp_path / "out")
    assert on_disk(tmp_path / "out") == expected(scan(workspace).snapshot)


def test_each_project_obeys_its_own_rules(tmp_path: Path) -> None:
    first_files = {"a": "1", "secret": "1", "x.log": "1", ".torchxignore": "secret\n"}
    two = {"b": "2", "secret": "2", "y.log": "2", ".torchxignore": "*.log\n"}
    three = {"c": "3", "secret": "3", ".git/config": "3"}
    for name, content in (("one", first_files), ("two", two), ("three", three)):
        workspaces.write(tmp_path / name, content)
    projects = {"one": "", "two": "two", "three": "deep/er/three"}
    Workspace({str(tmp_path / name): target for name, target in projects.items()}).merge_into(tmp_path / "out")
    files = {name for name in _names(tmp_path / "out") if (tmp_path / "out" / name).is_file()}
    assert files == {
        *("a", "x.log", ".torchxignore"),
        *("two/b", "two/secret", "two/.torchxignore"),
        *("deep/er/three/c", "deep/er/three/secret"),
    }


def test_a_file_left_out_by_one_project_does_not_come_back_by_another(tmp_path: Path) -> None:
    workspaces.write(tmp_path / "one", {"secret": "1", ".torchxignore": "secret\n"})
    workspaces.write(tmp_path / "two", {"a": "2", ".torchxignore": ""})
    Workspace({str(tmp_path / "one"): "", str(tmp_path / "two"): ""}).merge_into(tmp_path / "out")
    assert _names(tmp_path / "out") == {"a", ".torchxignore"}


def test_the_later_project_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        workspaces.write(tmp_path / name, {"same": name, f"d/{name}": name})
    for order in (["one", "two"], ["two", "one"]):
        out = tmp_path / "-".join(order)
        Workspace({str(tmp_path / name): "" for name in order}).merge_into(out)
        assert (out / "same").read_text() == order[-1]
        assert _names(out) == {"same", "d", "d/one", "d/two"}


def test_single_files_and_other_file_systems_are_merged(tmp_path: Path) -> None:
    memory = MemoryFileSystem()
    memory.pipe_file("/merged/in memory", b"m")
    workspaces.write(tmp_path, {"conf.yaml": "c"})
    projects = {
        str(tmp_path / "conf.yaml"): "etc/app.yaml",
        "memory://merged": "mem",
        f"file://{tmp_path}/conf.yaml": "again",
    }
    Workspace(projects).merge_into(tmp_path / "out")
    memory.rm("/merged", recursive=True)
    assert _names(tmp_path / "out") == {"etc", "etc/app.yaml", "mem", "mem/in memory", "again"}
    assert (tmp_path / "out/mem/in memory").read_bytes() == b"m"


def test_what_is_there_stays_and_what_has_the_same_name_is_replaced(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"same": "new", "d/inner": "new"})
    workspaces.write(tmp_path / "out", {"same": "old", "other": "old", "d/other": "old"})
    os.link(tmp_path / "out/same", tmp_path / "linked")
    workspace.merge_into(str(tmp_path / "out"))
    assert _names(tmp_path / "out") == {"same", "other", "d", "d/inner", "d/other"}
    assert (tmp_path / "out/same").read_text() == "new"
    assert (tmp_path / "linked").read_text() == "old"


def test_the_home_directory_is_known(tmp_path: Path, home: Path) -> None:
    workspaces.write(tmp_path / "w", {"a": "a"}).merge_into("~/merged")
    assert _names(home / "merged") == {"a"}


class TestNothingIsWrittenOutside:
    """Whatever links there are."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        workspaces.write(tmp_path / "outside", {"victim": "safe"})
        return tmp_path / "outside"

    def test_a_link_to_a_file_is_replaced(self, tmp_path: Path, outside: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/a").symlink_to(outside / "victim")
        (tmp_path / "out/b").symlink_to(outside / "made")
        workspaces.write(tmp_path / "w", {"a": "new", "b": "new"}).merge_into(tmp_path / "out")
        assert (tmp_path / "out/a").read_text() == "new"
        assert not (tmp_path / "out/a").is_symlink()
        assert {path.name: path.read_text() for path in outside.iterdir()} == {"victim": "safe"}

    def test_a_link_to_a_directory_is_in_the_way(self, tmp_path: Path, outside: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/d").symlink_to(outside)
        workspace = workspaces.write(tmp_path / "w", {"d/victim": "new", "d/more": "new"})
        with pytest.raises(DestinationError, match="out/d is in the way") as raised:
            workspace.merge_into(tmp_path / "out")
        assert raised.value.hint
        assert {path.name: path.read_text() for path in outside.iterdir()} == {"victim": "safe"}

    def test_a_link_of_one_project_is_no_path_for_another(self, tmp_path: Path, outside: Path) -> None:
        workspaces.write(tmp_path / "one", {"a": ""})
        (tmp_path / "one/d").symlink_to(outside)
        workspaces.write(tmp_path / "two", {"victim": "new"})
        with pytest.raises(InvalidWorkspace, match="d is a link in one project"):
            Workspace({str(tmp_path / "one"): "", str(tmp_path / "two"): "d"}).merge_into(tmp_path / "out")
        assert (outside / "victim").read_text() == "safe"


@pytest.mark.parametrize(("name", "there"), [("x", "x/inner"), ("x/inner", "x")])
def test_a_file_and_a_directory_of_one_name_is_an_error(tmp_path: Path, name: str, there: str) -> None:
    workspaces.write(tmp_path / "out", {there: "old"})
    with pytest.raises(DestinationError, match="out/x is in the way"):
        workspaces.write(tmp_path / "w", {name: "new"}).merge_into(tmp_path / "out")
    assert (tmp_path / "out" / there).read_text() == "old"


def test_a_project_that_is_not_there_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    workspaces.write(tmp_path / "w", {"a": ""})
    workspace = Workspace({str(tmp_path / "w"): "", str(tmp_path / "absent"): "lib"})
    with pytest.raises(WorkspaceNotFound, match="absent"):
        workspace.merge_into(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": ""})
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="cannot merge the workspace into"):
        workspace.merge_into(tmp_path / "file/out")
