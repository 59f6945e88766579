"""JobSet and Kueue on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.components.kubernetes import Kubernetes
from tests.schedulers.kubernetes.conftest import Jobs, wait
from tests.schedulers.kubernetes.test_logs_on_a_cluster import Follower
from topcoat.specs import AppState, Resource, RetryPolicy


@pytest.fixture
def queue(on_cluster: Jobs, kueue: Kubernetes) -> Iterator[str]:
    """A LocalQueue with room for one CPU."""
    name = on_cluster.namespace
    resources: list[dict[str, Any]] = [
        {"name": "cpu", "nominalQuota": "1"},
        {"name": "memory", "nominalQuota": "1Gi"},
    ]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "default", "resources": resources}]}
    api = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    kueue.apply(
        {**api, "kind": "ResourceFlavor", "metadata": {"name": "default"}},
        {
            **api,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
        {
            **api,
            "kind": "LocalQueue",
            "metadata": {"name": "lq", "namespace": name},
            "spec": {"clusterQueue": name},
        },
    )
    yield "lq"
    on_cluster.cluster.ctl.call("-n", name, "delete", "jobsets,jobs", "--all", "--wait=false")


def test_all_roles_of_a_job_set_restart_when_one_pod_is_killed(on_cluster: Jobs, job_sets: Kubernetes) -> None:
    script = "trap 'exit 1' TERM; echo begun; sleep 600 & wait"
    roles = [
        on_cluster.role(script, name, max_retries=2, retry_policy=RetryPolicy.APPLICATION)
        for name in ("trainer", "reader")
    ]
    handle = on_cluster.submit(*roles)
    wait(lambda: [on_cluster.log_has(handle, "begun", role) for role in ("trainer", "reader")] == [True, True])
    followers = [Follower(on_cluster, handle, role) for role in ("trainer", "reader")]
    wait(lambda: all(follower.lines for follower in followers))
    before = {pod["metadata"]["uid"] for pod in on_cluster.pods()}
    killed = next(pod for pod in on_cluster.pods() if "trainer" in pod["metadata"]["name"])["metadata"]["name"]
    on_cluster.cluster.ctl("-n", on_cluster.namespace, "delete", "pod", killed, "--wait=false", "--grace-period=1")

    def all_are_new() -> bool:
        pods = on_cluster.pods()
        running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
        return len(running) == 2 and not before & {pod["metadata"]["uid"] for pod in pods}

    wait(all_are_new)
    status = on_cluster.wait(handle, AppState.RUNNING)
    assert status.num_restarts == 1
    wait(lambda: [follower.lines for follower in followers] == [["begun\n"] * 2] * 2)
    on_cluster.runner.cancel(handle)
    assert [follower.end() for follower in followers] == [["begun\n"] * 2] * 2
    assert on_cluster.status(handle).state is AppState.CANCELLED
    on_cluster.runner.delete(handle)
    wait(lambda: on_cluster.get("jobsets,jobs,services,pods")["items"] == [])


def test_a_job_over_the_quota_of_its_queue_waits_says_so_and_then_runs(on_cluster: Jobs, queue: str) -> None:
    resource = Resource(cpu=1, gpu=0, memMB=32)
    first = on_cluster.submit(
        on_cluster.role("trap exit TERM; sleep 600 & wait", resource=resource), queue=queue, reserved_millicpu=200
    )
    on_cluster.wait(first, AppState.RUNNING)
    second = on_cluster.submit(on_cluster.role("echo runs", resource=resource), queue=queue, reserved_millicpu=200)
    follower = Follower(on_cluster, second)
    status = wait(lambda: (found := on_cluster.status(second)) and "insufficient unused quota" in found.msg and found)
    assert status.state is AppState.PENDING
    assert status.msg.startswith("waits in the queue lq: couldn't assign flavors to pod set main: insufficient unused")
    on_cluster.runner.cancel(first)
    assert on_cluster.wait(second).state is AppState.SUCCEEDED
    assert follower.end() == ["runs\n"]
    # Kueue does not start a cancelled job again.
    assert on_cluster.status(first).state is AppState.CANCELLED


def test_a_queue_that_does_not_exist_is_named(on_cluster: Jobs, queue: str) -> None:
    handle = on_cluster.submit(on_cluster.role("true"), queue="absent")
    status = wait(lambda: (found := on_cluster.status(handle)) and "exist" in found.msg and found)
    assert status.msg == "waits in the queue absent: LocalQueue absent doesn't exist"
