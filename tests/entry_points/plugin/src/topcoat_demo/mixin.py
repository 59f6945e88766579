"""A workspace as an archive in a directory, as a package of a cluster's owner might ship it."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Mapping

from topcoat.specs import CfgVal, Role, runopts
from topcoat.workspace import WorkspaceMixin


class ArchiveMixin(WorkspaceMixin[None]):
    """Write each workspace as a tar file into ``archive_dir``; equal ones once."""

    def workspace_opts(self) -> runopts:
        """Return where archives go."""
        opts = runopts()
        opts.add("archive_dir", type_=str, required=True, help="directory for archives")
        return opts

    def caching_build_workspace_and_update_role(
        self, role: Role, cfg: Mapping[str, CfgVal], build_cache: dict[object, object]
    ) -> None:
        """Write the role's workspace, unless the cache has it, and tell the role where."""
        if not role.workspace:
            return
        if role.workspace not in build_cache:
            path = os.path.join(str(cfg["archive_dir"]), f"{len(build_cache)}.tar")
            with tempfile.TemporaryDirectory() as merged, tarfile.open(path, "w") as archive:
                role.workspace.merge_into(merged)
                archive.add(merged, arcname=".")
            build_cache[role.workspace] = path
        role.env["ARCHIVE"] = str(build_cache[role.workspace])
