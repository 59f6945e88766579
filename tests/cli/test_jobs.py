"""What the commands that take handles have in common."""

from __future__ import annotations

import pytest

from topcoat.cli import arguments
from topcoat.cli.jobs import each_job, job_facts, status_facts
from topcoat.errors import InvalidHandle, UnknownApp
from topcoat.specs import AppState, AppStatus, ReplicaStatus, RoleStatus


class FakeRunner:
    """Knows every job but ``x://s/gone``."""

    def __enter__(self) -> FakeRunner:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def status(self, handle: str) -> AppStatus | None:
        return None if handle == "x://s/gone" else AppStatus(AppState.RUNNING)


def test_jobs_are_handled_in_order_until_an_unknown_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "open_runner", FakeRunner)
    done: list[str] = []
    assert each_job(["x://s/1", "x://s/2"], lambda runner, handle: done.append(handle), as_json=False) == 0
    with pytest.raises(UnknownApp, match="x://s/gone"):
        each_job(["x://s/3", "x://s/gone", "x://s/4"], lambda runner, handle: done.append(handle), as_json=False)
    assert done == ["x://s/1", "x://s/2", "x://s/3"]


def test_the_parts_of_a_handle_have_torchxs_names() -> None:
    assert job_facts("k8s://s/ns:app") == {"handle": "k8s://s/ns:app", "scheduler": "k8s", "app_id": "ns:app"}
    with pytest.raises(InvalidHandle):
        job_facts("ns:app")


def test_a_status_has_torchxs_keys_and_the_names_of_the_replicas_states() -> None:
    roles = [RoleStatus(name, [ReplicaStatus(0, AppState.FAILED, name, "host")]) for name in ("a", "b")]
    status = AppStatus(AppState.FAILED, ui_url="file:///logs", roles=roles)
    facts = status_facts("x://s/1", status, ["b"])
    assert facts.keys() == {
        *("handle", "app_id", "scheduler", "state", "num_restarts", "roles", "msg", "structured_error_msg", "url"),
        "ui_url",
    }
    assert (facts["state"], facts["url"], facts["ui_url"]) == ("FAILED", "file:///logs", "file:///logs")
    (role,) = facts["roles"]
    assert role["role"] == "b"
    assert (int(role["replicas"][0]["state"]), role["replicas"][0]["state_name"]) == (5, "FAILED")
    assert (role["replicas"][0]["structured_error_msg"], role["replicas"][0]["exit_code"]) == (None, None)
    # The status itself is as it was.
    added = {"state_name", "started", "ended", "duration_s", "exit_code"}
    assert status.to_json()["roles"][1]["replicas"][0].keys() == role["replicas"][0].keys() - added
