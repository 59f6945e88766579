from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli, Done
from topcoat.errors import SchedulerError
from topcoat.specs.default_image import DEFAULT_IMAGE

PY = sys.executable
COMPONENT = """
from topcoat.specs import AppDef, Role, Workspace

def job(*args: str, lib: str = "") -> AppDef:
    '''Run cat.

    Args:
        args: files
        lib: a workspace of its own
    '''
    workspace = Workspace({lib: ""}) if lib else None
    return AppDef("job", [Role("cat", "", entrypoint="cat", args=list(args), workspace=workspace)])

def two() -> AppDef:
    return AppDef("two", [Role(name, "", entrypoint="echo", args=[name]) for name in ("first", "second")])
"""


@pytest.fixture
def jobs(workspace: Path) -> str:
    """The path of a file with components, in the workspace."""
    (workspace / "jobs.py").write_text(COMPONENT)
    return "jobs.py"


def test_a_command_runs_with_the_code_of_the_current_directory(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--", PY, "train.py")
    assert done.code == 0
    assert done.out.startswith("local://topcoat/train-")
    assert done.logs == ["trained"]
    plan = next(line for line in done.err.splitlines() if "entries" in line)
    job_dir = plan.removeprefix("topcoat: ").partition(": ")[0]
    assert {path.name for path in Path(job_dir).iterdir()} - {".topcoat.json"} == {".torchxignore", "pkg", "train.py"}


def test_an_edit_reaches_the_next_run(cli: Cli, workspace: Path) -> None:
    for text in ("before", "after!"):
        (workspace / "train.py").write_text(f"print({text!r})\n")
        assert cli("run", "--", PY, "train.py").logs[-1] == text


def test_lines_of_several_replicas_have_a_prefix(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--name", "w", "--num-replicas", "2", "--", "sh", "-c", "echo $TOPCOAT_REPLICA_ID")
    assert sorted(done.logs) == ["w/0 0", "w/1 1"]


def test_json_is_one_object_with_the_outcome(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--json", "--", "true")
    assert done.code == 0
    assert done.json["handle"] == f"local://topcoat/{done.json['app_id']}"
    assert (done.json["scheduler"], done.json["state"]) == ("local", "SUCCEEDED")
    failed = cli("run", "--json", "--", "false")
    assert failed.code == 1
    assert failed.json["state"] == "FAILED"
    detached = cli("run", "--json", "--detach", "--", "true")
    assert set(detached.json) >= {"handle", "scheduler", "app_id", "state", "ui_url"}
    assert detached.json["state"] in ("SUBMITTED", "PENDING", "RUNNING", "SUCCEEDED")


@pytest.mark.parametrize("answer", ["none", "an error"])
def test_the_handle_of_a_submitted_job_is_printed_even_if_the_status_request_fails(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    def status(self: object, handle: str) -> None:
        if answer == "an error":
            raise SchedulerError("it does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("topcoat.runner.api.Runner.status", status)
        detached = cli("run", "--json", "--detach", "--", "true")
    assert (detached.code, detached.json["state"], detached.json["ui_url"]) == (0, None, None)
    assert cli("status", detached.json["handle"]).code == 0


def test_a_dry_run_prints_the_plan_and_the_request_and_leaves_nothing(cli: Cli, workspace: Path, home: Path) -> None:
    done = cli("run", "--dryrun", "--env", "A=1", "--", PY, "train.py")
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if "===" in line] == [
        "# === APPLICATION ===",
        "# === WORKSPACES ===",
        "# === SCHEDULER REQUEST ===",
    ]
    assert "entries" in done.out
    assert "#     A: '1'" in done.out
    params = yaml.safe_load(done.out)["role_params"]["train"]
    assert params[0]["args"][1:] == ["train.py"]
    as_json = cli("run", "--dry-run", "--json", "--", PY, "train.py").json
    assert as_json["app"]["roles"][0]["entrypoint"] == PY
    assert (as_json["scheduler"], as_json["cfg"]["prepend_cwd"]) == ("local", False)
    assert as_json["request"]["role_params"]
    assert len(as_json["workspaces"]) == 1
    assert not (home / ".local" / "state").exists()


def test_a_component_runs_by_name(cli: Cli, workspace: Path) -> None:
    done = cli("run", "utils.echo", "--msg", "hello from here")
    assert done.code == 0
    assert done.logs[-1] == "hello from here"


def test_a_component_runs_from_a_file(cli: Cli, jobs: str) -> None:
    assert cli("run", f"{jobs}:job", "--", "train.py").logs[-1] == "print('trained')"
    assert sorted(cli("run", f"{jobs}:two").logs) == ["first/0  first", "second/0 second"]


def test_help_after_the_name_of_a_component_is_the_components_help(cli: Cli, jobs: str) -> None:
    done = cli("run", f"{jobs}:job", "--help")
    assert done.code == 0
    assert "a workspace of its own" in done.out
    assert cli("run", "--", "printf", "%s", "--help").logs[-1] == "--help"


def test_the_dashes_end_a_components_flags(cli: Cli, workspace: Path) -> None:
    done = cli("run", "utils.sh", "--", "echo", "--help")
    assert done.code == 0
    assert done.logs[-1] == "--help"


def test_a_roles_own_workspace_overrides_the_current_directory(cli: Cli, jobs: str, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "train.py").write_text("of the library\n")
    words = (f"{jobs}:job", "--lib", str(tmp_path / "lib"), "train.py")
    assert cli("run", *words).logs[-1] == "of the library"
    assert cli("run", "--workspace", ".", *words).logs[-1] == "print('trained')"
    assert cli("run", "--workspace", "", *words).logs == ["print('trained')"]


def test_no_workspace_runs_in_place(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--workspace", "", "--", "cat", "notes.txt")
    assert (done.code, done.logs) == (0, ["left out"])
    done = cli("run", "-s", "local_cwd", "--", "cat", "notes.txt")
    assert (done.code, done.logs) == (0, ["left out"])
    done = cli("run", "--", "cat", "notes.txt")
    assert done.code == 1


def test_a_workspace_can_be_several_directories(cli: Cli, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.txt").write_text("of the library\n")
    done = cli("run", "--workspace", f"{{{workspace}: , {tmp_path / 'lib'}: deps}}", "--", "cat", "deps/a.txt")
    assert done.logs[-1] == "of the library"


def test_a_scheduler_that_takes_no_workspace_refuses_one(cli: Cli, workspace: Path) -> None:
    done = cli("run", "-s", "local_cwd", "--workspace", ".", "--", "true")
    assert done.code == 2
    assert done.error[0].startswith("the scheduler 'local_cwd' cannot use a workspace")


def test_torchx_spellings_of_flags_work(cli: Cli, workspace: Path) -> None:
    words = (
        "--scheduler",
        "local",
        "--scheduler_args",
        "prepend_cwd=True",
        "--buck-target",
        ".",
        "--parent_run_id",
        "p1",
    )
    done = cli("run", *words, "--", "sh", "-c", "echo $TORCHX_PARENT_RUN_ID")
    assert done.logs[-1] == "p1"


def test_a_configuration_file_sets_defaults(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text(
        "[cli:run]\nscheduler = local_cwd\nworkspace = .\ncomponent = utils.echo\nname = named\n"
        "[component:utils.echo]\nmsg = configured\n"
        "[local_cwd]\nlog_dir = logs\nno_such = 1\n"
    )
    done = cli("run")
    assert done.out.startswith("local_cwd://")
    lines = done.err.splitlines()
    assert "configured" in lines
    assert [line for line in lines if "unknown run option 'no_such' of local_cwd" in line]
    assert (workspace / "logs").is_dir()
    assert cli("run", "--msg", "given").code == 2
    assert cli("run", "utils.echo", "--msg", "given").logs[-1] == "given"
    assert cli("run", "-s", "local", "--", "true").out.startswith("local://topcoat/named-")


def test_wait_and_detach_cannot_be_combined(cli: Cli, workspace: Path) -> None:
    done = cli("run", "--detach", "--log", "--", "true")
    assert done.code == 2


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ((), "no component and no command given", "topcoat run -- python train.py"),
        (("--",), "no command after --", "topcoat run -- python train.py"),
        (("-s", "locl", "--", "true"), "unknown scheduler 'locl'", "did you mean local"),
        (("utils.ech",), "unknown component 'utils.ech'", "did you mean utils.echo"),
        (("utils.echo", "--mgs", "x"), "the component echo", "did you mean --msg"),
        (("utils.echo", "--dryrun"), "the component echo", "as a flag of topcoat run, --dryrun goes before utils.echo"),
        (("utils.echo", "-s", "x"), "the component echo", "as a flag of topcoat run, -s goes before utils.echo"),
        (("true",), "unknown component 'true'", "to run it as a command: topcoat run -- true ..."),
        (("no.py:job",), "cannot read the component file no.py", "components are named"),
        (
            ("--cpu", "2", "utils.echo"),
            '--cpu only applies to "topcoat run -- CMD"',
            "topcoat run utils.echo --help",
        ),
        (("-cfg", "log_dirr=x", "--", "true"), "unknown run option 'log_dirr'", "did you mean log_dir"),
        (("-cfg", "prepend_cwd=perhaps", "--", "true"), "the run option 'prepend_cwd' must be a bool", ""),
        (("-cfg", "x", "--", "true"), "invalid run options 'x': expected key=value", "write key=value,key2=value2"),
        (("--num-replicas", "0", "--", "true"), "role 'true' of application 'true' has 0 replicas", "num_replicas is"),
        (("--workspace", "a: b: c", "--", "true"), "invalid workspace 'a: b: c'", "quote"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_message_and_a_hint(
    cli: Cli, workspace: Path, words: tuple[str, ...], message: str, hint: str
) -> None:
    done = cli("run", *words)
    assert (done.code, done.out) == (2, "")
    assert done.error[0].startswith(message)
    assert done.error[1].startswith(hint)


def test_a_python_file_is_not_a_component(cli: Cli, workspace: Path) -> None:
    (workspace / "train.py").write_text("raise SystemExit('imported')\n")
    message, hint = cli("run", "train.py").error
    assert message == "unknown component 'train.py'"
    assert hint == (
        "to run it as a command: topcoat run -- python train.py ...; "
        "to run a component of the file: topcoat run train.py:FUNCTION"
    )


def test_a_file_in_place_of_a_component_is_named_as_a_command(cli: Cli, workspace: Path) -> None:
    (workspace / "go.sh").write_text("echo gone\n")
    assert cli("run", "go.sh").error[1] == "to run it as a command: topcoat run -- sh ./go.sh ..."
    (workspace / "go.sh").chmod(0o755)
    assert cli("run", "go.sh").error[1] == "to run it as a command: topcoat run -- ./go.sh ..."


def test_a_program_that_only_this_machine_finds_is_a_notice(cli: Cli, workspace: Path) -> None:
    (workspace / "go.sh").write_text("#!/bin/sh\necho gone\n")
    (workspace / "go.sh").chmod(0o755)
    done = cli("run", "--", "go.sh")
    assert done.code == 0
    assert "topcoat: a container does not find go.sh on its PATH: write ./go.sh" in done.err.splitlines()
    assert "a container" not in cli("run", "--", "./go.sh").err
    assert "a container" not in cli("run", "--", "true").err


@pytest.mark.parametrize("scheduler", ["local", "local_cwd"])
def test_flags_without_effect_on_a_local_scheduler_are_named(cli: Cli, workspace: Path, scheduler: str) -> None:
    words = ("run", "--dryrun", "-s", scheduler)
    flags = ("--cpu", "1", "--memMB", "9", "--gpu", "1", "--mount", "/a:/b")
    told = f"have no effect on {scheduler}: its jobs are plain processes of this machine"
    assert f"topcoat: --mount, --cpu, --memMB, --gpu {told}" in cli(*words, *flags, "--", "true").err.splitlines()
    shared = cli(*words, "-cfg", "auto_set_cuda_visible_devices=true", *flags, "--", "true").err
    assert f"topcoat: --mount, --cpu, --memMB {told}" in shared.splitlines()
    mounts = ("--mounts", "type=bind,src=/a,dst=/b")
    assert f"topcoat: mounts {told}" in cli(*words, "utils.sh", *mounts, "true").err.splitlines()
    assert "no effect" not in cli(*words, "utils.sh", "--cpu", "1", "true").err
    assert "no effect" not in cli(*words, "--", "true").err
    (workspace / ".torchxconfig").write_text("[cli:run]\ncpu = 4\n")
    assert "no effect" not in cli(*words, "--", "true").err


def test_the_configured_image_is_that_of_commands_and_components(cli: Cli, workspace: Path) -> None:
    def image(*words: str) -> str:
        app = cli("run", "--dryrun", "--json", "-s", "local_cwd", *words).json["app"]
        shown: str = app["roles"][0]["image"]
        return shown

    commands = [("--", "true"), ("utils.sh", "true"), ("utils.binary", "--entrypoint", "true")]
    assert {image(*words) for words in commands} == {DEFAULT_IMAGE}
    (workspace / ".torchxconfig").write_text("[cli:run]\nimage = team/base:1\n[component:utils.echo]\nimage = x:2\n")
    assert {image(*words) for words in commands} == {"team/base:1"}
    assert image("utils.echo") == "x:2"
    assert image("utils.sh", "--image", "mine:3", "true") == "mine:3"


def test_the_default_image_is_announced_where_it_is_used(cli: Cli, workspace: Path) -> None:
    words = ("run", "--dryrun", "--workspace", "")
    told = f"topcoat: no image given: using {DEFAULT_IMAGE}; choose one with --image"
    assert cli(*words, "-s", "local_docker", "--", "true").err.startswith(told)
    assert cli(*words, "-s", "local_docker", "utils.echo").err.startswith(told)
    assert cli(*words, "-s", "local_docker", "--image", "mine:1", "--", "true").err == ""
    assert cli(*words, "-s", "local", "--", "true").err == ""


def test_tee_logs_prefixes_the_lines_of_one_replica(cli: Cli, workspace: Path) -> None:
    assert cli("run", "--tee_logs", "utils.echo", "--msg", "hi").logs[-1] == "echo/0 hi"


def test_arguments_are_read_from_stdin(cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(fields: object, *flags: str) -> Done:
        text = fields if isinstance(fields, str) else json.dumps(fields)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return cli("run", "--stdin", *flags)

    fields = {"component_name": "utils.echo", "scheduler": "local_cwd", "scheduler_args": {"prepend_cwd": True}}
    info = run({**fields, "component_args": {"msg": "hi"}}, "--dryrun", "--json").json
    assert (info["scheduler"], info["cfg"]["prepend_cwd"]) == ("local_cwd", True)
    assert info["app"]["roles"][0]["args"] == ["hi"]
    assert run({**fields, "component_args_str": ["--msg", "hello"], "tee_logs": True}).logs == ["echo/0 hello"]
    for bad, message in (
        ("{", "invalid JSON on stdin"),
        ([], "must be a JSON object, not a list"),
        ({"scheduler": "local"}, "missing on stdin: component_name, scheduler_args"),
        ({**fields, "nope": 1}, "unknown field 'nope'"),
        ({**fields, "wait": "yes"}, "the field 'wait' on stdin must be a bool, not 'yes'"),
        ({**fields, "scheduler_args": {"prepend": 1}}, "unknown run option 'prepend'"),
    ):
        done = run(bad)
        assert (done.code, message in done.err) == (2, True), done.err
    refused = run(fields, "--wait", "utils.echo")
    assert "--stdin cannot be combined with --wait, a component or command" in refused.err


def test_the_log_level_is_set_before_the_command(cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[object] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **given: levels.append(given["level"]))
    assert cli("--log_level", "info", "run", "--dryrun", "--", "true").code == 0
    assert levels == ["INFO"]
    assert "invalid --log-level 'LOUD'" in cli("--log-level=LOUD", "list").err
