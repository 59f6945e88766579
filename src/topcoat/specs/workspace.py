"""A workspace as the user declares it: local directories, and where each lands. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from topcoat.specs.projects import Projects, ProjectSpec, parse_projects

if TYPE_CHECKING:
    import pathlib

__all__ = ["ProjectSpec", "Workspace"]


@dataclass
class Workspace(Projects):
    """Map local directories, or single files, to directories under the job's remote root.

    Equal content is equal and has an equal hash, so a workspace can be a key of a build cache.

    Args:
        projects: local path (``~`` allowed) or fsspec URL, to target directory; ``""`` is the root itself.
            Where two projects have the same file, the later one wins.

    Raise ``InvalidWorkspace`` for a target that is absolute or leaves the root, and for an empty source.
    """

    projects: dict[str, str]

    def __post_init__(self) -> None:
        self.resolved()

    def __hash__(self) -> int:
        return hash(frozenset(self.projects.items()))

    def merge_into(self, outdir: str | pathlib.Path) -> None:
        """Copy each project to its target under *outdir*, without what its own ignore files leave out.

        Raise ``WorkspaceNotFound`` if a source does not exist.
        """
        # The one step from here to a later row of the import order: Workspace is TorchX's, and so is this
        # method.
        from topcoat.workspace.merge import merge

        merge(self, outdir)

    @staticmethod
    def from_str(workspace: str | None) -> Workspace:
        """Parse what ``--workspace`` and configuration files hold.

        Nothing, a path or URL, or a YAML mapping of sources to targets in block or flow style, where an empty
        target is the root::

            ~/code/app
            ~/code/app: app
            {~/code/app: app, ~/code/lib: }

        A path stays the path it is, whatever else YAML would take it for (``123``, ``yes``, ``@x``, ``a
        #b``), and so does an existing path with a colon and a space in it. Raise ``InvalidWorkspace`` for
        what is neither.
        """
        return Workspace(parse_projects(workspace))
