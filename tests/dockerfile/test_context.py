"""The workspace as ``COPY`` sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from topcoat.dockerfile.context import Context
from topcoat.errors import NeedsBuilder
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.scanner import ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.testing.trees import Link, build_tree


@pytest.fixture
def context(tmp_path: Path) -> Context:
    build_tree(
        tmp_path, {".torchxignore": "", "a.py": "", "d": {"b.py": "", "e": {"c.py": ""}}, "l": Link("d"), b"\xff": ""}
    )
    return Context(scan(Workspace({str(tmp_path): ""}), ScanOptions()))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("/", [b""]),
        ("/d/../a.py", [b"a.py"]),
        ("/nowhere", [b"nowhere"]),
        ("/*.py", [b"a.py"]),
        ("/*", [b".torchxignore", b"a.py", b"d", b"l", b"\xff"]),
        ("/*/*.py", [b"d/b.py"]),
        ("/l/*.py", [b"d/b.py"]),
        ("/?/e", [b"d/e"]),
        ("/x*", []),
    ],
)
def test_a_source_matches_paths(context: Context, source: str, found: list[bytes]) -> None:
    assert context.matches(source) == found


def test_a_wildcard_in_a_missing_directory_is_an_error(context: Context) -> None:
    with pytest.raises(ValueError, match="/nowhere not found"):
        context.matches("/nowhere/*")


def test_a_wildcard_that_matches_nothing_in_a_directory_needs_a_builder(context: Context) -> None:
    with pytest.raises(NeedsBuilder, match="nothing in /d/e of the workspace matches"):
        context.matches("/d/e/*.txt")


def test_it_is_a_tree_in_which_links_can_be_followed(context: Context) -> None:
    assert context.find(b"l") == ImageNode("link", 0o777, link=b"d")
    assert context.find(b"") == ImageNode("dir")
    assert context.find(b"nowhere") is None
    assert sorted(context.below(b"d")) == [b"b.py", b"e", b"e/c.py"]
