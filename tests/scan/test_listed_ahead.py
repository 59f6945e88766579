"""Directories that helpers list: as the walk would have listed them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from topcoat.errors import WorkspaceNotFound
from topcoat.helpers import pool
from topcoat.helpers.plain_files import Batch, Result
from topcoat.helpers.pool import Background
from topcoat.scan import listed_ahead as module
from topcoat.scan.index import StatIndex
from topcoat.scan.listed_ahead import listed_ahead
from topcoat.scan.scanner import scan
from topcoat.scan.tree import LocalTree
from topcoat.specs import Workspace
from topcoat.testing.trees import Link, build_tree

TREE = {
    "a/b/one.py": "1",
    "a/b/two.py": "22",
    "a/link": Link("b"),
    "a/three": "333",
    b"a/caf\xe9/\xff.txt": "4",
    "ü/five": "5",
    **{f"many/{number:02d}/file": str(number) for number in range(40)},
}
DIRECTORIES = sorted({os.fsdecode(path).rpartition("/")[0] for path in TREE})


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalTree:
    build_tree(tmp_path / "w", TREE)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(module, "MIN_FILES", 1)
    monkeypatch.setattr(pool, "MIN_FILES", 1)
    # Files that were written a moment ago are not put into the index.
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 10_000_000_000)
    return LocalTree(str(tmp_path / "w"))


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk waits until the helper has listed everything."""
    collect = Background.collect

    def collect_all(self: Background) -> list[tuple[Batch, list[Result]]]:
        done, deadline = collect(self), time.monotonic() + 60
        while any(helper._given or not helper._is_ready for helper in self._helpers):
            assert time.monotonic() < deadline
            done += collect(self)
        return done

    monkeypatch.setattr(Background, "collect", collect_all)


def index(root: str) -> StatIndex:
    """Return the index of a scan."""
    scan(Workspace({root: ""}))
    return StatIndex.load(root)


@pytest.mark.usefixtures("waiting")
def test_helpers_list_a_directory_as_the_walk_does(tree: LocalTree, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {path: tree.list(path) for path in DIRECTORIES}
    known = index(tree.root)
    with listed_ahead(tree, known) as list_directory:
        monkeypatch.setattr(LocalTree, "list", None)
        assert {path: list_directory(path) for path in DIRECTORIES} == expected


@pytest.mark.usefixtures("waiting")
def test_a_directory_is_listed_again_if_it_is_walked_again(tree: LocalTree) -> None:
    known = index(tree.root)
    with listed_ahead(tree, known) as list_directory:
        before = list_directory("a")
        Path(tree.full("a/new")).touch()
        assert {node.name for node in list_directory("a")} == {*[node.name for node in before], "new"}


def _remove(path: Path) -> None:
    shutil.rmtree(path)


def _replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("change", [_remove, _replace_by_file])
def test_a_directory_that_is_gone_is_an_error_when_it_is_listed(
    tree: LocalTree, change: Callable[[Path], None]
) -> None:
    known = index(tree.root)
    change(Path(tree.full("a/b")))
    with listed_ahead(tree, known) as list_directory, pytest.raises(WorkspaceNotFound):
        list_directory("a/b")


@pytest.mark.usefixtures("waiting")
def test_a_directory_that_became_a_link_is_not_followed_by_a_helper(tree: LocalTree, tmp_path: Path) -> None:
    known = index(tree.root)
    Path(tree.full("a/b")).rename(tmp_path / "elsewhere")
    Path(tree.full("a/b")).symlink_to(tmp_path / "elsewhere")
    own: list[str] = []
    with listed_ahead(tree, known) as list_directory:
        tree.list = own.append  # type: ignore[assignment,method-assign,return-value]
        list_directory("a/b")
    assert own == ["a/b"]


def test_few_files_are_listed_by_the_walk_alone(tree: LocalTree, monkeypatch: pytest.MonkeyPatch) -> None:
    known = index(tree.root)
    monkeypatch.setattr(module, "MIN_FILES", len(known) + 1)
    with listed_ahead(tree, known) as list_directory:
        assert list_directory == tree.list
    assert len(known) == len([path for path in TREE if path != "a/link"])


@pytest.mark.usefixtures("waiting")
def test_a_scan_after_edits_is_the_same_with_helpers(tree: LocalTree, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace({tree.root: ""})
    scan(workspace)
    root = Path(tree.root)
    shutil.rmtree(root / "many/07")
    build_tree(root, {"many/08/file": "edited", "many/08/new": "", "many/09/sub/deep/file": "x", "new/file": "y"})
    (root / "a/three").chmod(0o755)
    (root / "ü").rename(root / "u")
    (root / ".torchxignore").write_text("many/1*\n!many/15\n")
    with_helpers = scan(workspace).snapshot.entries
    monkeypatch.setattr(module, "MIN_FILES", 10**6)
    assert scan(workspace).snapshot.entries == with_helpers
    monkeypatch.setattr(StatIndex, "load", lambda root: StatIndex({}, root))
    assert scan(workspace).snapshot.entries == with_helpers
