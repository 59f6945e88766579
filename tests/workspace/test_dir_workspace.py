"""Workspaces as job directories: at once, planned, shared by roles, inside of the workspace itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support import workspaces
from tests.support.inside import expected, on_disk
from tests.support.notices import recorded_notices
from topcoat.destinations import directory, file_maker
from topcoat.errors import DestinationError, InvalidRunConfigException, JobDirConflict, WorkspaceChanged
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import scan
from topcoat.specs import Role, Workspace
from topcoat.workspace.dir_workspace import DirWorkspaceMixin, TmpDirWorkspaceMixin


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {"train.py": "pass\n", "src/pkg/a.py": "", ".torchxignore": "*.log\n"})


def _role(workspace: Workspace | None, name: str = "r", **options: Any) -> Role:
    return Role(name, "base:1", workspace=workspace, **options)


def _held(job_dir: str | Path) -> dict[bytes, Any]:
    actual: dict[bytes, Any] = dict(on_disk(job_dir))
    del actual[MARKER.encode()]
    return actual


def _wanted(workspace: Workspace) -> dict[bytes, Any]:
    return dict(expected(scan(workspace).snapshot))


class TestBuildingAtOnce:
    """By the hooks that TorchX has."""

    def test_the_job_directory_is_the_workspace_and_the_roles_image(self, workspace: Workspace, tmp_path: Path) -> None:
        role, job = _role(workspace), str(tmp_path / "job")
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": job})
        assert role.image == job
        assert role.env == {"WORKSPACE_DIR": job, "PYTHONPATH": f"{job}:{job}/src"}
        assert _held(job) == _wanted(workspace)

    def test_the_deprecated_hook_does_the_same(self, workspace: Workspace, tmp_path: Path) -> None:
        role, job = _role(None), str(tmp_path / "job")
        DirWorkspaceMixin().build_workspace_and_update_role(role, str(tmp_path / "w"), {"job_dir": job})
        assert role.image == job
        assert _held(job) == _wanted(workspace)

    @pytest.mark.parametrize("cfg", [{}, {"job_dir": None}, {"job_dir": ""}])
    def test_without_a_job_directory_nothing_is_done(self, workspace: Workspace, tmp_path: Path, cfg: Any) -> None:
        role, mixin = _role(workspace), DirWorkspaceMixin()
        mixin.build_workspaces([role], cfg)
        mixin.build_workspace_and_update_role(role, str(tmp_path / "w"), cfg)
        plan = mixin.plan_workspaces([role], cfg)
        assert plan is not None
        plan.carry_out()
        assert (role.image, role.env, plan.lines()) == ("base:1", {}, [])
        assert os.listdir(tmp_path) == ["w"]

    def test_roles_with_one_workspace_share_a_directory(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        roles = [_role(workspace, "a"), _role(Workspace(dict(workspace.projects)), "b"), _role(None, "none")]
        filled = _count_fills(monkeypatch)
        DirWorkspaceMixin().build_workspaces(roles, {"job_dir": str(tmp_path / "job")})
        assert [role.image for role in roles] == [str(tmp_path / "job")] * 2 + ["base:1"]
        assert len(filled) == 1

    def test_roles_with_different_workspaces_get_one_each(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = workspaces.write(tmp_path / "other", {"serve.py": "pass\n"})
        roles = [_role(workspace, "trainer"), _role(other, "server"), _role(workspace, "evaluator")]
        filled = _count_fills(monkeypatch)
        DirWorkspaceMixin().build_workspaces(roles, {"job_dir": str(tmp_path / "job")})
        assert [role.image for role in roles] == [str(tmp_path / "job" / role.name) for role in roles]
        assert len(filled) == 3
        for role in roles:
            assert role.workspace
            assert role.env["WORKSPACE_DIR"] == role.image
            assert _held(role.image) == _wanted(role.workspace)

    def test_the_same_again_works_and_another_snapshot_is_a_conflict(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        mixin, cfg = DirWorkspaceMixin(), {"job_dir": str(tmp_path / "job")}
        mixin.build_workspaces([_role(workspace)], cfg)
        mixin.build_workspaces([_role(workspace)], cfg)
        workspaces.edit(workspace, "train.py")
        with pytest.raises(JobDirConflict, match="another snapshot"):
            mixin.build_workspaces([_role(workspace)], cfg)

    def test_a_file_that_changes_while_it_is_copied_is_read_again(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _meddle(monkeypatch, 1, lambda: workspaces.edit(workspace, "train.py", new=b"changed"))
        DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "job")})
        assert (tmp_path / "job/train.py").read_bytes() == b"changed"
        assert _held(tmp_path / "job") == _wanted(workspace)

    def test_a_file_that_never_rests_leaves_nothing(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers = iter(range(99))
        _meddle(monkeypatch, 99, lambda: workspaces.edit(workspace, "train.py", new=b"%d" % next(numbers)))
        with pytest.raises(WorkspaceChanged, match=r"train\.py"):
            DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "job")})
        assert os.listdir(tmp_path) == ["w"]

    def test_any_file_system_can_be_the_source(self, tmp_path: Path) -> None:
        memory = MemoryFileSystem()
        memory.pipe_file("/code/train.py", b"pass\n")
        memory.pipe_file("/code/skip.log", b"")
        memory.pipe_file("/code/.torchxignore", b"*.log\n")
        role = _role(Workspace({"memory://code": ""}))
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": str(tmp_path / "job")})
        memory.rm("/code", recursive=True)
        assert _held(role.image).keys() == {b"train.py", b".torchxignore"}

    def test_projects_and_their_rules_come_together(self, tmp_path: Path) -> None:
        workspaces.write(tmp_path / "app", {"train.py": "", "x.log": "", ".torchxignore": "*.log\n"})
        workspaces.write(tmp_path / "lib", {"lib.py": "", "x.log": "", ".torchxignore": ""})
        role = _role(Workspace({str(tmp_path / "app"): "", str(tmp_path / "lib"): "third/party"}))
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": str(tmp_path / "job")})
        files = {path for path, seen in _held(role.image).items() if seen.kind == "file" and b"ignore" not in path}
        assert files == {b"train.py", b"third/party/lib.py", b"third/party/x.log"}

    def test_a_home_directory_is_spelled_out(self, workspace: Workspace, home: Path) -> None:
        role = _role(workspace)
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": "~/jobs/1"})
        assert role.image == str(home / "jobs/1")

    def test_exact_modes_keep_permission_bits(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "w/train.py").chmod(0o640)
        role = _role(workspace)
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": str(tmp_path / "job"), "modes": "exact"})
        assert (tmp_path / "job/train.py").stat().st_mode & 0o7777 == 0o640

    def test_hard_links_share_unchanged_files_with_the_last_job_directory(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        for name in ("one", "two"):
            DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / name), "link": "hard"})
        assert (tmp_path / "one/train.py").samefile(tmp_path / "two/train.py")
        assert not (tmp_path / "w/train.py").samefile(tmp_path / "two/train.py")


class TestTheRolesEnvironment:
    """What the role's environment becomes."""

    def _env(self, workspace: Workspace, tmp_path: Path, cfg: Any = None, **env: str) -> dict[str, str]:
        role = _role(workspace, env=env)
        DirWorkspaceMixin().build_workspaces([role], {"job_dir": str(tmp_path / "job"), **(cfg or {})})
        return role.env

    def test_the_code_comes_before_the_roles_own_path(self, workspace: Workspace, tmp_path: Path) -> None:
        job = tmp_path / "job"
        assert self._env(workspace, tmp_path, PYTHONPATH="/mine")["PYTHONPATH"] == f"{job}:{job}/src:/mine"

    def test_src_is_on_the_path_only_if_it_exists(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "flat", {"a.py": "", "src.py": ""})
        assert self._env(workspace, tmp_path)["PYTHONPATH"] == str(tmp_path / "job")

    def test_src_that_is_a_package_is_not_on_the_path(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "package", {"src/__init__.py": "", "src/types.py": ""})
        assert self._env(workspace, tmp_path)["PYTHONPATH"] == str(tmp_path / "job")

    def test_a_colon_in_the_directory_does_not_split_the_path(self, workspace: Workspace, tmp_path: Path) -> None:
        job = tmp_path / "12:30"
        with recorded_notices() as notices:
            env = self._env(workspace, tmp_path, {"job_dir": str(job)}, PYTHONPATH="/mine")
        assert env == {"PYTHONPATH": "/mine", "WORKSPACE_DIR": str(job)}
        assert f"the code is not on PYTHONPATH: its directory {job} has a colon" in "".join(notices)

    def test_it_can_be_left_alone(self, workspace: Workspace, tmp_path: Path) -> None:
        env = self._env(workspace, tmp_path, {"pythonpath": False}, PYTHONPATH="/mine")
        assert env == {"PYTHONPATH": "/mine", "WORKSPACE_DIR": str(tmp_path / "job")}

    def test_the_roles_own_workspace_dir_stays(self, workspace: Workspace, tmp_path: Path) -> None:
        assert self._env(workspace, tmp_path, WORKSPACE_DIR="/mine")["WORKSPACE_DIR"] == "/mine"


class TestIgnoreFiles:
    """``.torchxignore`` alone counts, as the specification says."""

    @pytest.mark.parametrize("plan", [False, True])
    def test_a_dockerignore_is_not_read_and_a_notice_says_so(self, tmp_path: Path, plan: bool) -> None:
        workspace = workspaces.write(
            tmp_path / "w", {"cfg.yaml": "", ".dockerignore": "*.yaml\n", ".torchxignore": "*\n!*.yaml\n"}
        )
        role, cfg = _role(workspace), {"job_dir": str(tmp_path / "job")}
        with recorded_notices() as notices:
            if plan:
                plans = DirWorkspaceMixin().plan_workspaces([role], cfg)
                assert plans is not None
                plans.carry_out()
            else:
                DirWorkspaceMixin().build_workspaces([role], cfg)
        assert _held(tmp_path / "job").keys() == {b"cfg.yaml"}
        (text,) = [text for text in notices if ".dockerignore" in text]
        assert text.startswith(f"{tmp_path / 'w'}/.dockerignore is not read for a job directory")

    def test_a_temporary_copy_says_it_too(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"cfg.yaml": "", ".dockerignore": "*.yaml\n"})
        role = _role(workspace)
        with recorded_notices() as notices:
            TmpDirWorkspaceMixin().build_workspaces([role], {})
        assert (Path(role.image) / "cfg.yaml").exists()
        assert ".dockerignore is not read" in "".join(notices)
        shutil.rmtree(Path(role.image).parent)


class TestPlanning:
    """First the names, then the copies."""

    def test_a_plan_makes_nothing_and_carrying_it_out_does(self, workspace: Workspace, tmp_path: Path) -> None:
        role, job = _role(workspace), str(tmp_path / "jobs/1")
        plan = DirWorkspaceMixin().plan_workspaces([role], {"job_dir": job})
        assert plan is not None
        assert os.listdir(tmp_path) == ["w"]
        assert role.image == role.env["WORKSPACE_DIR"] == job
        assert plan.lines() == [f"{job}: 5 entries, 11 bytes of {tmp_path / 'w'}"]
        plan.carry_out()
        assert _held(job) == _wanted(workspace)

    def test_different_workspaces_are_planned_apart(self, workspace: Workspace, tmp_path: Path) -> None:
        other = workspaces.write(tmp_path / "other", {"serve.py": "pass\n"})
        roles = [_role(workspace, "a"), _role(other, "b")]
        plan = DirWorkspaceMixin().plan_workspaces(roles, {"job_dir": str(tmp_path / "job")})
        assert plan is not None
        plan.carry_out()
        for role in roles:
            assert role.workspace
            assert _held(role.image) == _wanted(role.workspace)

    @pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("changed\n")])
    def test_what_changed_since_is_not_copied(
        self, workspace: Workspace, tmp_path: Path, change: Callable[[Path], Any]
    ) -> None:
        plan = DirWorkspaceMixin().plan_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "job")})
        assert plan is not None
        change(tmp_path / "w/train.py")
        with pytest.raises(WorkspaceChanged, match=r"train\.py"):
            plan.carry_out()
        assert os.listdir(tmp_path) == ["w"]

    def test_a_conflict_is_an_error_before_anything_is_copied(self, workspace: Workspace, tmp_path: Path) -> None:
        workspaces.write(tmp_path / "job", {"mine": ""})
        with pytest.raises(JobDirConflict, match="other files"):
            DirWorkspaceMixin().plan_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "job")})


class TestAJobDirectoryInTheWorkspace:
    """The natural layout."""

    def test_it_does_not_hold_itself_nor_earlier_ones(
        self, workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        mixin, jobs = DirWorkspaceMixin(), tmp_path / "w/jobs"
        wanted = _wanted(workspace)
        for name in ("1", "2", "3"):
            mixin.build_workspaces([_role(workspace)], {"job_dir": str(jobs / name)})
            assert _held(jobs / name) == wanted
            workspaces.write(jobs / name, {"checkpoint": "large"})
        assert "jobs/2 is a job directory: left out" in caplog.text

    def test_a_repetition_finds_it_done(self, workspace: Workspace, tmp_path: Path) -> None:
        cfg, mixin = {"job_dir": str(tmp_path / "w/jobs/1")}, DirWorkspaceMixin()
        mixin.build_workspaces([_role(workspace)], cfg)
        workspaces.write(tmp_path / "w/jobs/1", {"result": "of the job"})
        mixin.build_workspaces([_role(workspace)], cfg)
        plan = mixin.plan_workspaces([_role(workspace)], cfg)
        assert plan is not None
        plan.carry_out()
        assert (tmp_path / "w/jobs/1/result").exists()

    def test_two_roles_in_a_job_directory_inside_the_workspace_can_run_again(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        part = Workspace({str(tmp_path / "w/src"): ""})
        roles, wanted = [_role(workspace, "a"), _role(part, "b")], [_wanted(workspace), _wanted(part)]
        for _ in range(2):
            DirWorkspaceMixin().build_workspaces(roles, {"job_dir": str(tmp_path / "w/job")})
            assert [_held(role.image) for role in roles] == wanted

    def test_the_workspace_itself_is_no_job_directory(self, workspace: Workspace, tmp_path: Path) -> None:
        with pytest.raises(JobDirConflict, match="already holds other files"):
            DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "w")})


class TestBadOptions:
    """Each is one clear error."""

    @pytest.mark.parametrize(("key", "value"), [("link", "soft"), ("modes", "644")])
    def test_a_value_that_is_no_choice(self, workspace: Workspace, tmp_path: Path, key: str, value: str) -> None:
        with pytest.raises(InvalidRunConfigException, match=f"invalid {key} '{value}'") as raised:
            DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "job"), key: value})
        assert (raised.value.hint or "").startswith("choose ")
        assert not (tmp_path / "job").exists()

    def test_a_place_that_cannot_be_written(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DestinationError, match="cannot fill the job directory"):
            DirWorkspaceMixin().build_workspaces([_role(workspace)], {"job_dir": str(tmp_path / "file/job")})

    def test_the_options_and_their_defaults(self) -> None:
        assert {name: option.default for name, option in DirWorkspaceMixin().workspace_opts()} == {
            "job_dir": None,
            "link": "copy",
            "modes": "portable",
            "pythonpath": True,
        }


class TestTmpDirWorkspaceMixin:
    """Copies into temporary directories."""

    @pytest.fixture(autouse=True)
    def temporary(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        return tmp_path / "tmp"

    def test_every_call_makes_a_fresh_copy(self, workspace: Workspace, temporary: Path) -> None:
        mixin = TmpDirWorkspaceMixin()
        roles = [_role(workspace, "a"), _role(workspace, "b"), _role(None, "none")]
        mixin.build_workspaces(roles, {})
        assert roles[0].image == roles[1].image
        assert roles[2].image == "base:1"
        assert _held(roles[0].image) == _wanted(workspace)
        mixin.build_workspaces(roles[1:2], {})
        assert roles[1].image != roles[0].image
        assert all(Path(role.image).is_relative_to(temporary) for role in roles[:2])
        assert len(mixin.workspace_opts()) == 0

    def test_the_deprecated_hook_does_the_same(self, workspace: Workspace, tmp_path: Path) -> None:
        role = _role(None)
        TmpDirWorkspaceMixin().build_workspace_and_update_role(role, str(tmp_path / "w"), {})
        assert _held(role.image) == _wanted(workspace)

    def test_a_failure_leaves_nothing(
        self, workspace: Workspace, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(file_maker, "copy_file", fail)
        with pytest.raises(DestinationError, match="No space left"):
            TmpDirWorkspaceMixin().build_workspaces([_role(workspace)], {})
        assert os.listdir(temporary) == []


def _count_fills(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    filled: list[str] = []
    fill = directory._fill

    def counted(root: str, *args: Any) -> None:
        filled.append(root)
        fill(root, *args)

    monkeypatch.setattr(directory, "_fill", counted)
    return filled


def _meddle(monkeypatch: pytest.MonkeyPatch, times: int, change: Callable[[], None]) -> None:
    """Let *change* happen between scan and copy, so many *times*."""
    fill, left = directory._fill, iter(range(times))

    def meddled(*args: Any) -> None:
        if next(left, None) is not None:
            change()
        fill(*args)

    monkeypatch.setattr(directory, "_fill", meddled)
