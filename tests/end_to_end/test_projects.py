"""A workspace of several projects, all the way to the process that sees it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.end_to_end.remote import role, runner
from tests.support.bases import pushed
from tests.support.inside import look
from tests.support.workspaces import write
from topcoat.errors import InvalidWorkspace, WorkspaceNotFound
from topcoat.runner import get_runner
from topcoat.scan.job_dirs import MARKER
from topcoat.specs import AppDef, Workspace

MAIN = """\
import lib.util, pathlib, sys
print(lib.util.NAME, *(pathlib.Path(name).read_text() for name in sys.argv[1:]))
"""
# Each project obeys its own ignore files and no other's.
KEPT = {
    ".torchxignore": "*.log\n",
    "main.py": MAIN,
    "notes.txt": "notes",
    "conf/settings.yaml": "lr: 1",
    "lib/.torchxignore": "secret\n",
    "lib/util.py": "NAME = 'util'\n",
    "lib/util.log": "kept",
    "remote/.torchxignore": "skip*\n!skip.not\n",
    "remote/deep/data.txt": "from memory",
    "remote/skip.not": "kept",
}
READ = ["conf/settings.yaml", "notes.txt", "remote/deep/data.txt"]
PRINTED = "util lr: 1 notes from memory\n"


@pytest.fixture
def memory() -> Iterator[str]:
    """A URL of an empty directory in memory."""
    file_system, root = fsspec.filesystem("memory"), f"/project-{uuid.uuid4().hex}"
    yield f"memory:/{root}"
    if file_system.exists(root):
        file_system.rm(root, recursive=True)


@pytest.fixture
def workspace(tmp_path: Path, memory: str) -> Workspace:
    """A directory at the root, one below it, two single files, and a directory that is not on a disk."""
    for place in ("app", "lib"):
        prefix = "lib/" if place == "lib" else ""
        own = {name[len(prefix) :]: text for name, text in KEPT.items() if name.startswith(prefix)}
        write(tmp_path / place, {name: text for name, text in own.items() if "/" not in name and name != "notes.txt"})
    write(tmp_path / "app", {"app.log": "dropped"})
    write(tmp_path / "lib", {"secret": "dropped"})
    write(tmp_path, {"notes.txt": "notes", "prod.yaml": "lr: 1"})
    file_system = fsspec.filesystem("memory")
    root = memory.removeprefix("memory:/")
    for name, text in {
        **KEPT,
        "remote/skip.me": "dropped",
        "remote/deep/skip.kept": "only the root's is skip*",
    }.items():
        if name.startswith("remote/"):
            file_system.pipe(f"{root}/{name.removeprefix('remote/')}", text.encode())
    return Workspace(
        {
            str(tmp_path / "app"): "",
            str(tmp_path / "lib"): "lib",
            str(tmp_path / "prod.yaml"): "conf/settings.yaml",
            str(tmp_path / "notes.txt"): "",
            memory: "remote",
        }
    )


_EXPECTED = {*KEPT, "remote/deep/skip.kept"}


def _files(directory: str) -> set[str]:
    paths = {
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in os.walk(directory)
        for name in names
    }
    return paths - {MARKER}


def test_a_process_of_local_sees_every_project(workspace: Workspace, tmp_path: Path) -> None:
    program = role("r", "", workspace, f"python3 -B main.py {' '.join(READ)}")
    with get_runner("s") as run:
        handle = run.run(AppDef("app", [program]), "local", {"job_dir": str(tmp_path / "job")})
        status = run.wait(handle)
        assert status is not None
        assert status.state.name == "SUCCEEDED", status.format()
        assert "".join(run.log_lines(handle, "r")) == PRINTED
    assert _files(str(tmp_path / "job")) == _EXPECTED


def test_a_container_sees_every_project(
    docker20: Docker, registry: Registry, python_image: Image, workspace: Workspace
) -> None:
    base = pushed(registry, python_image)
    run, scheduler = runner()
    with run:
        repo = f"{registry.host}/{registry.unique('app')}"
        run.run(AppDef("app", [role("r", base.reference, workspace)]), "remote", {"image_repo": repo})
    image = scheduler.submitted[0].images["r"]

    assert docker20.run("run", "--rm", image, "python3", "main.py", *READ) + "\n" == PRINTED
    inside = look(docker20, image, "/app").below("/app")
    assert {os.fsdecode(path) for path, seen in inside.items() if seen.kind == "file"} == _EXPECTED


def test_a_container_of_local_docker_sees_every_project(
    docker20: Docker, python_image: Image, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker20.use(monkeypatch)
    base = python_image.load(docker20, "projects-base:1")
    program = role("r", base, workspace, f"python3 -B main.py {' '.join(READ)}; find . -type f | sort")
    with get_runner("s") as run:
        handle = run.run(AppDef("projects", [program]), "local_docker")
        status = run.wait(handle)
        assert status is not None
        assert status.state.name == "SUCCEEDED", status.format()
        printed, *files = run.log_lines(handle, "r")
        run.delete(handle)
    assert printed == PRINTED
    assert {name.strip().removeprefix("./") for name in files} == _EXPECTED


def test_merging_gives_the_same_files(workspace: Workspace, tmp_path: Path) -> None:
    workspace.merge_into(tmp_path / "merged")
    assert _files(str(tmp_path / "merged")) == _EXPECTED


def test_the_string_form_means_the_same(workspace: Workspace, tmp_path: Path) -> None:
    lines = [f"{source}: {target}" for source, target in workspace.projects.items()]
    parsed = Workspace.from_str("\n".join(lines))
    assert parsed == workspace
    parsed.merge_into(tmp_path / "merged")
    assert _files(str(tmp_path / "merged")) == _EXPECTED


def test_if_two_projects_have_one_file_the_later_one_wins(tmp_path: Path) -> None:
    write(tmp_path / "a", {".torchxignore": "", "x.py": "first", "only_a.py": "a"})
    write(tmp_path / "b", {".torchxignore": "only_a.py\n", "x.py": "second"})
    workspace = Workspace({str(tmp_path / "a"): "", str(tmp_path / "b"): ""})
    with get_runner("s") as run:
        handle = run.run(
            AppDef("app", [role("r", "", workspace, "cat x.py only_a.py")]), "local", {"job_dir": str(tmp_path / "job")}
        )
        run.wait(handle)
        assert "".join(run.log_lines(handle, "r")) == "seconda"


def test_a_missing_project_is_an_error_before_anything_is_copied(tmp_path: Path, memory: str) -> None:
    write(tmp_path / "a", {".torchxignore": ""})
    for missing in (str(tmp_path / "nowhere"), memory):
        workspace = Workspace({str(tmp_path / "a"): "", missing: "b"})
        with get_runner("s") as run, pytest.raises(WorkspaceNotFound, match="does not exist") as caught:
            run.run(AppDef("app", [role("r", "", workspace)]), "local", {"job_dir": str(tmp_path / "job")})
        assert missing in str(caught.value)
    assert not (tmp_path / "job").exists()


def test_a_file_and_a_directory_at_one_place_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a", {".torchxignore": "", "conf/x": ""})
    write(tmp_path, {"conf": "a file"})
    workspace = Workspace({str(tmp_path / "a"): "", str(tmp_path / "conf"): ""})
    with get_runner("s") as run, pytest.raises(InvalidWorkspace, match="conf is a dir in one project and a file in"):
        run.run(AppDef("app", [role("r", "", workspace)]), "local", {"job_dir": str(tmp_path / "job")})
