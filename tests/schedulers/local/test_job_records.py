"""Whatever a record contains, it is what is expected or an error of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.schedulers.local.job_records import read_job, read_status

STATUS: dict[str, Any] = {
    "state": "RUNNING",
    "msg": "",
    "num_restarts": 0,
    "pid": 7,
    "start": "1",
    "replicas": [{"role": "w", "id": 0, "state": "RUNNING", "exit_code": None, "pid": 8, "start": "2"}],
}
FILES = dict.fromkeys(("stdout", "stderr", "combined", "error_file"), "/x")
JOB: dict[str, Any] = {
    "scheduler": "local",
    "host": "here boot ns",
    "created": 1.5,
    "launcher": [7, "1"],
    "replicas": [{"role": "w", "id": 0, "cwd": "/", **FILES}],
}


def write(directory: Path, content: bytes | dict[str, Any]) -> Path:
    path = directory / "job.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_a_good_record_is_returned(tmp_path: Path) -> None:
    assert read_status(write(tmp_path, STATUS)) == STATUS
    write(tmp_path, JOB)
    assert read_job(tmp_path) == JOB


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b" " * 9000, "the file is empty"),
        (b"\0" * 4096, "Expecting value"),
        (b"{", "Expecting"),
        (b"\xff\xfe\xfa", "utf|decode"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"state": ' + b"9" * 5000 + b"}", "20 digits"),
        (b"[]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        ({**STATUS, "state": "PONDERING"}, "invalid state 'PONDERING'"),
        ({**STATUS, "state": None}, "'state' is missing"),
        ({**STATUS, "state": ["RUNNING"]}, "invalid state"),
        ({**STATUS, "pid": 10**18}, "invalid pid"),
        ({**STATUS, "pid": "7"}, "invalid pid"),
        ({**STATUS, "msg": 7}, "invalid msg"),
        ({**STATUS, "replicas": None}, "'replicas' is missing or invalid"),
        ({**STATUS, "replicas": [7]}, "expected a JSON object"),
        ({**STATUS, "replicas": [{**STATUS["replicas"][0], "started_at": 1e300}]}, "invalid started_at"),
        ({**STATUS, "replicas": [{**STATUS["replicas"][0], "ended_at": float("nan")}]}, "NaN is not JSON"),
        ({**STATUS, "replicas": [{**STATUS["replicas"][0], "exit_code": 1e5}]}, "invalid exit_code"),
    ],
)
def test_a_damaged_status_is_an_error(tmp_path: Path, content: bytes | dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_status(write(tmp_path, content))


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"host": " "},
        {"host": 7},
        {"created": "yesterday"},
        {"created": 1e20},
        {"launcher": []},
        {"launcher": [None, None]},
        {"scheduler": None},
        {"replicas": [{"role": "w", "id": 0, "cwd": "/"}]},
        {"metadata": []},
        {"roles": {}},
        {"linked": "x"},
    ],
)
def test_a_damaged_job_is_an_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, {**JOB, **changes})
    with pytest.raises(ValueError, match=r"invalid|missing"):
        read_job(tmp_path)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*STATUS, *JOB]), inner, max_size=5),
    max_leaves=10,
)


@given(st.sampled_from(sorted(STATUS)), _json, st.sampled_from(sorted(STATUS["replicas"][0])), _json)
def test_any_value_in_any_field_is_accepted_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any, replica_field: str, replica_value: Any
) -> None:
    replica = {**STATUS["replicas"][0], replica_field: replica_value}
    path = write(tmp_path_factory.getbasetemp(), {**STATUS, "replicas": [replica], field: value})
    try:
        status = read_status(path)
    except ValueError:
        return
    assert isinstance(status["msg"], str)
    assert all(isinstance(each["role"], str) for each in status["replicas"])
