from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from topcoat.components import utils
from topcoat.components.finder import get_component
from topcoat.components.programs import program
from topcoat.errors import InvalidComponent, MissingDependency
from topcoat.specs import AppDef, BindMount, Resource, Role, macros, materialize_appdef, resource
from topcoat.specs.default_image import DEFAULT_IMAGE


@pytest.fixture(autouse=True)
def _no_default_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOPCOAT_IMAGE", raising=False)


def make(name: str, *words: str) -> AppDef:
    return materialize_appdef(get_component(name).fn, words)


def only_role(app: AppDef) -> Role:
    (role,) = app.roles
    return role


def run(role: Role, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run *role* as a local scheduler does, macros substituted."""
    role = macros.Values(str(cwd), "app-1", "0", "HOST0").apply(role)
    program_ = sys.executable if role.entrypoint.startswith("python") else role.entrypoint
    return subprocess.run([program_, *role.args], cwd=cwd, capture_output=True, text=True, check=False)


def test_echo_prints_its_message(tmp_path: Path) -> None:
    role = only_role(make("utils.echo", "--msg", "it's; $HOME", "--num_replicas=3"))
    assert (role.num_replicas, role.resource) == (3, Resource(1, 0, 1024))
    assert run(role, tmp_path).stdout == "it's; $HOME\n"
    assert only_role(utils.echo()).args == ["hello world"]


def test_touch_creates_a_file_and_keeps_existing_content(tmp_path: Path) -> None:
    role = only_role(make("utils.touch", "--file", "a b.txt"))
    assert run(role, tmp_path).returncode == 0
    (tmp_path / "a b.txt").write_text("kept")
    assert run(role, tmp_path).returncode == 0
    assert (tmp_path / "a b.txt").read_text() == "kept"


def test_touch_takes_urls(tmp_path: Path) -> None:
    role = only_role(make("utils.touch", f"--file=file://{tmp_path}/x"))
    assert run(role, tmp_path).returncode == 0
    (tmp_path / "x").write_text("kept")
    assert run(role, tmp_path).returncode == 0
    assert (tmp_path / "x").read_text() == "kept"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_copy_copies_a_file_and_creates_directories(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "a").write_bytes(b"\0data")
    role = only_role(make("utils.copy", f"--src={scheme}{tmp_path}/a", f"--dst={scheme}{tmp_path}/new/dir/b"))
    done = run(role, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new/dir/b").read_bytes() == b"\0data"


def test_the_error_of_copy_without_fsspec_names_fsspec(tmp_path: Path) -> None:
    (tmp_path / "fsspec.py").write_text("raise ImportError")
    done = run(only_role(make("utils.copy", "--src=a", "--dst=memory://b")), tmp_path)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "copying from or to a URL needs fsspec in the image: pip install fsspec",
    )


def test_programs_contain_no_macros() -> None:
    for name in ("touch", "copy"):
        assert macros.Values("a", "b", "c", "d").substitute(program(name)) == program(name)


def test_sh_passes_words_unchanged(tmp_path: Path) -> None:
    words = ["printf", "%s|", "two words", "it's", "$HOME", "a;b", "*"]
    assert run(only_role(make("utils.sh", *words)), tmp_path).stdout == "two words|it's|$HOME|a;b|*|"


def test_sh_substitutes_macros(tmp_path: Path) -> None:
    assert run(only_role(make("utils.sh", "echo", macros.app_id)), tmp_path).stdout == "app-1\n"


def test_sh_has_torchx_flags() -> None:
    words = ["--image=i", "--num_replicas=2", "--cpu=3", "--gpu=1", "--memMB=5", "--env", "A=1,B=2"]
    words += ["--max_retries=4", "--mounts", "type=bind,src=/a,dst=/b", "ls"]
    role = only_role(make("utils.sh", *words))
    assert (role.image, role.num_replicas, role.max_retries, role.env) == (
        *("i", 2, 4),
        {"LOGLEVEL": "WARNING", "A": "1", "B": "2"},
    )
    assert (role.resource, role.mounts) == (Resource(3, 1, 5), [BindMount("/a", "/b")])
    assert only_role(make("utils.sh", "--h=gpu.small", "ls")).resource == resource(h="gpu.small")


def test_another_entrypoint_gets_the_words_unquoted(tmp_path: Path) -> None:
    role = only_role(make("utils.sh", "--entrypoint=bash", "--", "-c", "echo $((1 + 1))"))
    assert run(role, tmp_path).stdout == "2\n"


def test_sh_without_a_command_is_an_error() -> None:
    with pytest.raises(InvalidComponent, match=r"utils\.sh needs a command"):
        make("utils.sh")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["-c", "import sys; print(sys.argv[1:])", "--", "--x", "1"], "['--x', '1']\n"),
        (["-m", "json.tool", "--", "--version-does-not-exist"], ""),
        (["--script", "main.py", "a b"], "main.py ['a b']\n"),
    ],
)
def test_python_runs_a_command_module_or_script(words: list[str], output: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import sys; print(sys.argv[0], sys.argv[1:])")
    app = make("utils.python", "--name=n", *words)
    assert (app.name, only_role(app).entrypoint) == ("n", "python")
    assert run(only_role(app), tmp_path).stdout == output


@pytest.mark.parametrize("words", [[], ["-m=a", "-c=b"], ["-m=a", "--script=b"], ["-m="]])
def test_python_needs_exactly_one_program(words: list[str]) -> None:
    with pytest.raises(InvalidComponent, match="exactly one of -m, -c and --script"):
        make("utils.python", *words)


def test_binary_runs_a_program(tmp_path: Path) -> None:
    app = make("utils.binary", "--entrypoint=printf", "--name=n", "--", "%s", "x y")
    assert (app.name, run(only_role(app), tmp_path).stdout) == ("n", "x y")


@pytest.mark.parametrize(
    "words", [["utils.echo"], ["utils.touch", "--file=f"], ["utils.sh", "ls"], ["utils.python", "-c=1"],
              ["utils.copy", "--src=a", "--dst=b"], ["utils.binary", "--entrypoint=ls"], ["dist.ddp", "-m=a"]]
)  # fmt: skip
def test_the_image_is_the_environment_variable_or_the_default(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only_role(make(*words)).image == DEFAULT_IMAGE
    monkeypatch.setenv("TOPCOAT_IMAGE", "repo/base:1")
    assert only_role(make(*words)).image == "repo/base:1"


def test_the_caller_s_arguments_are_not_modified() -> None:
    env = {"A": "1"}
    only_role(utils.sh("ls", env=env)).env["B"] = "2"
    assert env == {"A": "1"}


def test_sh_passes_the_log_level_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "DEBUG")
    assert only_role(make("utils.sh", "ls")).env == {"LOGLEVEL": "DEBUG"}
    assert only_role(make("utils.sh", "--env", "LOGLEVEL=INFO", "ls")).env == {"LOGLEVEL": "INFO"}


HYDRA = """
defaults: [role, _self_]
app:
  _target_: torchx.specs.AppDef
  name: from_hydra
  roles: ["${role}"]
"""
HYDRA_ROLE = """
_target_: torchx.specs.Role
name: r
image: i
entrypoint: e
args: ["${torchx.app_id:}", "${torchx.replica_id:}"]
num_replicas: 1
"""


def test_hydra_makes_the_application_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(HYDRA)
    (tmp_path / "role.yaml").write_text("role:\n" + textwrap.indent(HYDRA_ROLE, "  "))
    app = make("utils.hydra", "-cn", "job", "-cd", str(tmp_path), "role.num_replicas=3")
    assert (app.name, only_role(app).num_replicas) == ("from_hydra", 3)
    assert only_role(app).args == [macros.app_id, macros.replica_id]


@pytest.mark.parametrize(
    ("text", "message"), [("x: 1\n", "has no key app"), ("app: 1\n  b: [\n", "job"), ("app: ${nope}\n", "nope")]
)
def test_a_bad_hydra_configuration_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(InvalidComponent, match=message):
        make("utils.hydra", "-cn", "job", "-cd", str(tmp_path))


def test_hydra_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    with pytest.raises(MissingDependency, match=r"utils\.hydra needs Hydra") as caught:
        make("utils.hydra", "-cn", "x")
    assert caught.value.hint == "pip install hydra-core"
