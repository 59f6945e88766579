"""Every test that the threat model names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/threat-model.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", PAGE)))


def test_the_page_names_tests_for_everybody_who_may_lie() -> None:
    assert len(NAMED) > 20
    for who in (
        "A registry",
        "A base image",
        "A workspace",
        "A component file",
        "A configuration file",
        "Another user",
    ):
        assert f"**{who}" in PAGE


@pytest.mark.parametrize(("file", "names"), NAMED)
def test_a_test_that_the_page_names_exists(file: str, names: str) -> None:
    text = (ROOT / file).read_text()
    for name in names.removeprefix("::").split("::"):
        assert re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("file", sorted(set(re.findall(r"tests/[\w/]+\.py", PAGE))))
def test_a_file_that_the_page_names_exists(file: str) -> None:
    assert (ROOT / file).exists()
