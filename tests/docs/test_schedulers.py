"""The schedulers and mixins in docs/schedulers.md run as printed."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.fake_bases import add_base, layer
from topcoat.errors import InvalidRunConfigException
from topcoat.runner import Runner
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, AppDryRunInfo, BindMount, CfgVal, Resource, Role, Workspace
from topcoat.testing.registry import FakeRegistry

PAGE = Path(__file__).parents[2] / "docs/schedulers.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a block of the page by its file name."""
    directory = tmp_path / "page"
    directory.mkdir()
    for name, text in BLOCKS.items():
        (directory / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(directory))
    yield importlib.import_module
    for name in BLOCKS:
        sys.modules.pop(name, None)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text("print(1)\n")
    return Workspace({str(tmp_path / "code"): ""})


def _runner(module: ModuleType) -> Runner:
    return Runner("s", {"printing": module.create_scheduler})


def _role(name: str, image: str, workspace: Workspace, **options: Any) -> Role:
    resource = Resource(cpu=1, gpu=0, memMB=1, **options)
    return Role(name, image, entrypoint="python", args=["train.py"], workspace=workspace, resource=resource)


def test_the_page_has_a_scheduler_of_at_most_60_lines() -> None:
    assert set(BLOCKS) == {"printing_scheduler", "mounted_workspace"}
    assert len(BLOCKS["printing_scheduler"].strip().splitlines()) <= 60


def test_a_dry_run_sends_nothing_and_a_submitted_request_has_the_digest(
    page: Any, fake: FakeRegistry, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    base = add_base(fake)
    runner = _runner(page("printing_scheduler"))
    app = AppDef("train", [_role("trainer", base, workspace)])
    info = runner.dryrun(app, "printing", {"image_repo": f"{fake.host}/app"})
    assert info.workspace_plan is not None
    expected = info.workspace_plan.expected()["trainer"].image
    assert re.fullmatch(rf"{fake.host}/app:[0-9a-f]{{32}}", expected)
    assert info.request["trainer"]["image"] == expected
    assert "app" not in fake.repositories

    assert runner.schedule(info) == "printing://s/train-0"
    image = json.loads(capsys.readouterr().out)["trainer"]["image"]
    assert image.startswith(f"{expected}@sha256:")
    name, _, digest = image.partition("@")
    assert fake.repositories["app"].tags[name.rpartition(":")[2]] == digest
    assert info.app is not None
    assert info.app.roles[0].image == image


def test_roles_on_nodes_of_two_platforms_get_an_image_each(page: Any, fake: FakeRegistry, workspace: Workspace) -> None:
    blob = layer({"etc/base": b"1"})
    entries = [fake.add_image("base", layers=[blob], platform=f"linux/{arch}") for arch in ("amd64", "arm64")]
    fake.add_index("base", "1", entries)
    roles = [
        _role("a", f"{fake.host}/base:1", workspace),
        _role("b", f"{fake.host}/base:1", workspace, tags={"arch": "arm64"}),
        _role("c", f"{fake.host}/base:1", workspace),
    ]
    info = _runner(page("printing_scheduler")).dryrun(
        AppDef("train", roles), "printing", {"image_repo": f"{fake.host}/app"}
    )
    images = {name: job["image"] for name, job in info.request.items()}
    assert images["a"] == images["c"] != images["b"]
    assert info.workspace_plan is not None
    assert len(info.workspace_plan.lines()) == 2


def test_a_missing_repository_is_an_error_before_any_file_is_read_or_host_contacted(page: Any, tmp_path: Path) -> None:
    missing = Workspace({str(tmp_path / "missing"): ""})
    app = AppDef("train", [_role("trainer", "127.0.0.1:9/base", missing)])
    with pytest.raises(InvalidRunConfigException, match="missing image_repo: the scheduler 'printing'") as raised:
        _runner(page("printing_scheduler")).dryrun(app, "printing")
    assert raised.value.hint == "-cfg image_repo=REGISTRY/REPOSITORY"


@pytest.mark.parametrize("mixin_first", [True, False])
def test_code_is_mounted_once_and_the_image_left_alone_with_the_mixin_before_or_after_the_scheduler(
    page: Any, workspace: Workspace, tmp_path: Path, mixin_first: bool
) -> None:
    mixin, scheduler = page("mounted_workspace").MountedWorkspaceMixin, _PlainScheduler
    bases = (mixin, scheduler) if mixin_first else (scheduler, mixin)
    mounting = type("Mounting", bases, {})
    runner = Runner("s", {"mounting": lambda session_name, **_: mounting("mounting", session_name)})
    shared = tmp_path / "shared"
    roles = [_role(name, "python:3.12", workspace) for name in "ab"]
    roles[0].env["PYTHONPATH"] = "/own"
    info = runner.dryrun(AppDef("train", roles), "mounting", {"shared_dir": str(shared)})
    assert not shared.exists()
    assert info.workspace_plan is not None
    (line,) = info.workspace_plan.lines()[:1]
    assert line.endswith("mounted at /code")

    runner.schedule(info)
    assert (shared / "train.py").read_text() == "print(1)\n"
    assert info.app is not None
    for role, pythonpath in zip(info.app.roles, ("/code:/own", "/code"), strict=True):
        assert role.image == "python:3.12"
        assert role.mounts == [BindMount(str(shared), "/code", read_only=True)]
        assert role.env["PYTHONPATH"] == pythonpath
    assert "shared_dir" in dict(runner.scheduler_run_opts("mounting"))


def test_a_mixin_that_only_plans_can_build_at_once(page: Any, workspace: Workspace, tmp_path: Path) -> None:
    roles = [_role(name, "python:3.12", workspace) for name in "ab"]
    cfg: dict[str, CfgVal] = {"shared_dir": str(tmp_path / "shared")}
    page("mounted_workspace").MountedWorkspaceMixin().build_workspaces(roles, cfg)
    assert (tmp_path / "shared/train.py").read_text() == "print(1)\n"
    assert [(role.image, role.env["PYTHONPATH"]) for role in roles] == [("python:3.12", "/code")] * 2


class _PlainScheduler(Scheduler[dict[str, CfgVal]]):
    """A scheduler that submits nothing."""

    def _submit_dryrun(self, app: AppDef, cfg: dict[str, CfgVal]) -> AppDryRunInfo[AppDef]:
        return AppDryRunInfo(app, str)

    def schedule(self, dryrun_info: AppDryRunInfo[AppDef]) -> str:
        return "id"

    def describe(self, app_id: str) -> None:
        return None

    def list(self, cfg: Any = None) -> list[Any]:
        return []

    def _cancel_existing(self, app_id: str) -> None:
        raise AssertionError("not reached")
