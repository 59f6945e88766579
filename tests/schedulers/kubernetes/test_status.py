from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schedulers.kubernetes.objects import BEGUN, NOW, condition, ended, event, job, pod, scheduled, unschedulable
from topcoat.schedulers.kubernetes.labels import ANNOTATION_CANCELLED, ANNOTATION_ROLE_NAME
from topcoat.schedulers.kubernetes.observe import AppObjects
from topcoat.schedulers.kubernetes.reasons import needs_events
from topcoat.schedulers.kubernetes.replica_states import replica_times, replicas_of
from topcoat.schedulers.kubernetes.status import AppSummary, summarize
from topcoat.specs import NONE, AppState

PENDING, RUNNING, SUCCEEDED = AppState.PENDING, AppState.RUNNING, AppState.SUCCEEDED
FAILED, CANCELLED = AppState.FAILED, AppState.CANCELLED
RUNS = {"running": {"startedAt": BEGUN}}
BACK_OFF = "Back-off pulling image"


def summary(*jobs: Any, pods: Any = (), **objects: Any) -> AppSummary:
    return summarize(AppObjects(NOW, jobs or (job(),), pods, **objects))


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({"state": {"waiting": {"reason": "ErrImagePull", "message": "x: not found"}}}, PENDING,
         "trainer/0: the image cannot be pulled: ErrImagePull: x: not found"),
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": f"{BACK_OFF} x: ErrImagePull: x: not found"}}},
         PENDING, "trainer/0: the image cannot be pulled: ErrImagePull: x: not found"),
        ({"state": {"waiting": {"reason": "InvalidImageName", "message": "bad"}}}, PENDING,
         "trainer/0: the image cannot be pulled: InvalidImageName: bad"),
        ({"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "configmap n not found"}}}, PENDING,
         "trainer/0: cannot start: CreateContainerConfigError: configmap n not found"),
        ({"conditions": [unschedulable("0/1 nodes are available: 1 Insufficient cpu.")]}, PENDING,
         "trainer/0: cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu."),
        ({"state": ended(128, "StartError", "stat /nope: no such file")}, RUNNING,
         "trainer/0: could not run: StartError: stat /nope: no such file"),
        ({"state": ended(3)}, RUNNING, "trainer/0: ended with exit code 3"),
        ({"state": ended(137)}, RUNNING, "trainer/0: was killed by SIGKILL (exit code 137)"),
        ({"state": ended(137, "OOMKilled")}, RUNNING,
         "trainer/0: ran out of memory (OOMKilled, limit 64Mi), exit code 137"),
        # The kernel killed a child, and the shell ended with its own code.
        ({"state": ended(7, "OOMKilled")}, RUNNING,
         "trainer/0: ran out of memory (OOMKilled, limit 64Mi), exit code 7"),
        ({"initContainerStatuses": [{"name": "setup", "state": ended(9)}]}, PENDING,
         "trainer/0: container setup: ended with exit code 9"),
        ({"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long", "state": ended(0)}, RUNNING,
         "trainer/0: DeadlineExceeded: too long"),
        ({"conditions": [condition("DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting")]}, PENDING,
         "trainer/0: evicted: EvictionByEvictionAPI: Eviction API: evicting"),
        ({"conditions": [scheduled()], "state": {"waiting": {"reason": "ContainerCreating"}}}, PENDING, ""),
        ({"phase": "Running", "state": RUNS}, RUNNING, ""),
    ],
)  # fmt: skip
def test_a_pod_tells_why_it_does_not_run(status: dict[str, Any], state: AppState, message: str) -> None:
    result = summary(pods=[pod(**status)])
    assert (result.state, result.msg) == (state, message)


def test_events_tell_what_a_pod_that_starts_waits_for() -> None:
    starting = pod(conditions=[scheduled()], state={"waiting": {"reason": "ContainerCreating"}})
    assert needs_events([], [starting]) == ["p"]
    failed = event(starting, "FailedMount", 'configmap "n" not found')
    assert (
        summary(pods=[starting], events=[failed]).msg == 'trainer/0: cannot start: FailedMount: configmap "n" not found'
    )


def test_events_tell_why_a_job_has_too_few_pods_until_a_pod_exists() -> None:
    waiting = job(replicas=2, status={"active": 1})
    assert needs_events([waiting], []) == ["j"]
    denied = event(waiting, "FailedCreate", "exceeded quota: q")
    result = summary(waiting, pods=[pod(phase="Running", state=RUNS)], events=[denied])
    assert (result.state, result.msg) == (RUNNING, "trainer: pods cannot be created: exceeded quota: q")
    newer = pod(index=1, phase="Running", state=RUNS, created="2023-11-14T22:14:00Z")
    assert summary(waiting, pods=[newer], events=[denied]).msg == ""


def test_an_event_tells_that_a_node_is_lost() -> None:
    lost = pod(
        phase="Running",
        state=RUNS,
        conditions=[{"type": "Ready", "status": "False"}],
        spec={"nodeName": "node-1", "containers": [{"name": "main"}]},
    )
    result = summary(pods=[lost], events=[event(lost, "NodeNotReady", "Node is not ready")])
    assert result.msg == "trainer/0: the node node-1 does not respond: NodeNotReady: Node is not ready"


def test_replicas_with_one_reason_share_a_line() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    pods = [pod(index=index, conditions=[unschedulable(message)]) for index in range(4)]
    assert summary(job(replicas=4), pods=pods).msg == f"trainer/0 and 3 more: cannot be scheduled: {message}"


def gang(wanted: int) -> dict[str, Any]:
    return {"metadata": {"name": "g"}, "spec": {"schedulingPolicy": {"gang": {"minCount": wanted}}}}


def member(index: int = 0, **status: Any) -> dict[str, Any]:
    return pod(index=index, spec={"schedulingGroup": {"podGroupName": "g"}, "containers": [{"name": "main"}]}, **status)


def test_a_gang_names_what_the_pod_lacks_that_does_not_fit() -> None:
    waiting = "pod group is unschedulable, minCount (2) cannot be satisfied: 1 scheduled, 0 remaining"
    pods = [
        member(0, conditions=[unschedulable(waiting)]),
        member(1, conditions=[unschedulable("0/1 nodes are available: 1 Insufficient cpu.")]),
    ]
    result = summary(job(replicas=2), pods=pods, pod_groups=[gang(2)])
    assert result.msg == "trainer/1: cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu."


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "there is no PodGroup g"),
        ([gang(3)], "1 of 3 pods exist"),
        (
            [gang(1)],
            "the scheduler does not handle PodGroups (its feature gate GenericWorkload); submit with -cfg gang=none",
        ),
    ],
)
def test_a_gang_that_waits_without_a_condition_is_noticed(groups: Any, message: str) -> None:
    assert summary(pods=[member()], pod_groups=groups).msg == f"trainer/0: waits for its gang: {message}"


def test_a_job_in_a_queue_says_what_its_workload_waits_for() -> None:
    labels = {"kueue.x-k8s.io/queue-name": "lq"}
    queued = job(metadata={"labels": labels}, spec={"suspend": True}, status={"active": 0})
    workload = {
        "metadata": {"ownerReferences": [{"uid": "j"}]},
        "status": {
            "conditions": [{"type": "QuotaReserved", "status": "False", "message": "insufficient unused quota"}]
        },
    }
    result = summary(queued, workloads=[workload])
    assert (result.state, result.msg) == (PENDING, "waits in the queue lq: insufficient unused quota")
    inactive = {**workload, "spec": {"active": False}}
    assert summary(queued, workloads=[inactive]).state is CANCELLED


@pytest.mark.parametrize(
    ("status", "pods", "state", "message"),
    [
        ({"conditions": [condition("Complete")]}, [pod(phase="Succeeded", state=ended(0, "Completed"))], SUCCEEDED, ""),
        ({"conditions": [condition("Failed", "BackoffLimitExceeded", "limit")]}, [pod(phase="Failed", state=ended(3))],
         FAILED, "trainer/0: ended with exit code 3"),
        ({"conditions": [condition("Failed", "DeadlineExceeded", "Job was active longer")]}, [], FAILED,
         "trainer: DeadlineExceeded: Job was active longer"),
        # The pods end first.
        ({"conditions": [condition("FailureTarget", "DeadlineExceeded")]}, [pod(phase="Running", state=RUNS)], RUNNING,
         ""),
    ],
)  # fmt: skip
def test_a_job_that_has_ended_says_how(status: Any, pods: Any, state: AppState, message: str) -> None:
    result = summary(job(status=status), pods=pods)
    assert (result.state, result.msg) == (state, message)


def test_an_application_has_failed_when_one_of_its_jobs_has() -> None:
    failed = job(status={"conditions": [condition("Failed", "BackoffLimitExceeded")]})
    reader = job("reader")
    pods = [pod(state=ended(2), phase="Failed"), pod("reader", phase="Running", state=RUNS)]
    assert summary(failed, reader, pods=pods).state is FAILED


def test_a_job_that_is_suspended_is_cancelled_unless_a_queue_did_it() -> None:
    suspended: dict[str, Any] = {"spec": {"suspend": True}, "status": {"active": 0}}
    assert summary(job(**suspended)).state is CANCELLED
    marked = {"annotations": {ANNOTATION_CANCELLED: BEGUN, ANNOTATION_ROLE_NAME: "trainer"}}
    assert summary(job(metadata=marked)).state is CANCELLED
    ended_before = {"conditions": [condition("Complete")]}
    assert summary(job(metadata=marked, status=ended_before)).state is SUCCEEDED


@pytest.mark.parametrize(
    ("reason", "message", "age", "state"),
    [
        ("ErrImagePull", "x: not found", 59, PENDING),
        ("ErrImagePull", "x: not found", 61, FAILED),
        ("ErrImagePull", "authorization failed: no basic auth credentials", 61, FAILED),
        ("InvalidImageName", "bad", 61, FAILED),
        # A registry may come back.
        ("ErrImagePull", "connect: connection refused", 61, PENDING),
        ("ErrImagePull", "connect: connection refused", 601, FAILED),
    ],
)
def test_patience_with_a_pull_ends(reason: str, message: str, age: float, state: AppState) -> None:
    waiting = pod(conditions=[scheduled()], state={"waiting": {"reason": reason, "message": message}})
    begun = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc).timestamp()
    objects = AppObjects(begun + age, [job()], [waiting])
    assert summarize(objects).state is state


def test_patience_begins_with_the_first_failure_not_when_a_long_pull_begins() -> None:
    waiting = pod(conditions=[scheduled()], state={"waiting": {"reason": "ErrImagePull", "message": "x: not found"}})
    failed = event(waiting, "Failed", 'Failed to pull image "x": not found', "2023-11-14T22:14:50Z")
    assert summarize(AppObjects(NOW + 70, [job()], [waiting], events=[failed])).state is PENDING


def test_the_newest_pod_of_a_replica_counts_and_earlier_ones_are_restarts() -> None:
    first = pod(phase="Failed", state=ended(3), uid="a")
    second = pod(phase="Running", state=RUNS, uid="b", created="2023-11-14T22:14:00Z")
    result = summary(pods=[second, first])
    assert (result.state, result.num_restarts, result.msg) == (RUNNING, 1, "")


def test_a_replica_whose_pod_is_gone_has_the_state_that_its_job_knows() -> None:
    known = job(replicas=5, status={"completedIndexes": "0,2-3", "failedIndexes": "4"})
    states = [replica.state for replica in replicas_of(AppObjects(NOW, [known]))]
    assert states == [SUCCEEDED, PENDING, SUCCEEDED, SUCCEEDED, FAILED]


def test_roles_come_in_the_order_of_the_application() -> None:
    objects = AppObjects(NOW, [job("a"), job("b", uid="k")])
    assert [replica.role for replica in replicas_of(objects, ["b", "a"])] == ["b", "a"]
    assert [status.role for status in summarize(objects, ["b", "a"]).roles_statuses] == ["b", "a"]


def test_a_job_set_counts_its_restarts_and_says_why_it_gave_up() -> None:
    template = {"metadata": {"annotations": {ANNOTATION_ROLE_NAME: "trainer"}}, "spec": {"completions": 2}}
    job_set = {
        "kind": "JobSet",
        "metadata": {"name": "s", "uid": "s"},
        "spec": {"replicatedJobs": [{"name": "trainer", "template": template}]},
        "status": {"restarts": 2, "conditions": [condition("Failed", "ReachedMaxRestarts", "first failed job: s-0")]},
    }
    result = summarize(AppObjects(NOW, [], [pod(state=ended(3))], job_sets=[job_set]))
    assert (result.state, result.num_restarts) == (FAILED, 2)
    assert result.msg == "trainer/0: ended with exit code 3; ReachedMaxRestarts: first failed job: s-0"
    assert len(result.roles_statuses[0].replicas) == 2


def test_the_error_file_of_a_job_is_its_structured_error() -> None:
    error = '{"message": {"message": "boom"}}'
    assert summary(pods=[pod(phase="Failed", state=ended(1, message=error))]).structured_error_msg == error
    assert summary(pods=[pod(phase="Failed", state=ended(1, message="{cut"))]).structured_error_msg == NONE


def test_times_and_exit_codes_of_replicas() -> None:
    objects = AppObjects(NOW, [job(replicas=2)], [pod(phase="Failed", state=ended(3))])
    first, second = replica_times(objects)
    assert first.started == datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    assert first.ended == datetime(2023, 11, 14, 22, 13, 25, tzinfo=timezone.utc)
    assert first.exit_code == 3
    assert (second.started, second.exit_code) == (None, None)


def test_foreign_text_cannot_control_the_terminal() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": "\x1b[2J\nx"}
    assert "\x1b" not in summary(pods=[pod(state={"waiting": waiting})]).msg


_KEYS = (
    "metadata spec status conditions type state terminated waiting reason message containerStatuses containers name "
    "exitCode phase labels annotations completions failedIndexes creationTimestamp startedAt schedulingGroup uid"
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("a1-,Z:", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS.split()), inner, max_size=4),
    max_leaves=20,
)
_OBJECTS = st.lists(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), _JSON, max_size=3), max_size=3)


@given(_OBJECTS, _OBJECTS, _OBJECTS, _OBJECTS)
def test_malformed_objects_raise_nothing(jobs: Any, pods: Any, events: Any, groups: Any) -> None:
    objects = AppObjects(NOW, [job(), *jobs], pods, events=events, pod_groups=groups)
    needs_events(objects.jobs, objects.pods)
    summarize(objects)
    replica_times(objects)


def test_an_image_without_sh_is_told_how_to_run_several_replicas() -> None:
    message = 'exec: "sh": executable file not found in $PATH'
    failed = pod(state=ended(128, "StartError", message))
    (container,) = failed["spec"]["containers"]
    container["command"] = ["sh", "-c", "wait", "topcoat", "python"]
    assert summary(pods=[failed]).msg.endswith("for an image without sh: -cfg wait_for_rank0=false")
    container["command"] = ["sh", "-c", "own"]
    assert summary(pods=[failed]).msg.endswith(message)
