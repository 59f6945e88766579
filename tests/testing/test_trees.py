"""The tree builders for tests: what goes in comes back, and differences are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from topcoat.testing.trees import Directory, File, Link, Tree, assert_same_tree, build_tree, flatten, read_tree

TREE: Tree = {
    "a.py": "text",
    "run.sh": File("#!/bin/sh\n", mode=0o755, mtime=1_000_000_000_000_000_000),
    "src": {"deep/er/x": b"\x00", "link": Link("../a.py"), "empty": {}},
    "private": Directory({"x": ""}, mode=0o700, mtime=2_000_000_000_000_000_000),
    b"\xff\n": "bytes",
    "dangling": Link(b"\xfe"),
}


def test_read_tree_returns_the_tree_that_was_built(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        build_tree(tmp_path / "new", TREE)
    finally:
        os.umask(before)
    assert_same_tree(tmp_path / "new", TREE, mtimes=True)
    actual = read_tree(tmp_path / "new")
    assert list(actual) == sorted(actual)
    assert actual[b"run.sh"] == File(b"#!/bin/sh\n", 0o755, 1_000_000_000_000_000_000)
    assert actual[b"private"] == Directory({}, 0o700, 2_000_000_000_000_000_000)
    assert actual[b"src/link"] == Link(b"../a.py")


def test_a_flat_tree_has_every_parent_directory() -> None:
    assert flatten({"a/b/c": "x", "a/d": Link("e")}) == {
        b"a": Directory(),
        b"a/b": Directory(),
        b"a/b/c": File(b"x"),
        b"a/d": Link(b"e"),
    }


def test_building_over_a_tree_overwrites_its_members_and_keeps_others(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": "1", "b": "2", "c": Link("a")})
    build_tree(tmp_path, {"a": Link("b"), "c": "3"})
    assert_same_tree(tmp_path, {"a": Link("b"), "b": "2", "c": "3"})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": "1"}, "missing: b"),
        ({"a": "1", "b": {}, "c\n": ""}, "unexpected: c"),
        ({"a": "2", "b": {}}, "a holds b'2'"),
        ({"a": File("1", mode=0o755), "b": {}}, "a has mode 755, not 644"),
        ({"a": "1", "b": "x"}, "b is a file, not a directory"),
        ({"a": Link("1"), "b": {}}, "a is a link, not a file"),
        ({"a": "1", "b": Directory(mode=0o700)}, "b has mode 700, not 755"),
    ],
)
def test_the_error_names_the_difference(tmp_path: Path, other: Tree, message: str) -> None:
    build_tree(tmp_path, other)
    with pytest.raises(AssertionError, match=message):
        assert_same_tree(tmp_path, {"a": "1", "b": {}})


def test_modes_and_times_are_compared_on_request() -> None:
    one, other = {"a": File("", mode=0o644, mtime=1_500_000_000)}, {"a": File("", mode=0o600, mtime=2_500_000_000)}
    assert_same_tree(one, other, modes=False)
    with pytest.raises(AssertionError, match="a has mtime 1, not 2"):
        assert_same_tree(one, other, modes=False, mtimes=True)
    with pytest.raises(AssertionError, match="links to b'x', not to b'y'"):
        assert_same_tree({"a": Link("x")}, {"a": Link("y")})


def test_a_special_file_cannot_be_read_back(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is neither"):
        read_tree(tmp_path)
