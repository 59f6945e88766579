from __future__ import annotations

from pathlib import Path

import pytest

from topcoat.specs import TORCHX_HOME


def test_the_environment_variable_sets_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHX_HOME", str(tmp_path / "tx"))
    assert TORCHX_HOME("a", "b") == tmp_path / "tx/a/b"
    assert (tmp_path / "tx/a/b").is_dir()


def test_the_default_is_in_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCHX_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert TORCHX_HOME() == tmp_path / ".torchx"
