"""With gang=volcano the request has the shape that TorchX's has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schedulers.kubernetes.apps import submission
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.schedulers.kubernetes.volcano import app_to_resource, pod_labels, volcano_job
from topcoat.schedulers.kubernetes_scheduler import PLACEHOLDER_FIELD_PATH, role_to_pod
from topcoat.specs import AppDef, Resource, RetryPolicy, Role


def application(**fields: Any) -> AppDef:
    trainer = Role(
        "my-trainer",
        "image",
        entrypoint="main",
        args=["--id", "${replica_id}", "--host", "${rank0_env}", "--app", "${app_id}"],
        env={"FOO": "${app_id}"},
        num_replicas=2,
        resource=Resource(2, 0, 3000),
        **fields,
    )
    return AppDef("test", [trainer])


def env_of(task: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in task["template"]["spec"]["containers"][0]["env"]}


def test_each_replica_is_a_task_with_its_own_arguments() -> None:
    job = volcano_job(submission(application(), Opts(queue="q", priority_class="high"), "test-x1"))
    assert (job["apiVersion"], job["kind"], job["metadata"]["name"]) == ("batch.volcano.sh/v1alpha1", "Job", "test-x1")
    spec = job["spec"]
    tasks = spec.pop("tasks")
    assert spec == {
        "schedulerName": "volcano",
        "queue": "q",
        "maxRetry": 0,
        "plugins": {"svc": ["--publish-not-ready-addresses"], "env": []},
        "priorityClassName": "high",
    }
    assert [(task["name"], task["replicas"]) for task in tasks] == [("my-trainer-0", 1), ("my-trainer-1", 1)]
    first, second = (task["template"]["spec"]["containers"][0] for task in tasks)
    assert first["name"] == "my-trainer-0"
    assert first["command"][1:] == ["--id", "0", "--host", "TORCHX_RANK0_HOST", "--app", "test-x1"]
    # Volcano's plugin writes dashes as underscores, for the name has to be one of a variable.
    assert second["command"][1:] == ["--id", "1", "--host", "VC_MY_TRAINER_0_HOSTS", "--app", "test-x1"]
    assert env_of(tasks[0])["TORCHX_RANK0_HOST"] == "localhost"
    assert env_of(tasks[1])["TOPCOAT_RANK0_HOST"] == "test-x1-my-trainer-0-0.test-x1"
    assert env_of(tasks[0])["FOO"] == "test-x1"
    assert tasks[0]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("policy", [RetryPolicy.APPLICATION, RetryPolicy.ROLE])
def test_restarts_of_all_replicas_are_policies_of_the_tasks(policy: RetryPolicy) -> None:
    spec = volcano_job(submission(application(max_retries=3, retry_policy=policy)))["spec"]
    assert spec["maxRetry"] == 3
    for task in spec["tasks"]:
        assert task["maxRetry"] == 3
        assert task["policies"] == [
            {"event": "PodEvicted", "action": "RestartJob"},
            {"event": "PodFailed", "action": "RestartJob"},
        ]


def test_an_elastic_role_needs_its_minimum_only() -> None:
    tasks = volcano_job(submission(application(min_replicas=1)))["spec"]["tasks"]
    assert [task["minAvailable"] for task in tasks] == [1, 0]
    assert all("minAvailable" not in task for task in volcano_job(submission(application()))["spec"]["tasks"])


def test_a_deadline_and_a_lifetime_are_those_of_volcano() -> None:
    cfg = Opts(active_deadline_seconds=9, ttl_seconds_after_finished=8)
    spec = volcano_job(submission(application(), cfg))["spec"]
    assert spec["ttlSecondsAfterFinished"] == 8
    assert all(task["template"]["spec"]["activeDeadlineSeconds"] == 9 for task in spec["tasks"])


def test_torchxs_function_makes_the_same_job() -> None:
    resource = app_to_resource(application(), "q", "runner", "high", 0, 0)
    pod = resource["spec"]["tasks"][0]["template"]
    assert pod["spec"]["serviceAccountName"] == "runner"
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2000m", "memory": "3000M"}
    assert resource["metadata"]["name"].startswith("test-")


def test_labels_are_valid_where_torchxs_are_not() -> None:
    app = AppDef("..my app!", [Role("x" * 70 + "-", "image")])
    labels = pod_labels(app, 0, app.roles[0], 1, "app-x1")
    assert labels["torchx.pytorch.org/app-name"] == "my.app"
    assert labels["torchx.pytorch.org/role-name"] == "x" * 63
    assert labels["torchx.pytorch.org/replica-id"] == "1"
    assert labels["app.kubernetes.io/instance"] == "app-x1"


def test_the_module_has_torchxs_names() -> None:
    assert PLACEHOLDER_FIELD_PATH == "[FIELD_PATH]"
    pod = role_to_pod("name", Role("a", "image", entrypoint="x"), "runner", 0, 0, None)
    assert pod["spec"]["serviceAccountName"] == "runner"
