from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from topcoat.errors import InvalidWorkspace
from topcoat.specs import Workspace


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", [None, "", "  ", "{}", "# only\n# comments"])
def test_an_empty_string_or_mapping_is_an_empty_workspace(text: str | None) -> None:
    assert Workspace.from_str(text) == Workspace({})


@pytest.mark.parametrize(
    ("text", "projects"),
    [
        ("/a/b: c", {"/a/b": "c"}),
        ("{/a: x, /b: y/z}", {"/a": "x", "/b": "y/z"}),
        ("{/a: , /b: null, /c: ~}", {"/a": "", "/b": "", "/c": ""}),
        ("\n/a: x\n/b:\n", {"/a": "x", "/b": ""}),
        ("/a: x  # why\n/b: y", {"/a": "x", "/b": "y"}),
        ("~/a: x", {"~/a": "x"}),
        ("s3://bucket/key: x", {"s3://bucket/key": "x"}),
        ("'/my: path': x", {"/my: path": "x"}),
        ("'/my: path'", {"/my: path": ""}),
        ('"/a\\tb"', {"/a\tb": ""}),
        ("{123: 5, yes: no, 2024-01-01: 1.5}", {"123": "5", "yes": "no", "2024-01-01": "1.5"}),
        ("null: x", {"null": "x"}),
        ("a: 'null'", {"a": "null"}),
        ("/a:", {"/a": ""}),
    ],
)
def test_a_yaml_mapping_keeps_its_scalars_as_text(text: str, projects: dict[str, str]) -> None:
    assert Workspace.from_str(text).projects == projects


@pytest.mark.parametrize(
    "text",
    ["/a", ".", "~", "~/x", "123", "1.5", "yes", "null", "2024-01-01", "@x", "*x", "&x", "%x", "!x", "| x",
     "> x", "`x`", "- x", "---", "a #b", "#a", "C:\\code", "/a:b", "file:///a", "memory://x", "s3://b/k",
     "a, b", "a}"],
)  # fmt: skip
def test_a_path_that_yaml_reads_as_another_type_is_a_path(text: str) -> None:
    assert Workspace.from_str(text).projects == {text: ""}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0:")).map(str.strip))
def test_text_without_colons_quotes_or_brackets_is_a_path(text: str) -> None:
    assume(text and text[0] not in "\"'[{?" and len(text.splitlines()) == 1)
    assert Workspace.from_str(text).projects == {text: ""}


@pytest.mark.parametrize("name", ["path with: colon", "{braces}", "[a, b]", "'", "a: b: c", "x:", '"q"'])
def test_an_existing_path_with_yaml_syntax_is_a_path(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert Workspace.from_str(name).projects == {name: ""}
    assert Workspace.from_str(str(tmp_path / name)).projects == {str(tmp_path / name): ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "neither a path nor a YAML mapping: mapping values are not allowed here"),
        ("*x: y", "neither a path nor a YAML mapping"),
        ("@x: y", "neither a path nor a YAML mapping"),
        ("'abc", "neither a path nor a YAML mapping"),
        ("{a: b", "neither a path nor a YAML mapping"),
        ("[a, b]", "expected a path or a mapping, not a list"),
        ("a: [b]", "expected a path, not a list"),
        ("a: {b: c}", "expected a path, not a mapping"),
        ("[a]: b", "expected a path, not a list"),
        ("a #b: c", "YAML reads it as 'a'"),
        ("a\nb", "YAML reads it as 'a b'"),
        ("{a: x, a: y}", "duplicate path 'a'"),
        ("{'': x}", "invalid path '' in the workspace"),
        ("a: /abs", "invalid target '/abs' of 'a': it leaves the workspace's root"),
        ("a: ../up", "leaves the workspace's root"),
        ("a: x/../../up", "leaves the workspace's root"),
    ],
)
def test_text_that_is_neither_path_nor_mapping_is_an_error_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(InvalidWorkspace, match=message) as caught:
        Workspace.from_str(text)
    assert caught.value.hint


@pytest.mark.parametrize("projects", [{"": ""}, {" ": ""}, {"a": None}, {"a": 5}, {None: ""}, {"a\0": ""}, {"a": "\0"}])
def test_a_workspace_with_invalid_projects_cannot_be_created(projects: dict[str, str]) -> None:
    with pytest.raises(InvalidWorkspace):
        Workspace(projects)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])), st.text(alphabet="a./\\:~"))
def test_a_target_stays_inside_the_root_or_is_an_error(source: str, target: str) -> None:
    assume(source.strip())
    try:
        (project,) = Workspace({source: target}).resolved()
    except InvalidWorkspace:
        return
    path = os.path.normpath(os.path.join("/root/dir", project.target))
    assert path == "/root/dir" or path.startswith("/root/dir/")


def test_resolving_expands_the_home_directory_and_normalises_targets() -> None:
    workspace = Workspace({"~/a": "./x//y/", "file://~/b": ".", "rel": ""})
    assert workspace.resolved() == (
        (os.path.expanduser("~/a"), "x/y"),
        ("file://~/b", ""),
        ("rel", ""),
    )
    assert workspace.projects["~/a"] == "./x//y/"


@given(
    st.dictionaries(
        st.from_regex(r"/[\w./-]{1,12}", fullmatch=True),
        st.from_regex(r"([a-z]{1,5}/?){0,2}", fullmatch=True),
        min_size=1,
    )
)
def test_parsing_a_block_mapping_returns_its_projects(projects: dict[str, str]) -> None:
    block = "\n" + "\n".join(f"{source}: {target}" for source, target in projects.items())
    flow = "{" + ", ".join(f"'{source}': '{target}'" for source, target in projects.items()) + "}"
    assume(not any(target in ("null", "Null") for target in projects.values()))
    assert Workspace.from_str(flow).projects == projects
    assert Workspace.from_str(block).projects == projects
