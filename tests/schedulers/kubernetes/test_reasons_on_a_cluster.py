"""Status says on a real cluster why a job does not run, or has failed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.components.images import Image
from tests.components.registries import Registry
from tests.schedulers.kubernetes.conftest import Jobs, wait
from tests.support.notices import recorded_notices
from topcoat.specs import AppState, AppStatus, CfgVal, Resource, Role, VolumeMount


class Situation(NamedTuple):
    """A role that does not run, and what status says of it."""

    state: AppState
    message: str
    fields: Mapping[str, Any] = MappingProxyType({})
    cfg: Mapping[str, CfgVal] = MappingProxyType({})
    script: str = "sleep 60"


def container(volumes: Sequence[Any] = (), **fields: Any) -> dict[str, CfgVal]:
    """Return the run option that gives the container these fields, and the pod *volumes*."""
    spec = {"__join__:containers:name": [{"name": "main", **fields}], "volumes": list(volumes)}
    return {"pod_overlay": json.dumps({"spec": spec})}


_PENDING, _FAILED = AppState.PENDING, AppState.FAILED
_VOLUMES = [{"name": "v", "configMap": {"name": "absent"}}]
SITUATIONS = {
    "the image does not exist": Situation(
        _PENDING,
        r"trainer/0: the image cannot be pulled: ErrImagePull: .*absent:1.* not found",
        {"image": "HOST/absent:1"},
    ),
    "the registry is down": Situation(
        _PENDING, r"the image cannot be pulled: .*connection refused", {"image": "127.0.0.1:1/a:1"}
    ),
    "the registry wants a login": Situation(
        _PENDING, r"ErrImagePull: .*no basic auth credentials", {"image": "TLS/a:1"}
    ),
    "the pull secret does not exist": Situation(
        _PENDING, r"image pull secrets \(nope\)", {"image": "TLS/a:1"}, {"image_pull_secrets": ["nope"]}
    ),
    "too few CPUs": Situation(
        _PENDING,
        r"trainer/0: cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu",
        {"resource": Resource(cpu=500, gpu=0, memMB=32)},
    ),
    "no GPU": Situation(
        _PENDING,
        r"0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
        {"resource": Resource(cpu=-1, gpu=8, memMB=32)},
    ),
    "no such node": Situation(
        _PENDING, r"didn't match Pod's node affinity/selector", {}, {"node_selector": {"pool": "absent"}}
    ),
    "the claim does not exist": Situation(
        _PENDING, r'persistentvolumeclaim "absent" not found', {"mounts": [VolumeMount("absent", "/data")]}
    ),
    "the secret does not exist": Situation(
        _PENDING,
        r'cannot start: CreateContainerConfigError: secret "absent" not found',
        {},
        container(envFrom=[{"secretRef": {"name": "absent"}}]),
    ),
    "the volume's source does not exist": Situation(
        _PENDING,
        r'FailedMount: .*configmap "absent" not found',
        {},
        container(_VOLUMES, volumeMounts=[{"name": "v", "mountPath": "/v"}]),
    ),
    "the priority class does not exist": Situation(
        _PENDING, r"pods cannot be created: .*no PriorityClass with name absent", {}, {"priority_class": "absent"}
    ),
    "the service account does not exist": Situation(
        _PENDING, r'pods cannot be created: .*serviceaccount "absent" not found', {}, {"service_account": "absent"}
    ),
    "a command that does not exist": Situation(
        _FAILED, r"trainer/0: could not run: StartError: .*/absent", {"entrypoint": "/absent", "args": []}
    ),
    "a failure": Situation(_FAILED, r"trainer/0: ended with exit code 3", script="exit 3"),
    "too little memory": Situation(
        _FAILED,
        r"trainer/0: ran out of memory \(OOMKilled, limit 32M\w*\), exit code 137",
        script="exec tail /dev/zero",
    ),
    "a deadline": Situation(
        _FAILED, r"trainer: DeadlineExceeded: Job was active longer than", {}, {"active_deadline_seconds": 2}
    ),
}


def role_of(jobs: Jobs, situation: Situation, tls: Registry) -> Role:
    role = jobs.role(situation.script)
    for name, value in situation.fields.items():
        setattr(role, name, value)
    role.image = role.image.replace("HOST/", jobs.image.partition("/")[0] + "/").replace("TLS/", f"{tls.host}/")
    return role


def test_status_says_why_a_job_does_not_run(on_cluster: Jobs, tls_registry: Registry, busybox_image: Image) -> None:
    busybox_image.push(tls_registry, "a", "1")
    handles = {
        name: on_cluster.submit(role_of(on_cluster, item, tls_registry), **{"pull_patience": 600, **item.cfg})
        for name, item in SITUATIONS.items()
    }
    missing = dict(SITUATIONS)

    def all_are_explained() -> bool:
        for name, item in list(missing.items()):
            status = on_cluster.status(handles[name])
            if status.state is item.state and re.search(item.message, status.msg):
                del missing[name]
        return not missing

    try:
        wait(all_are_explained)
    except AssertionError:
        pytest.fail("\n".join(f"{name}: {on_cluster.status(handles[name]).msg!r}" for name in missing))


def test_status_names_the_quota_that_keeps_pods_from_being_created(on_cluster: Jobs) -> None:
    on_cluster.cluster.ctl("-n", on_cluster.namespace, "create", "quota", "q", "--hard=pods=1")
    wait(lambda: on_cluster.get("quota", "q").get("status", {}).get("hard"))
    handle = on_cluster.submit(on_cluster.role("sleep 60", replicas=2), gang="none")
    status = wait_for_message(on_cluster, handle, lambda status: "quota" in status.msg)
    assert re.search(r"trainer: pods cannot be created: .*exceeded quota: q, requested: pods=1", status.msg)


def wait_for_message(jobs: Jobs, handle: str, check: Callable[[AppStatus], bool]) -> AppStatus:
    def arrived() -> AppStatus | None:
        status = jobs.status(handle)
        return status if check(status) else None

    status = wait(arrived)
    assert status is not None
    return status


def test_waiting_ends_when_an_image_cannot_be_pulled(on_cluster: Jobs) -> None:
    host = on_cluster.image.partition("/")[0]
    handle = on_cluster.submit(on_cluster.role("true", image=f"{host}/absent:1"), pull_patience=1)
    status = on_cluster.runner.wait(handle, wait_interval=0.2)
    assert status is not None
    assert status.state is AppState.FAILED
    assert "absent:1: not found" in status.msg
    # The log of a pod that never starts ends too.
    assert on_cluster.log(handle) == []


def test_a_follower_says_why_the_replica_does_not_run(on_cluster: Jobs) -> None:
    handle = on_cluster.submit(on_cluster.role("true"), node_selector={"pool": "absent"})
    lines = on_cluster.runner.log_lines(handle, "trainer", 0, should_tail=True)
    with recorded_notices() as notices:
        thread = threading.Thread(target=lambda: list(lines))
        thread.start()
        # On a busy machine, an admission webhook may not know the job at first, which is said too.
        expected = "trainer/0: cannot be scheduled: 0/1 nodes are available"
        wait(lambda: any(text.startswith(expected) for text in notices))
        on_cluster.runner.delete(handle)
        thread.join(60)


def test_a_gang_one_slot_short_binds_no_pod_and_all_once_there_is_room(on_cluster: Jobs) -> None:
    blocker = on_cluster.submit(
        on_cluster.role("trap exit TERM; sleep 600 & wait", name="blocker", resource=Resource(cpu=1, gpu=0, memMB=32)),
        reserved_millicpu=0,
    )
    on_cluster.wait(blocker, AppState.RUNNING)
    roles = [
        on_cluster.role("sleep 600", name=name, replicas=count, resource=Resource(cpu=1, gpu=0, memMB=32))
        for name, count in (("trainer", 2), ("reader", 1))
    ]
    # Two fit beside the blocker, and the gang has three.
    handle = on_cluster.submit(*roles, reserved_millicpu=500)
    status = wait_for_message(on_cluster, handle, lambda status: "Insufficient cpu" in status.msg)
    assert status.state is AppState.PENDING
    assert [pod["metadata"]["labels"]["dev.topcoat.role"] for pod in on_cluster.bound_pods()] == ["blocker"]
    on_cluster.runner.delete(blocker)
    on_cluster.wait(handle, AppState.RUNNING)
    wait(lambda: len(on_cluster.bound_pods()) == 3)


def test_a_gang_that_waits_without_a_word_is_noticed(on_cluster: Jobs) -> None:
    on_cluster.cluster.ctl("-n", on_cluster.namespace, "create", "quota", "q", "--hard=pods=1")
    wait(lambda: on_cluster.get("quota", "q").get("status", {}).get("hard"))
    handle = on_cluster.submit(on_cluster.role("sleep 60", replicas=2))
    (pod,) = wait(on_cluster.pods)
    assert pod["status"].get("conditions", []) == []
    status = wait_for_message(on_cluster, handle, lambda status: bool(status.msg))
    # The quota is why the gang is not complete.
    assert "exceeded quota: q" in status.msg
    assert status.state is AppState.PENDING
