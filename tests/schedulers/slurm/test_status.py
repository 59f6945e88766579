"""The status of jobs, for what was recorded on a real cluster."""

from __future__ import annotations

from typing import Any

import pytest

from topcoat.schedulers.local.app_json import role_to_dict
from topcoat.schedulers.slurm.parse import QueueRow, Record, Run, Step
from topcoat.schedulers.slurm.status import JobFacts, describe_ended, describe_forgotten, describe_queued, run_state
from topcoat.specs import AppState, Role


def run(state: str, code: int = 0, signal: int = 0, **fields: Any) -> Run:
    ended = Run("7", 0, state, code, signal, 0, 0, 1.0, 2.0, 3.0, "n1", "root", "/w/.topcoat", "job")
    return ended._replace(**fields)


def facts(*records: Record, **fields: Any) -> JobFacts:
    roles = [role_to_dict(Role(name, "", num_replicas=2)) for name in ("a", "b")]
    return JobFacts(app={"roles": roles}, records={record.name: record for record in records}, **fields)


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (run("FAILED", 3), "it ended with exit code 3"),
        (run("FAILED", 0, 11), "it was killed by SIGSEGV"),
        (run("FAILED", 11, derived_signal=11), "a step was killed by SIGSEGV"),
        (run("COMPLETED", 0, derived_exit_code=7), "a step ended with exit code 7"),
        (run("COMPLETED"), ""),
        (run("OUT_OF_MEMORY", 0, 125), "it ran out of memory"),
        (run("FAILED", 1, derived_signal=125, steps=(Step("0", "OUT_OF_MEMORY", 0, 125),)), "it ran out of memory"),
        (run("TIMEOUT"), "it reached its time limit"),
        (run("NODE_FAIL"), "a node failed"),
        (run("PREEMPTED"), "it was preempted by another job"),
        (run("CANCELLED by 0"), "cancelled by user 0"),
        (run("CANCELLED"), "cancelled"),
        (
            run("FAILED", 0, 53),
            "it could not be launched on its node; if its job directory is missing there, the nodes do not share the "
            "file system of job_root (JobLaunchFailure)",
        ),
    ],
)
def test_the_message_says_how_the_job_ended(ended: Run, message: str) -> None:
    assert describe_ended("7", [ended], JobFacts()).msg == message


def test_a_command_beside_a_replica_that_fails_does_not_change_the_message() -> None:
    ended = run("COMPLETED", 0, derived_exit_code=7, steps=(Step("1", "FAILED", 7, 0),))
    assert describe_ended("7", [ended], facts(Record("a-0", "n1", 1, 5, 0))).msg == ""


def test_the_guilty_component_is_named_and_not_those_that_were_ended_because_of_it() -> None:
    runs = [
        run("FAILED", 15, component=0, derived_signal=15),
        run("FAILED", 15, component=1, derived_exit_code=3),
    ]
    assert describe_ended("7", runs, JobFacts()).msg == "a step ended with exit code 3"


def test_the_record_of_the_first_replica_that_failed_says_more_than_slurm() -> None:
    known = facts(Record("a-0", "n1", 1, 5, 143), Record("b-1", "n2", 1, 5, 200), Record("a-1", "n3", 1, 4, 0))
    described = describe_ended("7", [run("FAILED", 72)], known)
    assert described.msg == "b/1 ended with exit code 200 on n2"
    states = [replica.state for part in described.roles_statuses for replica in part.replicas]
    assert states == [AppState.FAILED, AppState.SUCCEEDED, AppState.FAILED, AppState.FAILED]
    assert described.roles_statuses[1].replicas[1].hostname == "n2"


def test_why_the_batch_script_ran_nothing_is_the_message() -> None:
    known = facts(failure="topcoat: the snapshot /w does not exist on n1: nothing was run")
    assert describe_ended("7", [run("FAILED", 66)], known).msg == known.failure


def test_a_pending_of_the_accounting_is_not_believed_if_a_step_runs() -> None:
    assert run_state(run("PENDING", steps=(Step("batch", "RUNNING", 0, 0),))) is AppState.RUNNING
    assert run_state(run("PENDING")) is AppState.PENDING


def queued(state: str, reason: str = "None", component: int = 0) -> QueueRow:
    return QueueRow("7", component, state, reason, "n1", 1.0, "root", "/w/.topcoat", "job")


def test_a_job_that_waits_says_why_and_its_replicas_wait() -> None:
    known = facts(Record("a-0", "n1", 1, 5, 3), restarts=0)
    described = describe_queued("7", [queued("PENDING"), queued("PENDING", "BeginTime", 1)], known)
    assert described.state is AppState.PENDING
    assert described.msg.endswith("(BeginTime)")
    assert described.num_restarts == 1
    assert {replica.state for part in described.roles_statuses for replica in part.replicas} == {AppState.PENDING}


def test_replicas_of_a_running_job_have_states_of_their_own() -> None:
    known = facts(Record("a-0", "n1", 1, None, None), Record("a-1", "n2", 1, 4, 0), restarts=2)
    described = describe_queued("7", [queued("RUNNING")], known)
    assert [replica.state for replica in described.roles_statuses[0].replicas] == [AppState.RUNNING, AppState.SUCCEEDED]
    assert [replica.state for replica in described.roles_statuses[1].replicas] == [AppState.PENDING, AppState.PENDING]
    assert (described.num_restarts, described.msg) == (2, "")


def test_a_job_that_is_suspended_says_so_and_has_not_been_restarted() -> None:
    known = facts(Record("a-0", "n1", 1, None, None), restarts=2)
    described = describe_queued("7", [queued("SUSPENDED")], known)
    assert (described.num_restarts, described.state) == (2, AppState.PENDING)
    assert described.msg.startswith("it is suspended: scontrol resume")
    assert described.roles_statuses[0].replicas[0].hostname == "n1"


def test_the_runs_of_a_job_are_its_restarts() -> None:
    assert describe_ended("7", [run("REQUEUED"), run("NODE_FAIL"), run("COMPLETED")], JobFacts()).num_restarts == 2


def test_a_job_without_accounting_has_its_records() -> None:
    known = facts(Record("a-0", "n1", 1, 5, 3))
    described = describe_forgotten("7", "FAILED", known, "NonZeroExitCode")
    assert (described.state, described.msg) == (AppState.FAILED, "a/0 ended with exit code 3 on n1")
    assert describe_forgotten("7", "TIMEOUT", JobFacts()).msg == "it reached its time limit"


def test_before_the_accounting_knows_a_job_its_own_record_says_why_it_failed() -> None:
    """The message is the one that `describe_ended` gives a moment later."""
    missing = facts(failure="the snapshot /w/code does not exist on n1")
    assert describe_forgotten("7", "FAILED", missing, "NonZeroExitCode").msg == missing.failure
    ended = facts(Record("a-0", "n1", 1, 5, 143))
    assert describe_forgotten("7", "TIMEOUT", ended).msg == "it reached its time limit"


def test_the_error_file_of_a_replica_is_its_structured_error() -> None:
    known = facts(errors={"b-0": '{"message": "boom"}'})
    described = describe_ended("7", [run("FAILED", 1)], known)
    assert described.structured_error_msg == '{"message": "boom"}'
    assert described.roles_statuses[1].replicas[0].structured_error_msg == '{"message": "boom"}'


@pytest.mark.parametrize("app", [{}, {"roles": [{}]}, {"roles": None}, {"roles": [1]}, {"roles": "x"}])
def test_a_damaged_job_json_leaves_a_status(app: dict[str, Any]) -> None:
    assert describe_ended("7", [run("COMPLETED")], JobFacts(app=app)).state is AppState.SUCCEEDED
