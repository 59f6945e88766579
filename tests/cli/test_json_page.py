"""docs/json.md says what ``--json`` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.command_docs import command_docs
from topcoat.testing.registry import FakeRegistry

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}
WITHOUT = {"exec", "completion"}


def fields(section: str) -> dict[str, set[str]]:
    """Return the fields in a section of the page, and their types."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {path: set(types.split(", ")) for path, types in re.findall(r"^\| `(\S+)` \| ([^|]+) \|", text, re.M)}


def leaves(value: Any, known: dict[str, set[str]], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and type of what is in *value*, down to the paths that the page has."""
    if path in known and known[path] & {"object", "any"}:
        yield path, "any" if "any" in known[path] else TYPES[type(value)]
    elif isinstance(value, dict):
        for key, item in value.items():
            parent = f"{path}." if path else ""
            is_any = any(name.startswith(f"{parent}*") for name in known)
            yield from leaves(item, known, f"{parent}{'*' if is_any else key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, known, f"{path}[]")
    else:
        yield path, TYPES[type(value)]


def check(section: str, *objects: Any) -> None:
    known = fields(section)
    assert known, f"no section {section}"
    found: set[str] = set()
    for value in objects:
        for path, kind in leaves(value, known):
            assert path in known, f"{section}: {path} is not on the page"
            allowed = known[path] | ({"integer"} if "number" in known[path] else set())
            assert kind in allowed, f"{section}: {path} is {kind}"
            found.add(path)
    assert found == known.keys(), f"{section}: never printed: {known.keys() - found}"


def test_every_command_has_json_and_a_place_on_the_page() -> None:
    page = PAGE.read_text()
    for doc in command_docs():
        has_json = any("--json" in flag.spellings for flag in doc.flags)
        assert has_json == (doc.name not in WITHOUT), doc.name
        assert re.search(rf"^## {doc.name}$|^Also.* `{doc.name}`", page, re.M) or doc.name in WITHOUT, doc.name


def test_the_page_has_what_the_commands_of_jobs_print(cli: Cli, workspace: Path, tmp_path: Path) -> None:
    ended = cli("run", "--json", "--", "sh", "-c", "echo line; echo x > out.txt").json
    check("status", ended, cli("status", "--json").json, cli("run", "--json", "--detach", "--", "true").json)
    check("list", cli("list", "--json").json, cli("list", "-s", "local", "--json").json)
    handle = ended["handle"]
    check("describe", cli("describe", "--json", handle).json)
    check("log", *map(json.loads, cli("log", "--json", handle).out.splitlines()))
    check("cp", cli("cp", "--json", f"{handle}:out.txt", str(tmp_path / "copy")).json)
    check("cancel", cli("cancel", "--json", handle).json, cli("delete", "--json", "--force", handle).json)
    check("run --dryrun", cli("run", "--dryrun", "--json", "--", "true").json)


def test_the_page_has_what_the_other_commands_print(
    cli: Cli, workspace: Path, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fake_registry.host
    words = ("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app", "--json")
    check("build", cli(*words).json)
    check("ls", cli("ls", "--json").json)
    check("runopts", cli("runopts", "--json").json)
    check("builtins", cli("builtins", "--json").json)
    check("init", cli("init", "--json", "pkg").json, cli("configure", "--json").json)
    monkeypatch.setattr("topcoat.cli.disk._UNUSED_CACHE_S", -10.0)
    monkeypatch.setattr("topcoat.cli.disk._UNUSED_SPOOL_S", -10.0)
    check("gc", cli("gc", "--json").json)


def test_the_page_has_what_errors_print(cli: Cli, workspace: Path) -> None:
    check("Errors", cli("status", "--json", "no-such-job").json)
    check("Errors", cli("run", "--json", "--dryrun", "-i", "--", "true").json)
