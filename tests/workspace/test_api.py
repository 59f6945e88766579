"""What every workspace mixin does, and what a user's own can rely on."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import topcoat
from tests.support import workspaces
from topcoat.errors import InvalidRunConfigException, WorkspaceNotFound
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, CfgVal, Role, Workspace, runopts
from topcoat.workspace import MultiWorkspaceMixin, WorkspaceMixin, pin_workspace_images
from topcoat.workspace.dir_workspace import DirWorkspaceMixin, TmpDirWorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

Cache = dict[object, object]


def _role(name: str, workspace: Workspace | None, image: str = "base:1") -> Role:
    return Role(name, image, workspace=workspace)


class _Recording(WorkspaceMixin[None]):
    """Notes each call of the hook, and counts in the cache."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[tuple[str, int]] = []

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: Cache
    ) -> None:
        build_cache[role.name] = role.workspace
        self.calls.append((role.name, len(build_cache)))


class _Deprecated(WorkspaceMixin[None]):
    """Implements the old hook alone; notes what it was given and what was in it."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[str, list[str]]] = []

    def build_workspace_and_update_role(self, role: Role, workspace: str, cfg: Mapping[str, CfgVal]) -> None:
        paths = [
            os.path.relpath(os.path.join(parent, name), workspace)
            for parent, _, names in os.walk(workspace)
            for name in names
        ]
        self.given.append((workspace, sorted(paths)))
        if cfg.get("fail"):
            raise RuntimeError("the hook failed")
        role.image = f"{role.image}+built"


def test_a_mixin_can_be_made_alone_and_takes_no_options() -> None:
    mixin: WorkspaceMixin[None] = WorkspaceMixin()
    assert mixin.uses_workspace
    assert len(mixin.workspace_opts()) == 0
    assert mixin.plan_workspaces([], {}) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda mixin: mixin.build_workspace_and_update_role(_role("r", None), "/w", {}),
        lambda mixin: mixin.dryrun_push_images(AppDef("a"), {}),
        lambda mixin: mixin.push_images(None),
    ],
)
def test_what_a_mixin_does_not_implement_says_so(call: Any) -> None:
    with pytest.raises(NotImplementedError, match="WorkspaceMixin"):
        call(WorkspaceMixin())


def test_one_cache_is_shared_by_the_roles_of_a_call_that_have_a_workspace() -> None:
    mixin = _Recording()
    roles = [
        _role("a", Workspace({"/w": ""})),
        _role("none", None),
        _role("empty", Workspace({})),
        _role("b", Workspace({"/w": ""})),
    ]
    mixin.build_workspaces(roles, {})
    assert mixin.calls == [("a", 1), ("b", 2)]
    mixin.build_workspaces(roles[:1], {})
    assert mixin.calls[2:] == [("a", 1)]


def test_the_mixin_comes_before_the_scheduler_and_passes_arguments_on() -> None:
    class MyScheduler(_Recording, Scheduler[Mapping[str, CfgVal]]):
        def __init__(self, session_name: str, **kwargs: object) -> None:
            super().__init__("mine", session_name)

    assert [base.__name__ for base in MyScheduler.__mro__[1:4]] == ["_Recording", "WorkspaceMixin", "Scheduler"]
    MyScheduler.__abstractmethods__ = frozenset()
    made = MyScheduler("session")  # type: ignore[abstract]
    assert (made.backend, made.session_name, made.uses_workspace) == ("mine", "session", True)


class TestTheDeprecatedHook:
    """Of a mixin that implements nothing else."""

    def test_one_directory_is_passed_as_it_is(self, tmp_path: Path) -> None:
        mixin, role = _Deprecated(), _role("r", workspaces.write(tmp_path / "w", {"a": "", ".git/x": ""}))
        mixin.build_workspaces([role], {})
        assert mixin.given == [(str(tmp_path / "w"), [".git/x", "a"])]
        assert role.image == "base:1+built"

    def test_the_home_directory_is_spelled_out(self, home: Path) -> None:
        workspaces.write(home / "code", {"a": ""})
        mixin = _Deprecated()
        mixin.build_workspaces([_role("r", Workspace({"~/code": ""}))], {})
        assert mixin.given == [(str(home / "code"), ["a"])]

    @pytest.mark.parametrize("fail", [False, True])
    def test_projects_are_merged_first_and_cleaned_up_afterwards(self, tmp_path: Path, fail: bool) -> None:
        workspaces.write(tmp_path / "one", {"a": "", "skip": "", ".torchxignore": "skip\n"})
        workspaces.write(tmp_path / "two", {"skip": ""})
        mixin = _Deprecated()
        role = _role("r", Workspace({str(tmp_path / "one"): "", str(tmp_path / "two"): "lib"}))
        if fail:
            with pytest.raises(RuntimeError, match="the hook failed"):
                mixin.build_workspaces([role], {"fail": True})
        else:
            mixin.build_workspaces([role], {})
        ((directory, found),) = mixin.given
        assert found == [".torchxignore", "a", "lib/skip"]
        assert not os.path.exists(directory)

    def test_a_role_without_a_workspace_is_left_alone(self) -> None:
        mixin, role = _Deprecated(), _role("r", None)
        mixin.caching_build_workspace_and_update_role(role, {}, {})
        assert mixin.given == []
        assert role.image == "base:1"

    def test_a_project_that_does_not_exist_is_an_error(self, tmp_path: Path) -> None:
        role = _role("r", Workspace({str(tmp_path): "", str(tmp_path / "absent"): "lib"}))
        with pytest.raises(WorkspaceNotFound, match="absent"):
            _Deprecated().build_workspaces([role], {})


@pytest.mark.parametrize("built_in", [DockerWorkspaceMixin, DirWorkspaceMixin, TmpDirWorkspaceMixin])
class TestASubclassOfABuiltInMixin:
    """That has a hook of its own."""

    def test_its_deprecated_hook_is_called_with_a_warning(self, built_in: type[Any], tmp_path: Path) -> None:
        old = type(
            "Old", (built_in,), {"build_workspace_and_update_role": _Deprecated.build_workspace_and_update_role}
        )()
        old.given = []
        role = _role("r", workspaces.write(tmp_path / "w", {"a": ""}))
        with pytest.warns(DeprecationWarning, match="Old overrides build_workspace_and_update_role"):
            old.build_workspaces([role], {"job_dir": str(tmp_path / "job")})
        assert old.given == [(str(tmp_path / "w"), ["a"])]
        assert role.image == "base:1+built"
        assert not (tmp_path / "job").exists()

    def test_its_new_hook_is_called_without(self, built_in: type[Any], tmp_path: Path) -> None:
        hook = {"caching_build_workspace_and_update_role": _Recording.caching_build_workspace_and_update_role}
        new = type("New", (built_in,), hook)()
        new.calls = []
        new.build_workspaces([_role("r", Workspace({str(tmp_path): ""}))], {})
        assert [name for name, _ in new.calls] == ["r"]

    @pytest.mark.parametrize(
        "hook",
        ["build_workspace_and_update_role", "caching_build_workspace_and_update_role", "build_workspaces"],
    )
    def test_it_is_not_planned_around(self, built_in: type[Any], hook: str, tmp_path: Path) -> None:
        mixin = type("Own", (built_in,), {hook: lambda *args: None})()
        role = _role("r", Workspace({str(tmp_path): ""}))
        assert mixin.plan_workspaces([role], {"job_dir": str(tmp_path / "job")}) is None
        assert role.image == "base:1"


class _Kind(_Recording):
    """A kind of workspace with an option of its own that pushes."""

    def __init__(self, option: str) -> None:
        super().__init__()
        self.option = option
        self.pushed: list[Any] = []

    def workspace_opts(self) -> runopts:
        opts = runopts()
        opts.add(self.option, type_=str, help="of its own")
        return opts

    def dryrun_push_images(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> Any:
        return {"of": self.option}

    def push_images(self, images_to_push: Any) -> None:
        self.pushed.append(images_to_push)

    def plan_workspaces(self, roles: list[Role], cfg: Mapping[str, CfgVal]) -> Any:
        return self


class _Multi(MultiWorkspaceMixin):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, Any] = {"first": _Kind("one"), "second": _Kind("two"), "quiet": _Recording()}

    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        return self.kinds


class TestMultiWorkspaceMixin:
    """Several kinds for one scheduler."""

    def test_the_options_are_the_choice_and_those_of_every_kind(self) -> None:
        opts = dict(_Multi().workspace_opts())
        assert list(opts) == ["workspace_type", "one", "two"]
        assert opts["workspace_type"].default == "first"

    @pytest.mark.parametrize(("cfg", "chosen"), [({}, "first"), ({"workspace_type": "second"}, "second")])
    def test_everything_goes_to_the_chosen_kind(self, cfg: dict[str, CfgVal], chosen: str) -> None:
        multi, role = _Multi(), _role("r", Workspace({"/w": ""}))
        kind: Any = multi.kinds[chosen]
        multi.build_workspaces([role], cfg)
        multi.caching_build_workspace_and_update_role(role, cfg, {1: 1})
        assert kind.calls == [("r", 1), ("r", 2)]
        assert multi.plan_workspaces([role], cfg) == kind
        images = multi.dryrun_push_images(AppDef("a"), cfg)
        assert images == (chosen, {"of": kind.option})
        multi.push_images(images)
        assert [kind.pushed for kind in (multi.kinds["first"], multi.kinds["second"])].count([]) == 1
        assert kind.pushed == [{"of": kind.option}]

    def test_a_kind_that_pushes_nothing_has_nothing_to_push(self) -> None:
        multi = _Multi()
        images = multi.dryrun_push_images(AppDef("a"), {"workspace_type": "quiet"})
        assert images == ("quiet", None)
        multi.push_images(images)

    def test_an_unknown_kind_names_the_choices(self) -> None:
        with pytest.raises(InvalidRunConfigException, match="invalid workspace_type 'third'") as raised:
            _Multi().build_workspaces([], {"workspace_type": "third"})
        assert raised.value.hint == "choose one of first, second, quiet"
        assert isinstance(raised.value, ValueError)

    def test_the_kinds_have_to_be_given(self) -> None:
        with pytest.raises(TypeError, match="workspace_builders"):
            MultiWorkspaceMixin()  # type: ignore[abstract]

    def test_the_mixin_combines_with_a_scheduler(self) -> None:
        class Mixed(_Multi, Scheduler[Mapping[str, CfgVal]]):
            pass

        assert Mixed.__mro__.index(Scheduler) > Mixed.__mro__.index(MultiWorkspaceMixin)


def test_pinned_images_replace_image_and_workspace_together() -> None:
    one, two = Workspace({"/one": ""}), Workspace({"/two": ""})
    app = AppDef(
        "app",
        [_role("match", one), _role("other image", one, "base:2"), _role("other workspace", two), _role("none", None)],
    )
    pin_workspace_images(app, {("base:1", Workspace({"/one": ""})): "built:1"})
    assert [(role.image, role.workspace) for role in app.roles] == [
        ("built:1", None),
        ("base:2", one),
        ("base:1", two),
        ("base:1", None),
    ]


def test_one_line_of_the_package_assigns_a_roles_image() -> None:
    collected = []
    for path in Path(topcoat.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else []
            collected += [
                path.name for target in targets if isinstance(target, ast.Attribute) and target.attr == "image"
            ]
    assert collected == ["plan.py"]
