from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.support import workspaces
from tests.support.notices import recorded_notices
from topcoat.cli.main import main
from topcoat.errors import JobDirConflict
from topcoat.runner import Runner
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.scheduler import SnapshotScheduler, create_scheduler
from topcoat.specs import AppDef, AppState, CfgVal, Role, Workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "pkg").mkdir(parents=True)
    (directory / ".torchxignore").write_text("data\n")
    (directory / "data").write_text("big")
    (directory / "train.sh").write_text("echo first version\n")
    return directory


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.chdir(tmp_path)
    return Runner("s", {"local": create_scheduler})


def app(script: str, **role: object) -> AppDef:
    return AppDef("exp", [Role("w", "base", entrypoint="sh", args=["-c", script], **role)])  # type: ignore[arg-type]


def output(runner: Runner, handle: str, role: str = "w") -> str:
    status = runner.wait(handle)
    assert status is not None
    assert status.state is AppState.SUCCEEDED, status
    return "".join(runner.log_lines(handle, role))


def test_it_is_the_scheduler_local_and_takes_a_job_dir() -> None:
    scheduler = create_scheduler("s")
    assert isinstance(scheduler, SnapshotScheduler)
    assert scheduler.uses_workspace
    assert {"log_dir", "prepend_cwd", "auto_set_cuda_visible_devices", "job_dir"} <= {
        key for key, _ in scheduler.run_opts()
    }


def test_a_job_runs_on_a_snapshot(runner: Runner, project: Path) -> None:
    script = "while ! [ -e ../go ]; do sleep 0.02; done; pwd; sh train.sh; ls"
    handle = runner.run(app(script), "local", workspace=str(project))
    app_id = handle.rpartition("/")[2]
    (project / "train.sh").write_text("echo second version\n")
    (local_jobs.directory(app_id) / "go").touch()
    code = local_jobs.directory(app_id) / "code"
    assert output(runner, handle) == f"{code}\nfirst version\npkg\ntrain.sh\n"


def test_a_dry_run_names_the_directory_and_copies_nothing(runner: Runner, project: Path) -> None:
    info = runner.dryrun(app("true"), "local", workspace=str(project))
    directory = local_jobs.directory(info.request.app_id)
    assert info.request.role_params["w"][0].cwd == str(directory / "code")
    assert str(directory / "code") in info._workspace_plan.lines()[0]
    assert not directory.exists()


def test_the_request_of_a_dry_run_can_be_submitted(runner: Runner, project: Path) -> None:
    info = runner.dryrun(app("cat train.sh"), "local", workspace=str(project))
    assert output(runner, runner.schedule(info)) == "echo first version\n"


def test_the_options_of_one_run_can_be_used_for_the_next(runner: Runner, project: Path) -> None:
    info = runner.dryrun(app("cat train.sh"), "local", workspace=str(project))
    output(runner, runner.schedule(info))
    assert info.app is not None
    (project / "train.sh").write_text("changed")
    again = runner.run(info.app, "local", dict(info.cfg), workspace=str(project))
    assert output(runner, again) == "changed"


def test_a_given_job_dir_is_used_and_kept(runner: Runner, project: Path, tmp_path: Path) -> None:
    cfg: dict[str, CfgVal] = {"job_dir": str(tmp_path / "mine")}
    assert output(runner, runner.run(app("pwd"), "local", cfg, workspace=str(project))) == f"{tmp_path / 'mine'}\n"
    assert output(runner, runner.run(app("pwd"), "local", cfg, workspace=str(project))) == f"{tmp_path / 'mine'}\n"
    (project / "train.sh").write_text("other")
    with pytest.raises(JobDirConflict):
        runner.run(app("pwd"), "local", cfg, workspace=str(project))


def test_roles_with_different_workspaces_run_in_different_directories(runner: Runner, tmp_path: Path) -> None:
    roles = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
        (tmp_path / name / ".torchxignore").touch()
        roles.append(
            Role(name, "base", entrypoint="cat", args=["who"], workspace=Workspace({str(tmp_path / name): ""}))
        )
    handle = runner.run(AppDef("two", roles), "local")
    assert output(runner, handle, "a") == "a"
    assert output(runner, handle, "b") == "b"


def test_without_a_workspace_a_job_runs_in_place(runner: Runner, tmp_path: Path) -> None:
    assert output(runner, runner.run(app("pwd"), "local")) == f"{tmp_path}\n"


def test_an_image_that_is_a_directory_is_where_the_job_runs(runner: Runner, project: Path) -> None:
    made = app("pwd")
    made.roles[0] = Role("w", str(project), entrypoint="pwd")
    assert output(runner, runner.run(made, "local")) == f"{project}\n"


def test_the_code_is_importable_and_named(runner: Runner, project: Path) -> None:
    (project / "src").mkdir()
    script = 'echo "$$WORKSPACE_DIR"; echo "$$PYTHONPATH"'
    lines = output(runner, runner.run(app(script), "local", workspace=str(project))).splitlines()
    directory = lines[0]
    assert directory.endswith("/code")
    assert lines[1].split(":")[:2] == [directory, f"{directory}/src"]


def test_submitting_at_once_takes_a_snapshot_too(project: Path) -> None:
    scheduler = create_scheduler("s")
    app_id = scheduler.submit(app("cat train.sh"), {}, workspace=str(project))
    while (found := scheduler.describe(app_id)) and found.state is AppState.RUNNING:
        time.sleep(0.01)
    assert list(scheduler.log_iter(app_id, "w")) == ["echo first version\n"]
    assert os.path.isdir(local_jobs.directory(app_id) / "code")


def test_deleting_a_job_deletes_its_snapshot(runner: Runner, project: Path) -> None:
    handle = runner.run(app("true"), "local", workspace=str(project))
    directory = local_jobs.directory(handle.rpartition("/")[2])
    assert (directory / "code" / "train.sh").exists()
    runner.delete(handle)
    assert not directory.exists()


def test_the_ignore_rules_are_those_of_images_and_ls_prints_what_is_copied(
    runner: Runner, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / ".dockerignore").write_text("cfg.yaml\ndata\n")
    (project / ".torchxignore").write_text("!data\n")
    (project / "cfg.yaml").touch()
    earlier = runner.run(app("true"), "local", {"job_dir": str(project / "jobs/1")}, workspace=str(project))
    output(runner, earlier)
    handle = runner.run(app("true"), "local", workspace=str(project))
    output(runner, handle)
    code = local_jobs.directory(handle.rpartition("/")[2]) / "code"
    copied = {str(path.relative_to(code)) + "/" * path.is_dir() for path in code.rglob("*")} - {".topcoat.json"}
    assert copied == {".dockerignore", ".torchxignore", "data", "pkg/", "train.sh"}

    monkeypatch.chdir(project)
    for flags in ([], ["--image-rules"], ["--directory-rules"]):
        capfd.readouterr()
        assert main(["ls", *flags]) == 0
        printed = set(capfd.readouterr().out.splitlines())
        assert printed == (copied | {"cfg.yaml"} if flags == ["--directory-rules"] else copied)


def test_the_order_of_pythonpath_is_code_then_env_then_the_shells(
    runner: Runner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/shell")
    job = app("echo $$WORKSPACE_DIR; echo $$PYTHONPATH", env={"PYTHONPATH": "/mine"})
    directory, path = output(runner, runner.run(job, "local", workspace=str(project))).splitlines()
    assert path == f"{directory}:/mine:/shell"


def test_a_colon_in_the_directory_of_the_job_splits_neither_path(
    runner: Runner, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/shell")
    cfg: dict[str, CfgVal] = {"job_dir": str(tmp_path / "12:30")}
    handle = runner.run(app("pwd; echo $$PYTHONPATH; echo $$PATH"), "local", cfg, workspace=str(project))
    directory, pythonpath, path = output(runner, handle).splitlines()
    assert (directory, pythonpath) == (str(tmp_path / "12:30"), "/shell")
    assert "30" not in path.split(":")


@pytest.mark.parametrize("kind", ["dist-info", "egg-link"])
@pytest.mark.parametrize("layout", ["", "src/"])
def test_an_editable_install_of_the_workspace_is_named_if_rules_leave_out_its_modules(
    runner: Runner, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, kind: str
) -> None:
    site = tmp_path / "site"
    direct_url = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    installs = {
        "dist-info": {"my_package-1.0.dist-info/direct_url.json": direct_url},
        "egg-link": {"my_package.egg-link": f"{project}\n.\n"},
    }
    workspaces.write(
        site,
        {
            **installs[kind],
            "other-1.0.dist-info/direct_url.json": json.dumps(
                {"url": tmp_path.as_uri() + "/other", "dir_info": {"editable": True}}
            ),
            "wheel-1.0.dist-info/direct_url.json": json.dumps({"url": project.as_uri(), "dir_info": {}}),
        },
    )
    monkeypatch.setattr(sys, "path", [str(site)])
    workspaces.write(project, {f"{layout}mine/__init__.py": "", f"{layout}mine/secret.py": "", "setup.py": ""})
    with recorded_notices() as notices:
        runner.dryrun(app("true"), "local", workspace=str(project))
    assert not [text for text in notices if "editable" in text]
    (project / ".torchxignore").write_text("**/secret.py\nsetup.py\n")
    with recorded_notices() as notices:
        runner.dryrun(app("true"), "local", workspace=str(project))
    (text,) = [text for text in notices if "editable" in text]
    assert text.startswith(f"the package my_package is installed in editable mode from {project}: ")
    assert f"such as {layout}mine/secret.py" in text


def test_editable_installs_of_the_python_on_path_are_found(
    runner: Runner, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct_url = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    metadata = "lib/python3.11/site-packages/mine-1.0.dist-info/direct_url.json"
    workspaces.write(tmp_path / "venv", {"bin/python3": "", metadata: direct_url})
    monkeypatch.setenv("PATH", str(tmp_path / "venv/bin"), prepend=os.pathsep)
    workspaces.write(project, {"mine.py": "", ".dockerignore": "mine.py\n"})
    with recorded_notices() as notices:
        runner.dryrun(app("true"), "local", workspace=str(project))
    assert "the package mine is installed in editable mode" in "".join(notices)
