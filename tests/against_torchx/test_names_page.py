"""``docs/torchx-names.md`` in a fresh process, where ``torchx`` is topcoat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.against_torchx.names_page import NAMES, REASONS, reason

_ROOT = Path(__file__).parents[2]


def test_the_page_is_generated_from_the_code_and_every_missing_name_has_a_reason() -> None:
    command = [sys.executable, "-m", "tests.against_torchx.names_page"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    assert "| no:  |" not in done.stdout
    expected = (_ROOT / "docs/torchx-names.md").read_text(encoding="utf-8")
    assert done.stdout == expected, f"run: {' '.join(command[1:])} > docs/torchx-names.md"


def test_every_reason_is_for_a_documented_name() -> None:
    assert {text for name in NAMES if (text := reason(name))} == set(REASONS.values())
