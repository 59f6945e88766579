"""A workspace as the user declares it: local directories, and where each lands. No file is read here."""

from __future__ import annotations

import os.path
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from topcoat.errors import InvalidWorkspace

if TYPE_CHECKING:
    import pathlib

    from yaml import Node, ScalarNode


class Project(NamedTuple):
    """Name one directory or file of a workspace, ready for use.

    *source* is a path (``~`` expanded) or a URL; *target* is relative, with ``/`` between its parts, empty
    for the root.
    """

    source: str
    target: str


@dataclass
class Workspace:
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

    def __bool__(self) -> bool:
        return bool(self.projects)

    def __hash__(self) -> int:
        return hash(frozenset(self.projects.items()))

    def __str__(self) -> str:
        """Return the path alone, or ``path:target;path2`` (to show; ``from_str`` does not read it)."""
        return ";".join(f"{source}:{target}" if target else source for source, target in self.projects.items())

    def is_unmapped_single_project(self) -> bool:
        """Tell whether this is one directory that becomes the root itself."""
        return list(self.projects.values()) == [""]

    def resolved(self) -> tuple[Project, ...]:
        """Return the projects in order, ``~`` expanded and targets normalised.

        Raise ``InvalidWorkspace`` if one cannot be used.
        """
        return tuple(Project(_source(source), _target(source, target)) for source, target in self.projects.items())

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
        text = (workspace or "").strip()
        if not text:
            return Workspace({})
        if not _MAY_BE_YAML.search(text) or os.path.lexists(os.path.expanduser(text)):
            return Workspace({text: ""})
        return Workspace(_parse_yaml(text))


# Quotes, flow style, a complex key, several lines, or a colon before a space or the end; all else is a path.
_MAY_BE_YAML = re.compile(r"""\A["'{\[]|\A\?\s|\n|:(?:\s|\Z)""")
_NULL_TAG = "tag:yaml.org,2002:null"
_HINT = """quote a path: '"my: path"', or map paths to directories: '{~/code/app: app, ~/code/lib: lib}'"""


def _parse_yaml(text: str) -> dict[str, str]:
    import yaml

    try:
        # Nodes, not values: they keep the text of what YAML would turn into numbers, booleans and dates.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not readable"
        raise InvalidWorkspace(
            f"the workspace {text!r} is neither a path nor a mapping: {problem}", hint=_HINT
        ) from None
    if node is None:
        return {}
    if isinstance(node, yaml.ScalarNode):
        if node.style not in ("'", '"') and node.value != text:
            raise InvalidWorkspace(f"the workspace {text!r} reads as {node.value!r}, not as written", hint=_HINT)
        return {node.value: ""}
    if not isinstance(node, yaml.MappingNode):
        raise InvalidWorkspace(f"the workspace {text!r} is a list; map each path to a directory", hint=_HINT)
    projects: dict[str, str] = {}
    for key, value in node.value:
        source = _scalar(key, text).value
        if source in projects:
            raise InvalidWorkspace(f"the workspace {text!r} has {source!r} twice", hint=_HINT)
        target = _scalar(value, text)
        projects[source] = "" if target.tag == _NULL_TAG else target.value
    return projects


def _scalar(node: Node, text: str) -> ScalarNode:
    from yaml import ScalarNode

    if isinstance(node, ScalarNode):
        return node
    kind = "list" if node.tag.endswith(":seq") else "mapping"
    raise InvalidWorkspace(f"the workspace {text!r} has a {kind} where a path belongs", hint=_HINT)


def _source(source: object) -> str:
    if not isinstance(source, str) or not source.strip() or "\0" in source:
        raise InvalidWorkspace(f"the workspace has a project without a path: {source!r}", hint=_HINT)
    return source if "://" in source else os.path.expanduser(source)


def _target(source: str, target: object) -> str:
    if not isinstance(target, str) or "\0" in target:
        raise InvalidWorkspace(f"the target of {source!r} in the workspace is not a directory name: {target!r}")
    path = target.replace("\\", "/") if os.sep == "\\" else target
    if path.startswith("/") or re.match(r"[A-Za-z]:[/\\]", path) or ".." in path.split("/"):
        raise InvalidWorkspace(
            f"the target {target!r} of {source!r} leaves the workspace's root",
            hint="targets are relative, without '..'; the run option workspace_dir moves the root itself",
        )
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal
