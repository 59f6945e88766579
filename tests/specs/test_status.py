from __future__ import annotations

import json

import pytest
import yaml

from topcoat.errors import AppFailed
from topcoat.specs import (
    NONE,
    AppState,
    AppStatus,
    AppStatusError,
    ReplicaStatus,
    RoleStatus,
    is_started,
    is_terminal,
)


def _status(error: str = NONE, state: AppState = AppState.FAILED) -> AppStatus:
    replicas = [ReplicaStatus(1, AppState.SUCCEEDED, "b", "h1"), ReplicaStatus(0, state, "b", "h0", error)]
    return AppStatus(state, num_restarts=2, msg="", roles=[RoleStatus("a", []), RoleStatus("b", replicas)])


def test_states_have_torchx_numbers() -> None:
    assert {state.name: state.value for state in AppState} == {
        "UNSUBMITTED": 0,
        "SUBMITTED": 1,
        "PENDING": 2,
        "RUNNING": 3,
        "SUCCEEDED": 4,
        "FAILED": 5,
        "CANCELLED": 6,
        "UNKNOWN": 7,
    }
    assert (str(AppState.FAILED), f"{AppState.FAILED}", repr(AppState.FAILED)) == (
        "FAILED",
        "FAILED",
        "FAILED (5)",
    )


def test_three_states_are_terminal_and_four_are_started() -> None:
    terminal = {AppState.SUCCEEDED, AppState.FAILED, AppState.CANCELLED}
    assert {state for state in AppState if is_terminal(state)} == terminal
    assert {state for state in AppState if is_started(state)} == terminal | {AppState.RUNNING}
    assert AppStatus(AppState.FAILED).is_terminal()
    assert not AppStatus(AppState.UNKNOWN).is_terminal()


def test_the_address_of_a_replica_is_its_hostname_by_default() -> None:
    assert ReplicaStatus(0, AppState.RUNNING, "r", "node1").hostaddr == "node1"
    assert ReplicaStatus(0, AppState.RUNNING, "r", "node1", hostaddr="10.0.0.1").hostaddr == "10.0.0.1"


def test_raise_for_status_raises_with_the_reason_unless_succeeded() -> None:
    AppStatus(AppState.SUCCEEDED).raise_for_status()
    status = _status('{"message": {"message": "boom", "extraInfo": {}}}')
    with pytest.raises(AppFailed, match=r"the job did not succeed: FAILED: b\[0\]: boom") as caught:
        status.raise_for_status()
    assert caught.value.status is status
    assert AppStatusError is AppFailed
    with pytest.raises(AppStatusError, match="CANCELLED: stopped by hand"):
        AppStatus(AppState.CANCELLED, msg="stopped by hand").raise_for_status()


def test_to_json_returns_plain_data_as_torchx_does() -> None:
    data = json.loads(json.dumps(_status().to_json(filter_roles=["b"])))
    assert data.keys() == {"state", "num_restarts", "roles", "msg", "structured_error_msg", "url"}
    assert (data["state"], [role["role"] for role in data["roles"]]) == ("FAILED", ["b"])
    assert data["roles"][0]["replicas"][1]["state"] == 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ('{"message": {"message": "boom", "errorCode": 7, "extraInfo": {"timestamp": 0}}}', ["boom", "19"]),
        ('{"message": "flat", "errorCode": 3, "timestamp": 0}', ["flat", "exitcode: 3", "hostname: h0"]),
        ('{"message": "x", "timestamp": "soon"}', ["exitcode: <N/A>", "timestamp: <N/A>"]),
        ('{"message": {"message": "m", "extraInfo": null}}', ["error_msg: m", "timestamp: <N/A>"]),
        ("not json", ["error_msg: not json"]),
        ('{"other": 1}', ['error_msg: {"other": 1}']),
        ("[1]", ["error_msg: [1]"]),
    ],
)  # fmt: skip
def test_format_shows_the_content_of_the_error_file(error: str, expected: list[str]) -> None:
    text = _status(error).format()
    assert all(part in text for part in expected), text


def test_format_lists_replicas_by_number() -> None:
    lines = _status().format().splitlines()
    assert lines[:3] == ["AppStatus:", "    State: FAILED", "    Num Restarts: 2"]
    assert lines[4:6] == [" *b[0]:FAILED (no error file)", "  b[1]:SUCCEEDED"]
    assert "b[0]" not in _status().format(filter_roles=["a"])


def test_text_is_yaml_with_the_error_file_as_torchx_prints_it() -> None:
    text = str(AppStatus(AppState.FAILED, msg="m", structured_error_msg='{"message": "x"}'))
    assert yaml.safe_load(text) == {
        "AppStatus": {
            "msg": "m",
            "num_restarts": 0,
            "roles": [],
            "state": "FAILED (5)",
            "structured_error_msg": {"message": "x"},
            "ui_url": None,
        }
    }
    assert yaml.safe_load(repr(AppStatus(AppState.RUNNING)))["AppStatus"]["structured_error_msg"] == NONE
