"""The declaration of a workspace: local directories, and the target directory of each. No file is read here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from topcoat.specs.projects import Projects, ProjectSpec, parse_projects

if TYPE_CHECKING:
    import pathlib

__all__ = ["ProjectSpec", "Workspace"]


@dataclass
class Workspace(Projects):
    """Map local directories, or single files, to directories under the job's remote root.

    Two workspaces with equal projects are equal and have the same hash, so a build cache can use them as keys.

    Args:
        projects: local path (``~`` allowed) or fsspec URL, to target directory; ``""`` is the root itself.
            If two projects have the same file, the later one wins.

    Raise ``InvalidWorkspace`` for a target that is absolute or leaves the root, and for an empty source.
    """

    projects: dict[str, str]

    def __post_init__(self) -> None:
        self.resolved()

    def __hash__(self) -> int:
        return hash(frozenset(self.projects.items()))

    def merge_into(self, outdir: str | pathlib.Path) -> None:
        """Copy each project to its target under *outdir*, except for files that its own ignore files exclude.

        Raise ``WorkspaceNotFound`` if a source does not exist.
        """
        # Loaded by name: TorchX puts this method here, but copying needs the scan, which imports this package.
        importlib.import_module("topcoat.workspace.merge").merge(self, outdir)

    @staticmethod
    def from_str(workspace: str | None) -> Workspace:
        """Parse the value of ``--workspace`` or of a configuration file.

        It is empty, a path or URL, or a YAML mapping of sources to targets in block or flow style, where an empty
        target is the root::

            ~/code/app
            ~/code/app: app
            {~/code/app: app, ~/code/lib: }

        Text that YAML would read as another type (``123``, ``yes``, ``@x``, ``a #b``) is a path, and so is an existing
        path with a colon and a space in it. Raise ``InvalidWorkspace`` for anything else.
        """
        return Workspace(parse_projects(workspace))
