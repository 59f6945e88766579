"""Ignore files and Dockerfiles that are links: obeyed within the workspace, an error when they lead out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from topcoat.errors import WorkspaceError
from topcoat.images.options import image_options
from topcoat.pipeline import plan_image
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs.workspace import Workspace
from topcoat.testing.trees import Link, build_tree
from topcoat.workspace.walk import walk_workspace

IGNORE_FILES = [".torchxignore", ".dockerignore", "Dockerfile.torchx.dockerignore"]


def paths(directory: Path) -> list[bytes]:
    return [entry.path for entry in scan(Workspace({str(directory): ""}), ScanOptions(IMAGE_IGNORE_FILES)).snapshot]


def walk_all(directory: Path) -> object:
    return list(walk_workspace(fsspec.filesystem("file"), str(directory)))


def plan(directory: Path) -> object:
    return plan_image(Workspace({str(directory): ""}), "base", image_options({"image_repo": "127.0.0.1:1/app"}))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file beside the workspace ``w``, that no parser takes."""
    monkeypatch.setenv("TOKEN", "[hush-hush")
    (tmp_path / "outside").write_text("[hush-hush\n")
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


@pytest.mark.parametrize("target", ["../outside", "/proc/self/environ", "hop", "d/../../outside"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        *((name, paths) for name in IGNORE_FILES),
        (".torchxignore", walk_all),
        ("Dockerfile.torchx", plan),
    ],
)
def test_a_link_that_leads_out_of_the_workspace_is_an_error_without_a_line_of_the_file(
    outside: Path, name: str, call: Callable[[Path], object], target: str
) -> None:
    build_tree(outside, {"a.py": "1", "d": {}, "hop": Link("../outside"), name: Link(target)})
    with pytest.raises(WorkspaceError, match=f"{name} is a link that leads out of the workspace") as caught:
        call(outside)
    assert "hush" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("name", IGNORE_FILES)
def test_a_link_to_a_file_of_the_workspace_is_obeyed(tmp_path: Path, name: str) -> None:
    build_tree(tmp_path / "w", {"a.py": "1", "b.py": "2", "conf/rules": "a.py\nconf\n", name: Link("conf/rules")})
    # The workspace may be a link itself.
    (tmp_path / "link").symlink_to("w")
    for directory in (tmp_path / "w", tmp_path / "link"):
        assert set(paths(directory)) == {b"b.py", name.encode()}


@pytest.mark.parametrize("name", IGNORE_FILES)
def test_a_link_to_nothing_is_an_error(tmp_path: Path, name: str) -> None:
    build_tree(tmp_path, {"a.py": "1", name: Link("gone")})
    with pytest.raises(WorkspaceError, match=f"{name} does not exist"):
        paths(tmp_path)


def test_each_project_may_link_within_itself_only(tmp_path: Path) -> None:
    build_tree(
        tmp_path, {"one/.torchxignore": "x", "two": {"a.py": "1", ".torchxignore": Link("../one/.torchxignore")}}
    )
    with pytest.raises(WorkspaceError, match=r"two/\.torchxignore is a link that leads out"):
        scan(Workspace({str(tmp_path / "one"): "one", str(tmp_path / "two"): "two"}), ScanOptions())


def test_an_ignore_file_has_a_maximum_size(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a.py": "1", ".torchxignore": b"#" * ((8 << 20) + 1)})
    with pytest.raises(WorkspaceError, match="has 8388609 bytes; the maximum is 8388608"):
        paths(tmp_path)
