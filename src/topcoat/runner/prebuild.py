"""Build workspaces ahead of time, for applications that are submitted many times."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from topcoat.notices import notice
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, CfgVal, Role, Workspace


def prebuild(
    scheduler: Scheduler[Any], app_or_role: AppDef | Role, cfg: Mapping[str, CfgVal]
) -> dict[tuple[str, Workspace], str] | str | None:
    """Build the workspaces of an application or role; see ``Runner.build_workspace``."""
    given = app_or_role.roles if isinstance(app_or_role, AppDef) else [app_or_role]
    built = copy.deepcopy(given)
    app = AppDef(app_or_role.name, built)
    options = scheduler.complete_cfg(app, scheduler.run_opts().resolve(cfg), scheduler.new_app_id(app))
    scheduler.build_workspaces(built, options)
    if isinstance(app_or_role, Role):
        return built[0].image if app_or_role.workspace else None
    images: dict[tuple[str, Workspace], str] = {}
    more_than_images = set()
    for role, copied in zip(given, built, strict=True):
        if role.workspace:
            images[role.image, role.workspace] = copied.image
            if any(getattr(role, name) != getattr(copied, name) for name in _OTHERS):
                notice(f"the workspace of role {role.name} is built at each run: it changes more than the image")
                more_than_images.add((role.image, role.workspace))
    return {key: image for key, image in images.items() if key not in more_than_images}


_OTHERS = [field.name for field in fields(Role) if field.name != "image"]
