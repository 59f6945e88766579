from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidConfigFile, MissingDependency, SchedulerError, UnknownScheduler
from topcoat.runner import config
from topcoat.runner.config import apply, configure, dump, get_config, get_configs, load, load_sections
from topcoat.specs import CfgVal, Workspace, runopts

# What `torchx configure -a` writes (TorchX 0.8), with the placeholder filled in.
WRITTEN_BY_TORCHX = """\
[local_docker]
copy_env = None
env = None
privileged = False
image_repo = None
quiet = False

[local_cwd]
log_dir = None
prepend_cwd = False
auto_set_cuda_visible_devices = False

[cluster]
queue = main
namespace = default
service_account = None
validate_spec = True
reserved_millicpu = 100
mail-user = None
"""


class Cluster:
    """A scheduler as far as a configuration file is concerned."""

    def __init__(self, session_name: str, **kwargs: object) -> None:
        self.closed = False

    def run_opts(self) -> runopts:
        opts = runopts()
        opts.add("queue", type_=str, required=True, help="where\n  to wait (100%)")
        opts.add("namespace", type_=str, default="default", help="")
        opts.add("service_account", type_=str, help="")
        opts.add("validate_spec", type_=bool, default=True, help="")
        opts.add("reserved_millicpu", type_=int, default=100, help="")
        opts.add("mail-user", type_=str, help="")
        opts.add("hosts", type_=list[str], default=["a", "b"], help="")
        opts.add("env", type_=dict[str, str], default={"A": "1", "B": "%"}, help="")
        opts.add("none", type_=list[str], default=[], help="")
        return opts

    def close(self) -> None:
        self.closed = True


def _broken(session_name: str, **kwargs: object) -> Any:
    raise MissingDependency("the scheduler broken needs x", hint="pip install x")


@pytest.fixture(autouse=True)
def _schedulers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "get_scheduler_factories", lambda: {"cluster": Cluster, "broken": _broken})


@pytest.fixture
def dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two directories, the first of which counts more."""
    monkeypatch.delenv("TORCHXCONFIG", raising=False)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    return [str(tmp_path / "first"), str(tmp_path / "second")]


def write(directory: str, text: str) -> None:
    Path(directory, ".torchxconfig").write_text(text)


def test_a_file_written_by_torchx_gives_typed_run_options() -> None:
    cfg: dict[str, CfgVal] = {}
    load("cluster", io.StringIO(WRITTEN_BY_TORCHX), cfg)
    assert cfg == {
        "queue": "main",
        "namespace": "default",
        "service_account": None,
        "validate_spec": True,
        "reserved_millicpu": 100,
        "mail-user": None,
    }
    assert Cluster("s").run_opts().resolve(cfg)["hosts"] == ["a", "b"]


def test_an_argument_overrides_the_first_file_which_overrides_the_second(dirs: list[str]) -> None:
    write(dirs[0], "[cluster]\nqueue = first\nhosts = x;y\n")
    write(dirs[1], "[cluster]\nqueue = second\nhosts = z\nenv = A:1,B:2\nnamespace = second\n")
    cfg: dict[str, CfgVal] = {"namespace": "given"}
    apply("cluster", cfg, dirs)
    assert cfg == {"namespace": "given", "queue": "first", "hosts": ["x", "y"], "env": {"A": "1", "B": "2"}}


def test_an_explicit_none_overrides_the_file(dirs: list[str]) -> None:
    write(dirs[0], "[cluster]\nqueue = first\n")
    cfg: dict[str, CfgVal] = {"queue": None}
    apply("cluster", cfg, dirs)
    assert cfg == {"queue": None}


def test_a_spelling_in_camel_case_is_the_same_option(dirs: list[str]) -> None:
    write(dirs[0], "[cluster]\nserviceAccount = a\nvalidateSpec = no\n")
    cfg: dict[str, CfgVal] = {"validateSpec": True}
    apply("cluster", cfg, dirs)
    assert cfg == {"validateSpec": True, "service_account": "a"}
    write(dirs[0], "[cluster]\nserviceAccount = a\nservice_account = b\n")
    with pytest.raises(InvalidConfigFile, match=r"config:3: service_account has two values, under two spellings"):
        apply("cluster", {}, dirs)


def test_a_scheduler_without_a_section_adds_nothing(dirs: list[str]) -> None:
    write(dirs[0], "[other]\nx = 1\n")
    cfg: dict[str, CfgVal] = {}
    apply("cluster", cfg, dirs)
    apply("nope", cfg, dirs)
    assert cfg == {}


def test_an_unknown_option_is_a_notice_with_its_line(dirs: list[str], caplog: pytest.LogCaptureFixture) -> None:
    write(dirs[0], "[cluster]\nqueue = q\nnope = 1\n")
    cfg: dict[str, CfgVal] = {}
    with caplog.at_level(logging.WARNING):
        apply("cluster", cfg, dirs)
    assert cfg == {"queue": "q"}
    assert f"{dirs[0]}/.torchxconfig:3: unknown run option 'nope' of cluster, ignored" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reserved_millicpu = x", "'reserved_millicpu' must be a int: 'x' is not an integer"),
        ("validate_spec = maybe", "'validate_spec' must be a bool"),
        ("env = A", "'A' is not a k:v pair"),
        ("queue = #FIXME:(str) where to wait", "queue is not filled in yet: #FIXME"),
    ],
)
def test_a_wrong_value_names_file_and_line(line: str, message: str, dirs: list[str]) -> None:
    write(dirs[0], f"[cluster]\n\n{line}\n")
    with pytest.raises(InvalidConfigFile) as caught:
        apply("cluster", {}, dirs)
    assert str(caught.value).startswith(f"{dirs[0]}/.torchxconfig:3: ")
    assert message in str(caught.value)


def test_a_placeholder_is_ignored_if_the_option_is_set(dirs: list[str]) -> None:
    write(dirs[0], "[cluster]\nqueue = #FIXME:(str) where to wait\n")
    cfg: dict[str, CfgVal] = {"queue": "q"}
    apply("cluster", cfg, dirs)
    assert cfg == {"queue": "q"}


def test_an_unknown_scheduler_is_an_error(dirs: list[str]) -> None:
    write(dirs[0], "[clutser]\nqueue = q\n")
    with pytest.raises(UnknownScheduler, match="unknown scheduler 'clutser'"):
        apply("clutser", {}, dirs)
    with pytest.raises(UnknownScheduler):
        dump(io.StringIO(), ["clutser"])


def test_sections_of_components_and_commands_are_read(dirs: list[str]) -> None:
    write(dirs[0], "[component:dist.ddp]\nj = 2x8\n[cli:run]\nworkspace =\n  /a: x\n  /b:\n[component:]\nx = 1\n")
    write(dirs[1], "[component:dist.ddp]\nj = 1x1\nimage = i\n[component:a:b]\nx = 1\n")
    assert load_sections("component", dirs) == {"dist.ddp": {"j": "2x8", "image": "i"}, "a:b": {"x": "1"}}
    assert get_configs("component", "dist.ddp", dirs) == {"j": "2x8", "image": "i"}
    assert get_configs("component", "nope", dirs) == {}
    assert get_config("component", "dist.ddp", "j", dirs) == "2x8"
    assert get_config("component", "dist.ddp", "nope", dirs) is None
    workspace = Workspace.from_str(get_config("cli", "run", "workspace", dirs))
    assert workspace == Workspace({"/a": "x", "/b": ""})


def test_dumping_writes_what_loading_reads() -> None:
    text = io.StringIO()
    dump(text, ["cluster"])
    assert "queue = #FIXME:(str) where to wait (100%%)\n" in text.getvalue()
    cfg: dict[str, CfgVal] = {"queue": "q"}
    load("cluster", io.StringIO(text.getvalue()), cfg)
    defaults = Cluster("s").run_opts().resolve({"queue": "q"})
    assert cfg == {**defaults, "none": None}


def test_dumping_all_leaves_out_schedulers_that_cannot_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    text = io.StringIO()
    with caplog.at_level(logging.WARNING):
        dump(text, required_only=True)
    assert text.getvalue() == "[cluster]\nqueue = #FIXME:(str) where to wait (100%%)\n\n"
    assert "the scheduler broken is left out: the scheduler broken needs x" in caplog.text
    with pytest.raises(MissingDependency):
        dump(text, ["broken"])


def test_configure_writes_a_file_once(tmp_path: Path) -> None:
    path = configure(tmp_path / ".torchxconfig", ["cluster"])
    assert path.read_text() == "[cluster]\nqueue = #FIXME:(str) where to wait (100%%)\n\n"
    with pytest.raises(InvalidConfigFile, match="already exists"):
        configure(path, ["cluster"])
    configure(path, ["cluster"], required_only=False, overwrite=True)
    assert "namespace = default" in path.read_text()
    assert os.listdir(tmp_path) == [".torchxconfig"]


def test_configure_leaves_no_file_if_it_fails(tmp_path: Path) -> None:
    with pytest.raises(UnknownScheduler):
        configure(tmp_path / ".torchxconfig", ["nope"])
    assert os.listdir(tmp_path) == []
    with pytest.raises(InvalidConfigFile, match=r"cannot write .*: No such file"):
        configure(tmp_path / "none/.torchxconfig", ["cluster"])


def test_a_scheduler_of_a_broken_package_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(session_name: str, **kwargs: object) -> Any:
        raise SchedulerError("the scheduler broken of demo cannot be loaded")

    monkeypatch.setattr(config, "get_scheduler_factories", lambda: {"cluster": Cluster, "broken": fail})
    text = io.StringIO()
    dump(text)
    assert "[cluster]" in text.getvalue()
    assert "the scheduler broken is left out: the scheduler broken of demo cannot be loaded" in caplog.text
    with pytest.raises(SchedulerError):
        dump(text, ["broken"])
