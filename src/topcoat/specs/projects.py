"""Parse and normalise the projects of a workspace: the part of `Workspace` that every build needs.

It is a module of its own because `Workspace` is a dataclass, like TorchX's, and importing ``dataclasses`` takes as long
as scanning a small workspace.
"""

from __future__ import annotations

import os.path
import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from topcoat.errors import InvalidWorkspace

if TYPE_CHECKING:
    from yaml import Node, ScalarNode

# Quotes, flow style, a complex key, several lines, or a colon before a space or the end; anything else is a path.
_MAY_BE_YAML = r"""\A["'{\[]|\A\?\s|\n|:(?:\s|\Z)"""
_NULL_TAG = "tag:yaml.org,2002:null"
_HINT = """quote a path: '"my: path"', or map paths to directories: '{~/code/app: app, ~/code/lib: lib}'"""


class ProjectSpec(NamedTuple):
    """Map a directory or file of a workspace to its target.

    *source* is a path (``~`` expanded) or a URL; *target* is relative, with ``/`` as separator, and empty for the root.
    """

    source: str
    target: str


class Projects:
    """Map local directories, or single files, to directories under the job's remote root; see `Workspace`."""

    projects: dict[str, str]

    def __init__(self, projects: dict[str, str]) -> None:
        self.projects = projects
        self.resolved()

    def __bool__(self) -> bool:
        return bool(self.projects)

    def __str__(self) -> str:
        """Return ``path`` or ``path:target;path2``, for messages; it is not parsed again."""
        return ";".join(f"{source}:{target}" if target else source for source, target in self.projects.items())

    def is_unmapped_single_project(self) -> bool:
        """Tell whether this is a single project whose target is the root."""
        return list(self.projects.values()) == [""]

    def resolved(self) -> tuple[ProjectSpec, ...]:
        """Return the projects in order, with ``~`` expanded and targets normalised, or raise ``InvalidWorkspace``."""
        return tuple(ProjectSpec(_source(source), _target(source, target)) for source, target in self.projects.items())


def parse_projects(workspace: str | None) -> dict[str, str]:
    """Parse a workspace in the grammar of ``Workspace.from_str`` into source to target."""
    text = (workspace or "").strip()
    if workspace and workspace != text and os.path.lexists(os.path.expanduser(workspace)):
        return {workspace: ""}
    if not text:
        return {}
    if not re.search(_MAY_BE_YAML, text) or os.path.lexists(os.path.expanduser(text)):
        return {text: ""}
    return _parse_yaml(text)


def _parse_yaml(text: str) -> dict[str, str]:
    import yaml

    try:
        # Nodes, not values: they keep the text of scalars that YAML reads as numbers, booleans and dates.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "invalid YAML"
        raise InvalidWorkspace(
            f"invalid workspace {text!r}: neither a path nor a YAML mapping: {problem}", hint=_HINT
        ) from None
    if node is None:
        return {}
    if isinstance(node, yaml.ScalarNode):
        if node.style not in ("'", '"') and node.value != text:
            raise InvalidWorkspace(f"invalid workspace {text!r}: YAML reads it as {node.value!r}", hint=_HINT)
        return {node.value: ""}
    if not isinstance(node, yaml.MappingNode):
        raise InvalidWorkspace(f"invalid workspace {text!r}: expected a path or a mapping, not a list", hint=_HINT)
    projects: dict[str, str] = {}
    for key, value in node.value:
        source = _scalar(key, text).value
        if source in projects:
            raise InvalidWorkspace(f"invalid workspace {text!r}: duplicate path {source!r}", hint=_HINT)
        target = _scalar(value, text)
        projects[source] = "" if target.tag == _NULL_TAG else target.value
    return projects


def _scalar(node: Node, text: str) -> ScalarNode:
    from yaml import ScalarNode

    if isinstance(node, ScalarNode):
        return node
    kind = "list" if node.tag.endswith(":seq") else "mapping"
    raise InvalidWorkspace(f"invalid workspace {text!r}: expected a path, not a {kind}", hint=_HINT)


def _source(source: object) -> str:
    if not isinstance(source, str) or not source.strip() or "\0" in source:
        raise InvalidWorkspace(f"invalid path {source!r} in the workspace", hint=_HINT)
    return source if "://" in source else os.path.expanduser(source)


def _target(source: str, target: object) -> str:
    if not isinstance(target, str) or "\0" in target:
        raise InvalidWorkspace(f"invalid target {target!r} of {source!r} in the workspace")
    path = target.replace("\\", "/") if os.sep == "\\" else target
    if path.startswith("/") or re.match(r"[A-Za-z]:[/\\]", path) or ".." in path.split("/"):
        raise InvalidWorkspace(
            f"invalid target {target!r} of {source!r}: it leaves the workspace's root",
            hint="targets are relative, without '..'; the run option workspace_dir moves the root itself",
        )
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal
