"""What names a workspace, and the record of its last delivery."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from topcoat.destinations.push_records import PushRecord, last_push_record, workspace_key, write_push_record
from topcoat.specs import Workspace


def test_a_workspace_is_named_by_its_absolute_paths(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert workspace_key(Workspace({".": ""})) == str(tmp_path)
    assert workspace_key(Workspace({"~/a": "", "b/../c": "t"})) == f"{home}/a;{tmp_path}/c:t"
    assert workspace_key(Workspace({"s3://bucket/x": "t"})) == "s3://bucket/x:t"


def test_each_key_has_the_last_record_that_was_written_for_it() -> None:
    first, second = PushRecord("t1", ("a", "b"), ("x",)), PushRecord("t2", (), ())
    assert last_push_record("one") is None
    write_push_record(first, "one", "w")
    write_push_record(second, "one", os.fsdecode(b"\xff"))
    assert last_push_record("one", "w") == first
    assert last_push_record("one", os.fsdecode(b"\xff")) == second
    assert last_push_record("onew") is None
    write_push_record(second, "one", "w")
    assert last_push_record("one", "w") == second


def test_a_record_that_cannot_be_written_is_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/x"))
    write_push_record(PushRecord("t", (), ()), "one")
    assert "working without a cache" in caplog.text
    assert last_push_record("one") is None
