"""The programs of docs/first-component.md and docs/python.md run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment

DOCS = Path(__file__).parents[2] / "docs"
TRAIN = "import os, sys\nprint(sys.argv[1:], os.environ['JOB'][:6])\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the files of both pages; HOME is another one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    directory = tmp_path / "project"
    directory.mkdir()
    for page in ("first-component.md", "python.md"):
        for block in re.findall(r"^```python\n# (\S+)\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S):
            (directory / block[0]).write_text(block[1])
    (directory / "train.py").write_text(TRAIN)
    return directory


def run(place: Path, *words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr


def test_the_component_has_the_help_of_the_page_and_runs(place: Path) -> None:
    shown = run(place, "-m", "topcoat", "run", "jobs.py:train", "--help")
    assert shown in (DOCS / "first-component.md").read_text()
    shown = run(place, "-m", "topcoat", "run", "jobs.py:train", "--workers", "3", "--", "--lr", "0.1")
    assert "worker/2 ['--rank', '2', '--lr', '0.1'] train-" in shown
    assert "eval/0   evaluated" in shown


def test_the_script_submits_and_prints_the_log(place: Path) -> None:
    assert "[] from-p\n" in run(place, "submit.py")


def test_the_default_of_a_parameter_can_be_configured(place: Path) -> None:
    (place / ".torchxconfig").write_text("[component:jobs.py:train]\nworkers = 1\n")
    shown = run(place, "-m", "topcoat", "run", "jobs.py:train")
    assert "worker/1" not in shown
    assert "['--rank', '0']" in shown


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"
