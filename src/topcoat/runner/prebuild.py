"""Build workspaces in advance, for applications that are submitted many times."""

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
    roles = app_or_role.roles if isinstance(app_or_role, AppDef) else [app_or_role]
    built = copy.deepcopy(roles)
    app = AppDef(app_or_role.name, built)
    options = scheduler.complete_cfg(app, scheduler.run_opts().resolve(cfg), scheduler.new_app_id(app))
    scheduler.build_workspaces(built, options)
    if isinstance(app_or_role, Role):
        return built[0].image if app_or_role.workspace else None
    images: dict[tuple[str, Workspace], str] = {}
    not_reusable = set()
    for role, copied in zip(roles, built, strict=True):
        if role.workspace:
            images[role.image, role.workspace] = copied.image
            if any(getattr(role, name) != getattr(copied, name) for name in _OTHER_FIELDS):
                notice(f"the workspace of role {role.name} is built again in each run: it changes more than the image")
                not_reusable.add((role.image, role.workspace))
    return {key: image for key, image in images.items() if key not in not_reusable}


_OTHER_FIELDS = [field.name for field in fields(Role) if field.name != "image"]
