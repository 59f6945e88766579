"""The walk finds what a filter over every path finds, and looks into no directory that it need not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidIgnorePattern
from topcoat.scan.ignore import IgnoreRules
from topcoat.scan.tree import NodeKind, SourceNode
from topcoat.scan.walk import walk

Tree = dict[str, "Tree | NodeKind"]

_NAMES = ["a", "b", "ab", "a.py", "b.txt", ".a", "docs"]
_PARTS = [*_NAMES, "*", "?", "**", "*.py", "[ab]", "a*"]

_trees: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(["file", "link", "other"]), max_size=4),
    lambda below: st.dictionaries(st.sampled_from(_NAMES), st.one_of(below, st.just("file")), max_size=4),
    max_leaves=12,
)
_patterns = st.builds(
    lambda sign, parts: sign + "/".join(parts),
    st.sampled_from(["", "", "!"]),
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3),
)


def node(name: str, kind: NodeKind) -> SourceNode:
    return SourceNode(name, kind, 0o644, 0, 0, 0, 0)


class Listed:
    """A tree that notes which directories were listed; members come in the order in which they were put in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.listed: list[str] = []

    def __call__(self, path: str) -> list[SourceNode]:
        self.listed.append(path)
        members = self._tree
        for part in path.split("/") if path else []:
            below = members[part]
            assert isinstance(below, dict)
            members = below
        return [node(name, "dir" if isinstance(item, dict) else item) for name, item in members.items()]


def everything(tree: Tree, prefix: str = "") -> list[tuple[str, NodeKind]]:
    collected: list[tuple[str, NodeKind]] = []
    for name, item in tree.items():
        collected.append((prefix + name, "dir" if isinstance(item, dict) else item))
        if isinstance(item, dict):
            collected += everything(item, f"{prefix}{name}/")
    return collected


def left_out(path: str, rules: IgnoreRules) -> bool:
    """Decide about one path from the root down, with no walk to prune anything."""
    excluded, state = False, rules.ROOT_STATE
    for at in [*(at for at, char in enumerate(path) if char == "/"), len(path)]:
        excluded, state = rules.decide(path[:at], state)
    return excluded


@given(_trees, st.lists(_patterns, max_size=5))
def test_the_walk_agrees_with_a_filter_over_every_path(tree: Tree, patterns: list[str]) -> None:
    try:
        rules = IgnoreRules.from_patterns(patterns, "rules")
    except InvalidIgnorePattern:
        return
    listings = list(walk(Listed(tree), rules))
    members = {
        (f"{listing.path}/{member.name}" if listing.path else member.name, member.kind)
        for listing in listings
        for member in listing.members
    }
    assert members == {(path, kind) for path, kind in everything(tree) if kind != "dir" and not left_out(path, rules)}
    directories = {listing.path for listing in listings if listing.path and not listing.excluded}
    assert directories == {path for path, kind in everything(tree) if kind == "dir" and not left_out(path, rules)}


@given(_trees, st.lists(_patterns, max_size=5))
def test_parents_come_first_and_names_in_order(tree: Tree, patterns: list[str]) -> None:
    listings = list(walk(Listed(tree), IgnoreRules.from_patterns(patterns, "rules")))
    paths = [listing.path.split("/") if listing.path else [] for listing in listings]
    assert paths == sorted(paths)
    for listing in listings:
        for nodes in (listing.members, listing.directories):
            assert [each_node.name for each_node in nodes] == sorted(each_node.name for each_node in nodes)


@pytest.mark.parametrize(
    ("patterns", "listed"),
    [
        (["data"], ["", "src"]),
        (["data", "!src/a"], ["", "src"]),
        (["data", "!data/keep/a"], ["", "data", "data/keep", "src"]),
        (["data", "!data/keep/**"], ["", "data", "data/keep", "src"]),
        (["data", "!**/*.py"], ["", "data", "data/keep", "data/more", "src"]),
        (["**"], [""]),
    ],
)
def test_a_directory_that_no_rule_can_bring_back_is_not_listed(patterns: list[str], listed: list[str]) -> None:
    tree = Listed({"data": {"keep": {"a": "file"}, "more": {"b": "file"}}, "src": {"a": "file"}})
    list(walk(tree, IgnoreRules.from_patterns(patterns, "rules")))
    assert tree.listed == listed


def test_the_walk_is_lazy() -> None:
    tree = Listed({"a": {}, "b": {}})
    next(walk(tree, IgnoreRules()))
    assert tree.listed == [""]


def test_a_deep_tree_does_not_exhaust_the_stack() -> None:
    tree: Tree = {}
    for _ in range(3000):
        tree = {"d": tree}
    assert (
        sum(1 for _ in walk(lambda path: [node("d", "dir")] if path.count("/") < 2999 else [], IgnoreRules())) == 3001
    )


def test_a_directory_of_a_remote_file_system_that_lists_itself_is_walked_once() -> None:
    root = [SourceNode("d", "dir", 0o755, 0, 0, 0, 0, {"name": "archive!/d"})]
    listings = list(walk(lambda path: root, IgnoreRules()))
    assert [listing.path for listing in listings] == ["", "d"]
