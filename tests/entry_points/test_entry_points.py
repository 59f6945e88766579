"""What an installed package adds, shown with real wheels in a fresh virtual environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.entry_points.conftest import Run
from topcoat.schedulers import BUILT_IN

Python = Callable[[str], str]


def _json(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def test_the_environment_has_the_wheels_and_nothing_of_the_checkout(environment: Path, python: Python) -> None:
    printed = python("import topcoat, topcoat_demo\nprint(topcoat.__file__)\nprint(topcoat_demo.__file__)\n")
    assert all(line.startswith(str(environment)) for line in printed.splitlines())


def test_schedulers_of_a_package_are_added_to_the_built_in_ones(python: Python) -> None:
    names = _json(
        python(
            "import json\nfrom topcoat.runner import get_runner\nprint(json.dumps(get_runner().scheduler_backends()))\n"
        )
    )
    # A replaced one keeps its place, so the default stays what it was.
    assert names[: len(BUILT_IN)] == list(BUILT_IN)
    assert {"demo", "demo_torchx", "broken", "fails", "foreign"} == set(names[len(BUILT_IN) :])


def test_a_scheduler_of_the_same_name_replaces_only_that_one(python: Python) -> None:
    code = """
import json
from topcoat.schedulers import get_scheduler_factories
factories = get_scheduler_factories()
print(json.dumps({name: type(factories[name]("s")).__module__ for name in ("local", "local_cwd", "local_docker")}))
"""
    assert _json(python(code)) == {
        "local": "topcoat.schedulers.local.scheduler",
        "local_cwd": "topcoat_demo.scheduler",
        "local_docker": "topcoat.schedulers.docker.scheduler",
    }


def test_a_package_s_scheduler_and_mixin_take_the_workspace(python: Python, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("print('hello')\n")
    (tmp_path / "code/.torchxignore").write_text("*.log\n")
    (tmp_path / "code/run.log").write_text("no\n")
    code = """
import json, tarfile
from topcoat.runner import get_runner
from topcoat.specs import AppDef, Resource, Role, Workspace
workspace = Workspace({"code": "src"})
roles = [Role(n, "base", entrypoint="x", workspace=workspace, resource=Resource(1, 0, 1)) for n in "ab"]
with get_runner("s") as runner:
    handle = runner.run(AppDef("app", roles), "demo", {"archive_dir": "."})
    env = [role.env["ARCHIVE"] for role in runner.describe(handle).roles]
    state = runner.status(handle).state.name
print(json.dumps([handle, env, state, sorted(tarfile.open("0.tar").getnames())]))
"""
    handle, env, state, names = _json(python(code))
    assert handle == "demo://s/app-0"
    assert env == ["./0.tar", "./0.tar"]
    assert state == "SUCCEEDED"
    assert names == [".", "./src", "./src/.torchxignore", "./src/main.py"]


def test_a_scheduler_written_for_torchx_works(python: Python, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    code = """
from topcoat.runner import get_runner
from topcoat.specs import AppDef, Resource, Role
app = AppDef("app", [Role("r", "base", entrypoint="x", resource=Resource(1, 0, 1))])
with get_runner("s") as runner:
    info = runner.dryrun(app, "demo_torchx", workspace="code")
    print(runner.schedule(info), info.request.roles[0].env["BUILT"])
"""
    assert python(code).split() == ["demo_torchx://s/nowhere", "code"]


def test_a_scheduler_of_torchx_0_7_lists_without_options(run: Run) -> None:
    done = run("topcoat", "list", "-s", "demo_torchx", "--json")
    assert "demo_torchx://topcoat/old" in done.stdout, done.stderr


def test_a_command_written_for_torchx_works(run: Run) -> None:
    done = run("topcoat", "old-command", "--config", "c.yaml", "local://s/app")
    assert (done.returncode, done.stdout) == (0, "on local://s/app with c.yaml\n"), done.stderr
    assert "old-command" in run("topcoat", "--help").stdout


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("broken", "'broken' of topcoat-demo cannot be loaded: ModuleNotFoundError", "reinstall topcoat-demo"),
        ("fails", "'fails' of topcoat-demo cannot be loaded: OSError: the cluster is out", "reinstall topcoat-demo"),
        ("foreign", "'foreign' of topcoat-demo is a builtins.object", "derive it from topcoat.schedulers.api"),
    ],
)
def test_a_broken_scheduler_is_an_error_when_it_is_used(run: Run, name: str, message: str, hint: str) -> None:
    done = run("topcoat", "run", "-s", name, "--", "true")
    assert done.returncode == 1
    assert message in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_required_option_of_a_package_s_mixin_is_required(run: Run) -> None:
    done = run("topcoat", "run", "-s", "demo", "--", "true")
    assert done.returncode == 2
    assert "the run option 'archive_dir' is required: directory for archives" in done.stderr
    assert "-cfg archive_dir=..." in done.stderr


def test_a_broken_package_does_not_affect_others(run: Run) -> None:
    done = run("topcoat", "run", "-s", "local_cwd", "--", "echo", "still here")
    assert done.returncode == 0, done.stderr
    assert "still here" in done.stderr + done.stdout


def test_run_options_are_listed_with_a_notice_for_broken_schedulers(run: Run) -> None:
    done = run("topcoat", "runopts")
    assert done.returncode == 0, done.stderr
    assert "archive_dir" in done.stdout
    assert "prepend_cwd" in done.stdout
    for name in ("broken", "fails", "foreign"):
        assert f"{name} is left out" in done.stderr


def test_a_configuration_file_is_written_without_the_broken_ones(run: Run, tmp_path: Path) -> None:
    done = run("topcoat", "configure", "--all")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / ".torchxconfig").read_text()
    assert "[demo]\narchive_dir = #FIXME" in written
    assert "[local_docker]" in written
    assert "[broken]" not in written
    assert "the scheduler broken is left out" in done.stderr


def test_components_of_packages_are_listed_and_run_and_the_broken_one_warns(run: Run) -> None:
    listed = run("topcoat", "builtins")
    assert listed.returncode == 0, listed.stderr
    for name in ("demo.greet", "demo_torchx.old_greet", "utils.echo", "dist.ddp"):
        assert name in listed.stdout
    assert "broken" in listed.stderr

    for component in ("demo.greet", "demo_torchx.old_greet"):
        ran = run("topcoat", "run", "-s", "local_cwd", component, "--who", "there")
        assert ran.returncode == 0, ran.stderr
        assert "hello there" in ran.stdout + ran.stderr


def test_an_entry_that_names_the_components_of_torchx_acts_on_no_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('mine')\n")
    (tmp_path / "run").write_text("a file named run\n")
    done = run("topcoat", "run", "train.py")
    assert done.returncode == 2, done.stderr
    assert (tmp_path / "train.py").read_text() == "print('mine')\n"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "train.py"}
    assert "torchx.utils.echo" in run("topcoat", "builtins").stdout


def test_an_entry_that_names_a_resource_of_torchx_means_that_of_topcoat(python: Python) -> None:
    code = "from topcoat.specs import resource\nprint(resource(h='demo_alias') == resource(h='aws_m5.2xlarge'))\n"
    assert python(code) == "True\n"


def test_named_resources_of_packages_are_found_and_replace_only_their_own_name(python: Python) -> None:
    code = """
from topcoat.errors import UnknownResource
from topcoat.specs import named_resources, resource
print(*(resource(h=name).memMB for name in ("demo_small", "gpu.small", "demo_torchx", "aws_t3.medium")))
try:
    resource(h="demo_broken")
except UnknownResource as error:
    print(error)
print({"demo_small", "gpu.medium"} <= set(named_resources))
"""
    sizes, error, listed = python(code).splitlines()
    assert sizes.split()[:3] == ["333", "777", "555"]
    assert error == (
        "the named resource 'demo_broken' (topcoat_demo.resources:broken) failed: OSError: no inventory here"
    )
    assert listed == "True"


def test_a_command_of_a_package_is_listed_parsed_and_run(run: Run) -> None:
    assert "  demo\n" in run("topcoat", "--help").stdout
    done = run("topcoat", "demo", "--times", "2")
    assert (done.stdout.strip(), done.returncode) == ("demo demo", 3)
    assert run("topcoat", "demo", "--time", "x").returncode == 2
    broken = run("topcoat", "demo-broken")
    assert broken.returncode == 1
    assert "the command 'demo-broken' of topcoat-demo cannot be loaded" in broken.stderr
