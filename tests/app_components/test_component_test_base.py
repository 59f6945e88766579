from __future__ import annotations

import unittest
from pathlib import Path

import pytest

from topcoat.components import utils
from topcoat.components.component_test_base import ComponentTestCase
from topcoat.specs import AppState, AppStatus


class Case(ComponentTestCase):
    """The tests that a user would write."""

    __test__ = False
    status: AppStatus | None = None

    def test_good(self) -> None:
        assert Path(self.test_dir).is_dir()
        self.validate(utils, "copy")

    def test_bad(self) -> None:
        self.validate(utils, "no_such_component")

    def test_run(self) -> None:
        Case.status = self.run_component(utils.echo, {"msg": "hi"}, timeout=30)


def _run(name: str) -> unittest.TestResult:
    result = unittest.TestResult()
    Case(name).run(result)
    return result


def test_a_valid_component_passes_and_a_missing_one_fails() -> None:
    assert _run("test_good").wasSuccessful()
    assert "has no function 'no_such_component'" in _run("test_bad").errors[0][1]


def test_a_component_is_run_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert _run("test_run").wasSuccessful()
    assert Case.status is not None
    assert Case.status.state is AppState.SUCCEEDED
