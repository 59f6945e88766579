"""Wrong input, at the command line and at the Runner: what went wrong, where, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.remote import role
from topcoat.cli.main import main
from topcoat.errors import (
    InvalidApp,
    InvalidComponent,
    InvalidRunConfigException,
    InvalidWorkspace,
    TopcoatError,
    UnknownComponent,
    UnknownScheduler,
    WorkspaceNotFound,
)
from topcoat.runner import get_runner
from topcoat.specs import AppDef, Workspace, macros, runopts

COMPONENTS = '''\
import torchx.specs as specs

def raises(lr: float = 0.1) -> specs.AppDef:
    """Fail.

    Args:
        lr: rate
    """
    raise ValueError(f"no data for lr={lr}")

def returns_none() -> specs.AppDef:
    """Forget to return."""

def misplaced() -> specs.AppDef:
    """Put a macro where nothing fills it in."""
    return specs.AppDef("a", [specs.Role("r", f"app:{specs.macros.app_id}", entrypoint="sh")])
'''


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a component file and code."""
    (tmp_path / "jobs.py").write_text(COMPONENTS)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/.torchxignore").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND_LINE = [
    pytest.param(
        ["-s", "local_docker", "-cfg", "privileged=maybe", "--", "true"],
        "the run option 'privileged' must be a bool: 'maybe' is neither true/1/yes/on nor false/0/no/off",
        "",
        id="an option of the wrong type",
    ),
    pytest.param(
        ["-s", "local_docker", "-cfg", "image_rep=x", "--", "true"],
        "unknown run option 'image_rep'",
        "did you mean image_repo",
        id="an unknown option",
    ),
    pytest.param(
        ["-s", "local_docker", "-cfg", "privileged", "--", "true"],
        "invalid run options 'privileged': expected key=value",
        "write key=value,key2=value2",
        id="an option without a value",
    ),
    pytest.param(
        ["-s", "local_doker", "--", "true"],
        "unknown scheduler 'local_doker'",
        "did you mean local_docker",
        id="an unknown scheduler",
    ),
    pytest.param(["utils.ech"], "unknown component 'utils.ech'", "did you mean utils.echo", id="a component"),
    pytest.param(
        ["jobs.py:raise"], "jobs.py has no function 'raise'", "did you mean raises?", id="a function of a file"
    ),
    pytest.param(["job.py:raises"], "cannot read the component file job.py", "topcoat builtins", id="a missing file"),
    pytest.param(
        ["utils.echo", "--mesage", "hi"],
        ") has no parameter --mesage",
        "--msg",
        id="an unknown parameter",
    ),
    pytest.param(
        ["utils.echo", "--num_replicas", "two"],
        "must be a int: 'two' is not an integer",
        "",
        id="a parameter of the wrong type",
    ),
    pytest.param(
        ["jobs.py:raises", "--lr", "0.5"],
        "jobs.py:3) raised ValueError: no data for lr=0.5 (",
        "",
        id="a component that raises",
    ),
    pytest.param(["jobs.py:returns_none"], "NoneType", "", id="a component that returns nothing"),
    pytest.param(
        ["-s", "local_cwd", "jobs.py:misplaced"],
        "the macro ${app_id} in the image of role 'r' is not substituted: 'app:${app_id}'",
        "macros work in args, in the values of env and in metadata",
        id="a macro in the image",
    ),
    pytest.param(
        ["--env", "${replica_id}=x", "--", "true"],
        "the macro ${replica_id} in the env names of role 'true' is not substituted",
        "macros work in",
        id="a macro in a variable's name",
    ),
    pytest.param(
        ["--workspace", "[code, code2]", "--", "true"],
        "invalid workspace '[code, code2]': expected a path or a mapping, not a list",
        "quote a path",
        id="a workspace that is a list",
    ),
    pytest.param(
        ["--workspace", "code: a: b", "--", "true"],
        "invalid workspace 'code: a: b': neither a path nor a YAML mapping",
        "quote a path",
        id="a workspace that is neither",
    ),
    pytest.param(
        ["--workspace", "{code: {a: b}}", "--", "true"],
        "invalid workspace '{code: {a: b}}': expected a path, not a mapping",
        "quote a path",
        id="a mapping in a mapping",
    ),
    pytest.param(
        ["--workspace", "{code: /abs}", "--", "true"],
        "invalid target '/abs' of 'code': it leaves the workspace's root",
        "workspace_dir",
        id="an absolute target",
    ),
    pytest.param(
        ["--workspace", "{code: ../up}", "--", "true"],
        "invalid target '../up' of 'code': it leaves the workspace's root",
        "without '..'",
        id="a target that climbs",
    ),
    pytest.param(
        ["-s", "local_cwd", "--workspace", "code", "--", "true"],
        "the scheduler 'local_cwd' cannot use a workspace",
        "--workspace ''",
        id="a scheduler without workspaces",
    ),
]


@pytest.mark.parametrize(("words", "message", "hint"), COMMAND_LINE)
def test_the_command_line_says_what_is_wrong_and_exits_2(
    words: list[str], message: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert hint in err
    assert "Traceback" not in err
    assert "unexpected" not in err


@pytest.mark.parametrize("path", ["123", "yes", "null", "@x", "*x", "%x", "2024-01-01", "a #b", "a'b"])
def test_a_path_that_yaml_would_misread_is_that_path(
    path: str, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--workspace", path, "--", "cat", "here.txt"]
    assert main(command) == 1, "it is not there"
    assert f"workspace {directory / path} does not exist" in capfd.readouterr().err

    (directory / path).mkdir()
    (directory / path / ".torchxignore").write_text("")
    (directory / path / "here.txt").write_text(f"in {path}\n")
    assert main(command) == 0
    assert f"in {path}\n" in capfd.readouterr().err


def test_an_existing_path_with_a_colon_is_that_path(directory: Path) -> None:
    odd = directory / "my: code"
    odd.mkdir()
    assert Workspace.from_str(str(odd)) == Workspace({str(odd): ""})


RUNNER = [
    ("local_docker", {"privileged": "yes"}, InvalidRunConfigException, "'privileged' must be a bool, not 'yes'"),
    ("local_docker", {"env": {"A": 1}}, InvalidRunConfigException, r"'env' must be a dict\[str, str\]"),
    ("local_doker", {}, UnknownScheduler, "unknown scheduler 'local_doker'"),
]


@pytest.mark.parametrize(("scheduler", "cfg", "error", "message"), RUNNER)
def test_the_runner_raises_one_clear_error(
    scheduler: str, cfg: dict[str, Any], error: type[TopcoatError], message: str
) -> None:
    with get_runner("s") as run, pytest.raises(error, match=message):
        run.dryrun(AppDef("a", [role("r", "x:1")]), scheduler, cfg)


def test_a_missing_required_option_is_named_before_anything_is_built(directory: Path) -> None:
    opts = runopts()
    opts.add("queue", type_=str, required=True, help="where to wait")
    with pytest.raises(InvalidRunConfigException, match="the run option 'queue' is required: where to wait") as caught:
        opts.resolve({})
    assert caught.value.hint == "add -cfg queue=..."


@pytest.mark.parametrize(
    ("component", "arguments", "error", "message"),
    [
        ("jobs.py:raises", ["--lr", "1"], InvalidComponent, "raised ValueError: no data for lr=1.0"),
        (
            "jobs.py:raises",
            {"lr": "fast"},
            InvalidComponent,
            r"--lr of the component raises \(.*jobs\.py:3\) must be a float",
        ),
        ("jobs.py:nothing", [], UnknownComponent, "has no function 'nothing'"),
        ("dist.dpd", [], UnknownComponent, "unknown component 'dist.dpd'"),
        ("jobs.py:misplaced", [], InvalidApp, "the macro .* in the image of role 'r'"),
    ],
)
def test_a_bad_component_is_one_clear_error(
    component: str, arguments: Any, error: type[TopcoatError], message: str
) -> None:
    with get_runner("s") as run, pytest.raises(error, match=message):
        run.run_component(component, arguments, "local_cwd")


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ({"entrypoint": f"run-{macros.app_id}"}, "entrypoint"),
        ({"env": {f"A_{macros.replica_id}": "x"}}, "env names"),
        ({"port_map": {macros.rank0_env: 1}}, "port_map"),
        ({"workspace": Workspace({f"code/{macros.app_id}": ""})}, "workspace"),
    ],
)
def test_a_macro_that_nothing_fills_in_is_an_error(place: dict[str, Any], where: str) -> None:
    wrong = role("r", "x:1")
    for name, value in place.items():
        setattr(wrong, name, value)
    with get_runner("s") as run, pytest.raises(InvalidApp, match=f"in the {where} of role 'r' is not substituted"):
        run.dryrun(AppDef("a", [wrong]), "local_cwd")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[a, b]", InvalidWorkspace),
        ("a: b: c", InvalidWorkspace),
        ("{a: [b]}", InvalidWorkspace),
        ("{a: b", InvalidWorkspace),
        ("nowhere", WorkspaceNotFound),
    ],
)
def test_a_bad_workspace_is_one_clear_error_at_the_runner(text: str, error: type[TopcoatError]) -> None:
    with get_runner("s") as run, pytest.raises(error) as caught:
        run.run(AppDef("a", [role("r", "")]), "local", workspace=text)
    assert text in str(caught.value)
    assert caught.value.hint
