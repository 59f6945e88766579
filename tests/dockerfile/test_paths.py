"""Paths: cleaned, resolved, matched."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dockerfile.image import Image
from topcoat.dockerfile.paths import has_wildcards, inside, matcher, resolve
from topcoat.errors import NeedsBuilder
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.ignore import clean

IMAGE = Image(
    {
        "bin": ImageNode("link", link=b"usr/bin"),
        "usr/bin": ImageNode("dir"),
        "usr/up": ImageNode("link", link=b"../etc"),
        "etc/file": ImageNode("file"),
        "abs": ImageNode("link", link=b"/usr/up"),
        "loop": ImageNode("link", link=b"loop"),
        "dangling": ImageNode("link", link=b"nowhere/x"),
        "home": ImageNode("link", link=b"bin/../home2"),
    }
)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("", ""),
        ("bin/tool", "usr/bin/tool"),
        ("bin", "usr/bin"),
        ("abs/file", "etc/file"),
        ("dangling", "nowhere/x"),
        ("dangling/y", "nowhere/x/y"),
        ("usr/up/../new", "new"),
        ("new/deep/x", "new/deep/x"),
        ("home", "home2"),
    ],
)
def test_links_of_an_image_are_followed(path: str, real: str) -> None:
    assert resolve(IMAGE, path.encode()) == real.encode()


@pytest.mark.parametrize("path", ["loop", "loop/x", "etc/file/x"])
def test_a_path_through_a_file_or_a_link_loop_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match=r"links|cannot be a directory"):
        resolve(IMAGE, path.encode())


@given(st.text(alphabet="ab/.", max_size=12))
def test_paths_are_cleaned_as_posix_does(path: str) -> None:
    expected = posixpath.normpath(path) if path else "."
    assert clean(path) == (expected[1:] if expected.startswith("//") else expected)


@pytest.mark.parametrize(
    ("path", "directory", "found"),
    [
        ("a", "/app", "app/a"),
        ("/a", "/app", "a"),
        (".", "/app", "app"),
        ("../../..", "/app", ""),
        ("a/../b/", "x", "x/b"),
    ],
)
def test_a_path_is_seen_from_a_directory(path: str, directory: str, found: str) -> None:
    assert inside(path, directory) == found.encode()


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "d/a.py", False),
        ("*/a.py", "d/a.py", True),
        ("?", "a", True),
        ("?", "/", False),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("**", "a/b", False),
        ("a*b*c", "axxbxxc", True),
        ("d?", "d\n", True),
    ],
)
def test_a_pattern_matches_as_go_has_it(pattern: str, path: str, matches: bool) -> None:
    assert bool(matcher(pattern)(path)) is matches


def test_a_malformed_pattern_is_refused_and_a_class_handed_to_a_builder() -> None:
    with pytest.raises(ValueError, match="syntax error"):
        matcher("a\\")
    with pytest.raises(NeedsBuilder, match="class"):
        matcher("[ab]")
    assert matcher("\\[ab]")("[ab]")


def test_an_escaped_wildcard_does_not_count_as_one() -> None:
    assert [has_wildcards(path) for path in ("a*", "a\\*", "a\\\\*", "[a]", "a?", "a")] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]
