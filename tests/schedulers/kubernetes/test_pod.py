"""The pod of a role."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.schedulers.kubernetes.apps import submission
from topcoat.errors import InvalidApp, InvalidOverlay
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.schedulers.kubernetes.pod import role_to_pod
from topcoat.schedulers.kubernetes.template import pod_template, read_files
from topcoat.specs import AppDef, BindMount, DeviceMount, Resource, Role, VolumeMount
from topcoat.specs.overlays import DEL, JOIN, PUT


def role(**fields: Any) -> Role:
    return Role("trainer", "image", entrypoint="python", **fields)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def template(trainer: Role, cfg: Opts | None = None, app_metadata: Any = None) -> dict[str, Any]:
    app = AppDef("app", [trainer], app_metadata or {})
    return pod_template(read_files(submission(app, cfg)), trainer, rank0_host="host", subdomain="app")


def test_requests_are_below_limits_by_what_nodes_reserve() -> None:
    trainer = role(resource=Resource(2, 1, 4096, devices={"vpc.amazonaws.com/efa": 4, "a.b/c": 2}))
    assert container(role_to_pod("main", trainer))["resources"] == {
        "limits": {
            "cpu": "2000m",
            "memory": "4096M",
            "nvidia.com/gpu": "1",
            "vpc.amazonaws.com/efa": "4",
            "a.b/c": "2",
        },
        "requests": {"cpu": "1900m", "memory": "3072M", "nvidia.com/gpu": "1"},
    }
    few = container(role_to_pod("main", role(resource=Resource(1, 0, 512)), None, 2000, 600))["resources"]
    assert few["requests"] == {"cpu": "0m", "memory": "0M"}
    assert "resources" not in container(role_to_pod("main", role()))


@pytest.mark.parametrize(("count", "expected"), [(None, "4"), (0, None), (2, "2")])
def test_the_number_of_efa_devices_can_be_set(count: int | None, expected: str | None) -> None:
    trainer = role(resource=Resource(1, 0, 0, devices={"vpc.amazonaws.com/efa": 4}))
    limits = container(role_to_pod("main", trainer, efa_device_count=count))["resources"]["limits"]
    assert limits.get("vpc.amazonaws.com/efa") == expected


def test_capabilities_select_nodes_and_tags_do_not() -> None:
    resource = Resource(1, 0, 0, capabilities={"node.kubernetes.io/instance-type": "p4d.24xlarge", "gpu": True})
    resource.tags["kubernetes.io/arch"] = "arm64"
    spec = template(role(resource=resource), Opts(node_selector={"pool": "a"}))["spec"]
    assert spec["nodeSelector"] == {"node.kubernetes.io/instance-type": "p4d.24xlarge", "gpu": "true", "pool": "a"}


def test_mounts_are_claims_and_paths_of_the_node() -> None:
    mounts: Any = [
        BindMount("/a", "/b", read_only=True),
        VolumeMount("claim", "/c"),
        DeviceMount("/dev/x", "/dev/y", "r"),
    ]
    pod = role_to_pod("main", role(mounts=mounts))
    assert pod["spec"]["volumes"][1:] == [
        {"name": "mount-0", "hostPath": {"path": "/a"}},
        {"name": "mount-1", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "mount-2", "hostPath": {"path": "/dev/x"}},
    ]
    assert container(pod)["volumeMounts"][1:] == [
        {"name": "mount-0", "mountPath": "/b", "readOnly": True},
        {"name": "mount-1", "mountPath": "/c", "readOnly": False},
        {"name": "mount-2", "mountPath": "/dev/y", "readOnly": True},
    ]
    assert container(pod)["securityContext"] == {"privileged": True}


def test_shared_memory_has_the_size_of_the_role_unless_it_mounts_its_own() -> None:
    volumes = role_to_pod("main", role(resource=Resource(1, 0, 2048)))["spec"]["volumes"]
    assert volumes == [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "2048M"}}]
    own = role_to_pod("main", role(mounts=[VolumeMount("claim", "/dev/shm/")]))
    assert [volume["name"] for volume in own["spec"]["volumes"]] == ["mount-0"]


@pytest.mark.parametrize(
    "fields",
    [
        {"args": ["a\0b"]},
        {"args": ["\udc80"]},
        {"env": {"A": "\0"}},
        {"env": {"A": 1}},
        {"env": {1: "a"}},
        {"args": [1]},
        {"port_map": {"p": "80"}},
        {"env": {"": "x"}},
        {"env": {"A=B": "x"}},
        {"env": {"é": "x"}},
        {"port_map": {"p": 0}},
        {"port_map": {"p": 65536}},
        {"mounts": [BindMount("/a", "/b"), VolumeMount("c", "/b")]},
        {"mounts": [BindMount("/a", "b")]},
        {"mounts": [BindMount("/a", "/b:c")]},
        {"resource": Resource(1, 0, 0, devices={"gpu": 1})},
        {"resource": Resource(1, 0, 0, capabilities={"gpu": {"a": 1}})},
    ],
)
def test_what_the_cluster_would_refuse_is_refused_here(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidApp) as raised:
        role_to_pod("main", role(**fields))
    assert raised.value.hint
    assert "trainer" in str(raised.value)


def test_names_of_ports_are_valid_and_unique() -> None:
    names = ["c10d", "A port", "29500", "a-port", "x" * 20, "x" * 21, "1"]
    ports = container(role_to_pod("main", role(port_map={name: 1 + i for i, name in enumerate(names)})))["ports"]
    given = [port["name"] for port in ports if "name" in port]
    assert given[:3] == ["c10d", "a-port", "p29500"]
    assert len(set(given)) == len(given) == 6
    assert all(len(name) <= 15 for name in given)
    assert [port["containerPort"] for port in ports] == [1, 2, 3, 4, 5, 6, 7]


def test_a_port_under_two_names_is_one_port() -> None:
    ports = container(role_to_pod("main", role(port_map={"a": 80, "b": 80, "c": 81})))["ports"]
    assert ports == [{"name": "a", "containerPort": 80}, {"name": "c", "containerPort": 81}]


def test_a_variable_may_hold_a_field_of_the_pod() -> None:
    entries = container(role_to_pod("main", role(env={"IP": "[FIELD_PATH]status.podIP"})))["env"]
    assert entries == [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


def test_options_reach_the_pod() -> None:
    cfg = Opts(
        service_account="runner",
        image_pull_secrets=["login", "login"],
        image_pull_policy="Always",
        priority_class="high",
        labels={"team": "a", "app.kubernetes.io/managed-by": "me", "dev.topcoat.app": "mine"},
        annotations={"note": "b"},
        tolerations=["gpu:NoSchedule"],
        affinity="{nodeAffinity: {}}",
    )
    pod = template(role(), cfg)
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "runner"
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["priorityClassName"] == "high"
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    labels = pod["metadata"]["labels"]
    assert (labels["team"], labels["app.kubernetes.io/managed-by"]) == ("a", "me")
    assert labels["dev.topcoat.app"] == "train-x1234567"
    assert pod["metadata"]["annotations"]["note"] == "b"
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"


def test_overlays_apply_in_order_and_our_labels_come_last() -> None:
    trainer = role(metadata={"kubernetes": {"spec": {"tolerations": [{"key": "c"}], DEL("volumes"): None}}})
    overlay = "{spec: {tolerations: [{key: a}]}, metadata: {labels: {dev.topcoat.app: mine, x: y}}}"
    pod = template(trainer, Opts(pod_overlay=overlay), {"kubernetes": {"spec": {"tolerations": [{"key": "b"}]}}})
    assert [item["key"] for item in pod["spec"]["tolerations"]] == ["a", "b", "c"]
    assert "volumes" not in pod["spec"]
    assert pod["metadata"]["labels"]["dev.topcoat.app"] == "train-x1234567"
    assert pod["metadata"]["labels"]["x"] == "y"


def test_an_overlay_changes_the_container_by_its_name() -> None:
    metadata = {
        "kubernetes": {"spec": {JOIN("containers", on="name"): [{"name": "main", "stdin": True}, {"name": "side"}]}}
    }
    pod = template(role(metadata=metadata))
    assert [item["name"] for item in pod["spec"]["containers"]] == ["main", "side"]
    assert container(pod)["stdin"] is True
    assert container(pod)["image"] == "image"


def test_macros_in_an_overlay_are_replaced() -> None:
    pod = template(role(metadata={"kubernetes": {"metadata": {"annotations": {"a": "${app_id}/${replica_id}"}}}}))
    assert pod["metadata"]["annotations"]["a"] == "train-x1234567/$(JOB_COMPLETION_INDEX)"


def test_an_overlay_cannot_remove_the_pod() -> None:
    for overlay in ({DEL("spec"): None}, {PUT("metadata"): []}, {PUT("spec"): None}):
        with pytest.raises(InvalidOverlay):
            template(role(metadata={"kubernetes": {"V1Pod": overlay}}))


def run_waiting(tmp_path: Path, *, index: str, getent: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the first role's template with a stub for getent."""
    trainer = role(num_replicas=2, args=["a b", "", "$$x"])
    trainer.entrypoint = "printf"
    trainer.args = ["[%s]", "a b", "", "$$x"]
    command = container(template(trainer))["command"]
    (tmp_path / "getent").write_text(f"#!/bin/sh\n{getent}\n")
    (tmp_path / "getent").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": index, "TOPCOAT_RANK0_HOST": "first"}
    script = command[2].replace('exec "$@"', 'echo "host=$TORCHX_RANK0_HOST"; exec "$@"')
    words = [*command[:2], script, *command[3:]]
    return subprocess.run(words, check=False, capture_output=True, text=True, env=env, timeout=60)


def test_a_replica_waits_for_the_name_of_the_first_one_and_keeps_its_arguments(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    stub = f'echo "$2" >> {counter}; [ "$(wc -l < {counter})" -ge 3 ]'
    finished = run_waiting(tmp_path, index="1", getent=stub)
    assert finished.stdout == "host=\n[a b][][$x]"
    assert finished.stderr == ""
    assert counter.read_text() == "first\n" * 3


def test_the_first_replica_does_not_wait_for_its_own_name(tmp_path: Path) -> None:
    finished = run_waiting(tmp_path, index="0", getent="exit 2")
    assert finished.stdout == "host=localhost\n[a b][][$x]"


def test_a_first_role_that_sets_the_host_itself_keeps_it() -> None:
    words = container(template(role(num_replicas=2, env={"TORCHX_RANK0_HOST": "mine"})))["command"]
    assert "localhost" not in words[2]
