from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from tests.schedulers.fake import FakeScheduler, app
from topcoat.errors import UsageError
from topcoat.runner.prebuild import prebuild
from topcoat.specs import AppDef, CfgVal, Role, Workspace
from topcoat.workspace import WorkspaceMixin, pin_workspace_images

CODE, LIB = Workspace({"/code": ""}), Workspace({"/lib": ""})


class Imaging(WorkspaceMixin[None]):
    """Builds images; for roles named ``env*`` it needs a variable too."""

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        role.image = f"{role.image}+{role.workspace}@{cfg['queue']}"
        if role.name.startswith("env"):
            role.env["WORKSPACE_DIR"] = "/code"


class ImagingScheduler(Imaging, FakeScheduler):
    pass


def test_prebuilding_a_role_returns_its_image() -> None:
    role = Role("w", "base", workspace=CODE)
    assert prebuild(ImagingScheduler("s"), role, {"queue": "q"}) == "base+/code@q"
    assert role.image == "base"
    assert prebuild(ImagingScheduler("s"), Role("w", "base"), {}) is None


def test_prebuilding_an_application_returns_images_to_pin() -> None:
    roles = [Role("a", "base", workspace=CODE), Role("b", "base", workspace=LIB), Role("c", "base")]
    images = prebuild(ImagingScheduler("s"), AppDef("x", roles), {})
    assert images == {("base", CODE): "base+/code@main", ("base", LIB): "base+/lib@main"}
    assert isinstance(images, dict)
    other = app(workspace=CODE)
    pin_workspace_images(other, images)
    assert (other.roles[0].image, other.roles[0].workspace) == ("base+/code@main", None)


def test_a_build_that_changes_more_than_the_image_is_left_out_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    roles = [Role("a", "base", workspace=CODE), Role("env", "base", workspace=CODE), Role("b", "other", workspace=CODE)]
    with caplog.at_level(logging.WARNING, "topcoat"):
        assert prebuild(ImagingScheduler("s"), AppDef("x", roles), {}) == {("other", CODE): "other+/code@main"}
    assert "role env" in caplog.text


def test_a_scheduler_without_workspaces_refuses() -> None:
    with pytest.raises(UsageError, match="cannot use a workspace"):
        prebuild(FakeScheduler("s"), app(workspace=CODE), {})
    assert prebuild(FakeScheduler("s"), app(), {}) == {}
