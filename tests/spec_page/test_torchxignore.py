"""The page's ``.torchxignore`` on a real tree: each way by which a workspace reaches a job keeps the same files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from tests.spec_page.page import block
from tests.support import workspaces
from tests.support.fake_bases import add_base
from tests.support.images import fetch, stacked
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import AppDef, Role, Workspace
from topcoat.testing.registry import FakeRegistry
from topcoat.workspace import walk_workspace
from topcoat.workspace.dir_workspace import DirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

DROPPED = {
    ".git/config",
    ".vscode/settings.json",
    "__pycache__/main.cpython-311.pyc",
    "data/train.bin",
    "data/raw/part-0.bin",
    "data/raw/config.yaml",
    "data/table.csv",
    "table.csv",
}
# As .dockerignore has it, a pattern without ** speaks of the root alone.
KEPT = {
    ".torchxignore",
    ".gitignore",
    "data/config.yaml",
    "database.txt",
    "main.py",
    "pkg/__pycache__/mod.cpython-311.pyc",
    "pkg/data/sample.txt",
    "pkg/mod.py",
    "pkg/table.csv",
    "tools.vscode",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with the page's ``.torchxignore`` at its root."""
    content = {name: name for name in DROPPED | KEPT}
    workspaces.write(tmp_path / "project", {**content, ".torchxignore": block("torchxignore")})
    return tmp_path / "project"


def _files(entries: Mapping[bytes, tuple[object, ...]]) -> set[str]:
    return {os.fsdecode(path) for path, entry in entries.items() if entry[0] == "file"}


def test_walk_workspace_keeps_the_files_of_the_page(tree: Path) -> None:
    root = str(tree)
    paths = {f"{directory}/{name}" for directory, _, files in walk_workspace(LocalFileSystem(), root) for name in files}
    assert paths == {f"{root}/{name}" for name in KEPT}


def test_walk_workspace_skips_an_ignored_directory_unless_a_rule_includes_a_member(tree: Path) -> None:
    seen = {os.path.relpath(directory, tree) for directory, _, _ in walk_workspace(LocalFileSystem(), str(tree))}
    assert seen == {".", "data", "pkg", "pkg/__pycache__", "pkg/data"}


def test_walk_workspace_keeps_the_files_of_the_page_on_a_remote_file_system(tree: Path) -> None:
    memory = fsspec.filesystem("memory")
    root = f"/{tree.parent.name}"
    for name in DROPPED | KEPT:
        memory.pipe(f"{root}/{name}", (tree / name).read_bytes())
    paths = {f"{directory}/{name}" for directory, _, files in walk_workspace(memory, root) for name in files}
    assert paths == {f"{root}/{name}" for name in KEPT}


def test_walk_workspace_reads_the_file_ignore_name_only(tree: Path) -> None:
    (tree / ".dockerignore").write_text("*\n!main.py\n")
    walked = walk_workspace(LocalFileSystem(), str(tree), ".dockerignore")
    assert [name for _, _, files in walked for name in files] == ["main.py"]


def test_the_directory_mixin_keeps_the_files_of_the_page(tree: Path, tmp_path: Path) -> None:
    role = Role("worker", "base", workspace=Workspace({str(tree): ""}))
    job_dir = tmp_path / "job"
    DirWorkspaceMixin().build_workspaces([role], {"job_dir": str(job_dir)})
    assert role.image == str(job_dir)
    paths = {str(path.relative_to(job_dir)) for path in job_dir.rglob("*") if path.is_file()}
    assert paths - {MARKER} == KEPT
    assert (job_dir / "data/config.yaml").read_text() == "data/config.yaml"


def test_merging_keeps_the_files_of_the_page(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Workspace({str(tree): ""}).merge_into(out)
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == KEPT


def test_the_scan_for_images_keeps_the_files_of_the_page(tree: Path) -> None:
    snapshot = scan(Workspace({str(tree): ""}), ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert {os.fsdecode(entry.path) for entry in snapshot if entry.kind == "file"} == KEPT


def test_the_image_has_the_files_of_the_page(tree: Path) -> None:
    with FakeRegistry() as registry:
        role = Role("worker", add_base(registry), workspace=Workspace({str(tree): ""}))
        cfg = {"image_repo": f"{registry.host}/app"}
        mixin = DockerWorkspaceMixin()
        mixin.build_workspaces([role], cfg)
        mixin.push_images(mixin.dryrun_push_images(AppDef("app", [role]), cfg))

        layers = fetch(registry, role.image).layers[1:]
        assert _files(stacked(layers, "/app")) == KEPT
