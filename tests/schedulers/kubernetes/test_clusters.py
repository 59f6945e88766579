"""A job that was submitted to another cluster than kubectl's is found by the next command."""

from __future__ import annotations

from pathlib import Path

import pytest

from topcoat.errors import InvalidHandle
from topcoat.schedulers.kubernetes.clusters import Named, forget, recall, remember


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def test_the_options_that_name_a_cluster_are_kept_until_the_job_is_deleted(tmp_path: Path) -> None:
    remember("team:app-x1", Named("conf", "staging"))
    assert recall("team:app-x1") == Named(str(tmp_path / "conf"), "staging")
    assert recall("team:app-x2") == Named()
    forget("team:app-x1")
    forget("team:app-x1")
    assert recall("team:app-x1") == Named()


def test_nothing_is_written_for_the_cluster_that_kubectl_uses(state: Path) -> None:
    remember("team:app-x1", Named())
    assert not state.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"context": 1}', "\x00"])
def test_a_damaged_record_counts_as_none(state: Path, text: str) -> None:
    remember("team:app-x1", Named(None, "staging"))
    (record,) = (state / "topcoat" / "kubernetes").iterdir()
    record.write_text(text)
    assert recall("team:app-x1") == Named()


def test_a_state_directory_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember("team:app-x1", Named(None, "staging"))
    assert recall("team:app-x1") == Named()


@pytest.mark.parametrize("app_id", ["app", "a/b:c", "../x:y", "a:b:c", ":", "A:b", "a:" + "x" * 300])
def test_an_invalid_id_names_no_file(app_id: str) -> None:
    with pytest.raises(InvalidHandle):
        recall(app_id)
