from __future__ import annotations

from typing import Any

import pytest

from topcoat.schedulers.slurm.states import (
    appstate_from_slurm_state,
    combined_state,
    ending_in_words,
    exit_in_words,
    get_appstate_from_job,
    reason_in_words,
)
from topcoat.specs import AppState


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("CANCELLED by 0", AppState.CANCELLED),
        ("CANCELLED+", AppState.CANCELLED),
        ("COMPLETED", AppState.SUCCEEDED),
        ("COMPLETING", AppState.RUNNING),
        ("OUT_OF_MEMORY", AppState.FAILED),
        ("REQUEUE_HOLD", AppState.PENDING),
        ("SOMETHING_NEW", AppState.UNKNOWN),
        ("", AppState.UNKNOWN),
    ],
)
def test_states_of_slurm_are_states_of_applications(state: str, expected: AppState) -> None:
    assert appstate_from_slurm_state(state) is expected


@pytest.mark.parametrize("state", ["RUNNING", ["RUNNING"], ["RUNNING", "COMPLETING"]])
def test_the_state_in_json_is_a_string_or_a_list(state: Any) -> None:
    assert get_appstate_from_job({"job_state": state}) is AppState.RUNNING


@pytest.mark.parametrize("job", [{}, {"job_state": []}, {"job_state": None}, {"job_state": 7}])
def test_a_state_in_json_that_is_missing_is_unknown(job: dict[str, Any]) -> None:
    assert get_appstate_from_job(job) is AppState.UNKNOWN


def test_a_job_runs_while_a_component_runs() -> None:
    assert combined_state([AppState.SUCCEEDED, AppState.RUNNING, AppState.PENDING]) is AppState.RUNNING
    assert combined_state([AppState.SUCCEEDED, AppState.FAILED]) is AppState.FAILED
    assert combined_state([]) is AppState.UNKNOWN


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("None", ""),
        ("(Priority)", "other jobs have a higher priority (Priority)"),
        ("QOSMaxGRESPerJob", "a limit of the QOS is reached: GRES per job (QOSMaxGRESPerJob)"),
        ("QOSMaxJobsPerUserLimit", "a limit of the QOS is reached: jobs per user (QOSMaxJobsPerUserLimit)"),
        ("AssocGrpCPUMinutesLimit", "a limit of the account is reached: CPU minutes (AssocGrpCPUMinutesLimit)"),
        ("QOSNotAllowed", "its account or partition does not allow its QOS (QOSNotAllowed)"),
        ("QOSMinCpuNotSatisfied", "it requests less than the minimum of the QOS: cpu (QOSMinCpuNotSatisfied)"),
        ("QOSMinGRES", "it requests less than the minimum of the QOS: GRES (QOSMinGRES)"),
        ("BadConstraints", "no node has what it requests, and it would wait for ever: cancel it (BadConstraints)"),
        ("JobHoldMaxRequeue", "it was requeued too often, and is held: scontrol release (JobHoldMaxRequeue)"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n2",
            "a node that it requests is not available (ReqNodeNotAvail, UnavailableNodes:n2)",
        ),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        ),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_the_reason_why_a_job_waits_is_in_words(reason: str, words: str) -> None:
    assert reason_in_words(reason) == words


def test_how_a_job_ended_is_in_words() -> None:
    assert ending_in_words("TIMEOUT") == "it reached its time limit"
    assert ending_in_words("OUT_OF_MEMORY") == "it ran out of memory"
    assert ending_in_words("FAILED") == ""
    assert exit_in_words(3) == "ended with exit code 3"
    assert exit_in_words(139) == "ended with exit code 139 (SIGSEGV)"
    assert exit_in_words(200) == "ended with exit code 200"
    assert exit_in_words(0, 9) == "was killed by SIGKILL"
