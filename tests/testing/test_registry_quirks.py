"""``docs/registries.md`` describes exactly the quirks and options that the registry in memory has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from topcoat.testing.registry import QUIRKS, FakeRegistry

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs/registries.md").read_text()
_TESTS = "".join(
    (_ROOT / "tests" / name).read_text()
    for name in ("destinations/test_quirks.py", "registry/test_credentials.py", "registry/test_upload_session.py")
)
# Arguments that do not model a peculiarity of real registries.
_PLAIN = {"self", "quirks", "username", "password", "tls"}


def _rows(columns: int) -> list[list[str]]:
    lines = [line.strip().strip("|").split(" | ") for line in _PAGE.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines if len(line) == columns]
    return [row for row in rows if not set("".join(row)) <= set("-| ")]


def _table() -> list[list[str]]:
    head, *rows = _rows(5)
    assert head == ["quirk", "seen at", "what topcoat does", "mode", "test"]
    return rows


def test_every_quirk_and_option_has_a_row_and_every_row_names_one() -> None:
    modes = [row[3].strip("`") for row in _table()]
    arguments = set(inspect.signature(FakeRegistry.__init__).parameters) - _PLAIN
    assert sorted(modes) == sorted(QUIRKS.keys() | arguments)


def test_every_row_names_an_existing_test() -> None:
    named = [row[-1].strip("`") for row in _table()] + [row[-1].strip("`") for row in _rows(3)[1:]]
    assert len(named) > len(QUIRKS)
    for name in named:
        assert re.search(rf"def {name}\(", _TESTS), name


def test_every_cell_of_the_table_is_filled_in() -> None:
    for row in _table():
        assert all(row), row


def test_quirks_are_sorted() -> None:
    assert list(QUIRKS) == sorted(QUIRKS)
