from __future__ import annotations

import pytest

from topcoat.specs import AppDef, AppDryRunInfo


def test_a_dry_run_shows_its_request() -> None:
    info = AppDryRunInfo({"cmd": "ls"}, lambda request: f"run {request['cmd']}")
    assert (repr(info), str(info), info.request) == ("run ls", "run ls", {"cmd": "ls"})


def test_a_dry_run_knows_what_it_was_made_from_once_told() -> None:
    info = AppDryRunInfo(1, str)
    assert (info.app, dict(info.cfg), info.scheduler) == (None, {}, None)
    info._app, info._cfg, info._scheduler = AppDef("a"), {"k": 1}, "local"
    assert (info.app, dict(info.cfg), info.scheduler) == (AppDef("a"), {"k": 1}, "local")


def test_the_options_of_a_dry_run_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        AppDryRunInfo(1, str).cfg["k"] = 1  # type: ignore[index]
