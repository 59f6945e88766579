"""Every object that is built is valid, for any application."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.schedulers.kubernetes.apps import APPS, OPTIONS, TEXT, submission
from tests.schedulers.kubernetes.expansion import expand
from topcoat.schedulers.kubernetes.arrangement import Arrangement
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, VOLCANO_JOB
from topcoat.schedulers.kubernetes.labels import (
    ANNOTATION_APP_DEF,
    LABEL_APP,
    LABEL_QUEUE,
    LABEL_ROLE,
    label_value,
    new_name,
    role_label,
)
from topcoat.schedulers.kubernetes.options import Opts, is_label_key, is_label_value
from topcoat.schedulers.kubernetes.read_back import read_app
from topcoat.schedulers.kubernetes.request import KubernetesJob, make_job, set_app_def, set_images, to_yaml
from topcoat.specs import AppDef, Resource, RetryPolicy, Role

VERSIONS = [f"1.{minor}.0" for minor in range(29, 38)]
PLAIN = Arrangement(JOB, "none")
PODGROUP = Arrangement(JOB, "podgroup")
JOBSET = Arrangement(JOB_SET, "none")
VOLCANO = Arrangement(VOLCANO_JOB, "volcano")
ARRANGEMENTS = [
    PLAIN,
    PODGROUP,
    JOBSET,
    VOLCANO,
    Arrangement(JOB, "kueue"),
    Arrangement(JOB_SET, "kueue"),
    Arrangement(JOB, "none", torchrun_restarts=True),
]
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
many = settings(
    max_examples=int(os.environ.get("TOPCOAT_KUBERNETES_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def request_of(app: AppDef, cfg: Opts | None = None, arrangement: Arrangement = PLAIN, name: str = "") -> KubernetesJob:
    return make_job(submission(app, cfg, name or new_name(app.name)), arrangement, {})


def templates(request: KubernetesJob) -> Iterator[dict[str, Any]]:
    for manifest in request.objects:
        spec = manifest["spec"]
        if "template" in spec:
            yield spec["template"]
        yield from (job["template"]["spec"]["template"] for job in spec.get("replicatedJobs", ()))
        yield from (task["template"] for task in spec.get("tasks", ()))


def native(request: KubernetesJob) -> Iterator[dict[str, Any]]:
    """Yield the objects that every cluster has a schema for; those within a JobSet or a Job of Volcano too."""
    for manifest in request.objects:
        if manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2":
            for job in manifest["spec"]["replicatedJobs"]:
                yield {"apiVersion": "batch/v1", "kind": "Job", **job["template"]}
        elif manifest["apiVersion"] == "batch.volcano.sh/v1alpha1":
            for task in manifest["spec"]["tasks"][:5]:
                yield {"apiVersion": "v1", "kind": "Pod", **task["template"]}
        else:
            yield manifest


def check_names(request: KubernetesJob, app: AppDef) -> None:
    for manifest in request.objects:
        metadata = manifest["metadata"]
        assert _DNS_LABEL.fullmatch(metadata["name"]), metadata["name"]
        assert metadata["labels"][LABEL_APP] == request.resource["metadata"]["labels"][LABEL_APP]
        check_labels(metadata["labels"])
    longest = max(role.num_replicas for role in app.roles) - 1
    for manifest in request.objects:
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        hosts = [f"{name}-{longest}"] if manifest["kind"] == "Job" and "tasks" not in spec else []
        hosts += [f"{name}-{job['name']}-0-{longest}-abcde" for job in spec.get("replicatedJobs", ())]
        hosts += [f"{name}-{task['name']}-0" for task in spec.get("tasks", ())]
        assert len(set(hosts)) == len(hosts)
        for host in hosts:
            assert _DNS_LABEL.fullmatch(host), host
    for template in templates(request):
        check_labels(template["metadata"]["labels"])


def check_labels(labels: dict[str, str]) -> None:
    assert all(is_label_key(key) and is_label_value(value) for key, value in labels.items()), labels


@many
@given(app=APPS, cfg=OPTIONS, arrangement=st.sampled_from(ARRANGEMENTS), version=st.sampled_from(VERSIONS))
def test_every_object_is_valid_in_every_version(app: AppDef, cfg: Opts, arrangement: Arrangement, version: str) -> None:
    from kubernetes_validate import validate

    for role in app.roles:
        if arrangement.top is VOLCANO_JOB:
            role.num_replicas = min(role.num_replicas, 3)
    request = request_of(app, cfg, arrangement)
    check_names(request, app)
    for manifest in native(request):
        # Only a cluster of 1.37 serves PodGroups.
        validate(manifest, "1.37.0" if arrangement.gang == "podgroup" else version, strict=True)
    assert list(yaml.safe_load_all(str(request))) == json.loads(json.dumps(request.objects))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arrangement", [PLAIN, JOBSET, VOLCANO])
def test_a_job_with_every_field_is_valid_in_every_version(arrangement: Arrangement, version: str) -> None:
    from kubernetes_validate import validate

    trainer = Role(
        "trainer",
        "image",
        2,
        "python",
        ["-c", ""],
        {"A": "b", "IP": "[FIELD_PATH]status.podIP"},
        num_replicas=3,
        max_retries=2,
        retry_policy=RetryPolicy.REPLICA,
        resource=Resource(2, 1, 4096, capabilities={"gpu": True}, devices={"a.b/c": 1}),
        port_map={"c10d": 29500},
    )
    cfg = Opts(
        queue="q",
        image_pull_secrets=["s"],
        tolerations=["a:NoExecute"],
        ttl_seconds_after_finished=5,
        active_deadline_seconds=9,
        priority_class="p",
    )
    for manifest in native(
        request_of(AppDef("app", [trainer, Role("reader", "image", entrypoint="x")]), cfg, arrangement)
    ):
        validate(manifest, version, strict=True)


def test_the_schemas_refuse_an_object_with_an_unknown_field() -> None:
    from kubernetes_validate import ValidationError, validate

    request = request_of(AppDef("app", [Role("trainer", "image", entrypoint="x")]))
    request.resource["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(ValidationError):
        validate(request.resource, "1.37.0", strict=True)


@many
@given(args=st.lists(TEXT, max_size=5), env=st.dictionaries(st.sampled_from("ABC"), TEXT), index=st.integers(0, 99))
@example(args=["$$$$(A)", "$${A}", "é$$é", "$$", "$$$$$$", "$(B)"], env={"A": "$$(B)", "B": "x"}, index=3)
def test_a_process_gets_exactly_its_arguments_and_environment(args: list[str], env: dict[str, str], index: int) -> None:
    from topcoat.specs import macros

    role = Role("trainer", "image", entrypoint="program", args=args, env=env)
    (template,) = templates(request_of(AppDef("app", [role]), name="app-x1"))
    container = template["spec"]["containers"][0]
    got: dict[str, str] = {}
    for entry in container["env"]:
        got[entry["name"]] = str(index) if "valueFrom" in entry else expand(entry["value"], got)
    expected = macros.Values("", "app-x1", str(index), "TORCHX_RANK0_HOST").apply(role)
    assert [expand(word, got) for word in container["command"]] == ["program", *expected.args]
    assert {name: got[name] for name in env} == expected.env
    assert got["TOPCOAT_REPLICA_ID"] == str(index)


@many
@given(st.lists(TEXT, max_size=20), st.dictionaries(TEXT, TEXT))
def test_yaml_has_quotes_where_a_parser_of_another_dialect_would_see_no_string(
    values: list[str], mapping: dict[str, str]
) -> None:
    text = to_yaml([{"values": values, "mapping": mapping}])
    assert yaml.safe_load(text) == {"values": values, "mapping": mapping}
    for line in text.splitlines():
        # Go's parser reads 1e3 as a number, and y as a truth value.
        assert not re.fullmatch(r"\s*- ([-+.]?[0-9]\S*|[yYnN])", line), line


def two_roles(**changes: Any) -> AppDef:
    return AppDef(
        "app",
        [
            Role("trainer", "image:1", entrypoint="python", num_replicas=3, **changes),
            Role("reader", "image:2", entrypoint="python"),
        ],
    )


def test_each_role_is_an_indexed_job_and_one_headless_service_names_their_pods() -> None:
    request = request_of(two_roles(), name="app-x1")
    assert [(item["kind"], item["metadata"]["name"]) for item in request.objects] == [
        ("Job", "app-x1-trainer"),
        ("Job", "app-x1-reader"),
        ("Service", "app-x1"),
    ]
    trainer, _, service = request.objects
    spec = trainer["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (3, 3, "Indexed")
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert service["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {LABEL_APP: "app-x1"},
    }
    for template in templates(request):
        assert template["spec"]["subdomain"] == "app-x1"
        env = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
        assert env["TOPCOAT_RANK0_HOST"] == "app-x1-trainer-0.app-x1"
        assert env["TOPCOAT_APP_ID"] == "team:app-x1"
        assert env["TORCHX_JOB_ID"] == "kubernetes://s/team:app-x1"


def test_a_gang_needs_the_replicas_that_the_job_cannot_do_without() -> None:
    request = request_of(two_roles(min_replicas=2), arrangement=PODGROUP, name="app-x1")
    group = next(item for item in request.objects if item["kind"] == "PodGroup")
    assert group["spec"] == {"schedulingPolicy": {"gang": {"minCount": 3}}}
    assert all(item["spec"]["schedulingGroup"] == {"podGroupName": "app-x1"} for item in templates(request))


def test_kueues_label_is_on_what_kueue_admits() -> None:
    cfg = Opts(queue="gpu")
    one = request_of(AppDef("app", [Role("a", "image", entrypoint="x")]), cfg, Arrangement(JOB, "kueue"))
    assert one.resource["metadata"]["labels"][LABEL_QUEUE] == "gpu"
    request = request_of(two_roles(), cfg, Arrangement(JOB_SET, "kueue"))
    (job_set,) = request.objects
    assert job_set["metadata"]["labels"][LABEL_QUEUE] == "gpu"
    assert "suspend" not in job_set["spec"]


@pytest.mark.parametrize(
    ("policy", "replicas", "retries", "expected"),
    [
        (RetryPolicy.APPLICATION, 1, 3, {"backoffLimit": 3}),
        (RetryPolicy.ROLE, 1, 2, {"backoffLimit": 2}),
        (RetryPolicy.REPLICA, 1, 2, {"backoffLimit": 2}),
        (RetryPolicy.APPLICATION, 4, 0, {"backoffLimit": 0}),
        (RetryPolicy.REPLICA, 4, 0, {"backoffLimitPerIndex": 0}),
        (RetryPolicy.REPLICA, 4, 2, {"backoffLimitPerIndex": 2}),
    ],
)
def test_retries_of_a_plain_job(policy: RetryPolicy, replicas: int, retries: int, expected: dict[str, int]) -> None:
    role = Role("a", "image", entrypoint="x", num_replicas=replicas, max_retries=retries, retry_policy=policy)
    spec = request_of(AppDef("app", [role])).resource["spec"]
    assert {key: value for key, value in spec.items() if key.startswith("backoffLimit")} == expected


def test_torchrun_restarts_its_processes_where_the_cluster_cannot() -> None:
    role = Role("a", "image", entrypoint="torchrun", num_replicas=2, max_retries=3)
    request = request_of(AppDef("app", [role]), arrangement=Arrangement(JOB, "none", torchrun_restarts=True))
    assert request.resource["spec"]["backoffLimitPerIndex"] == 3
    (template,) = templates(request)
    assert {"name": "PET_MAX_RESTARTS", "value": "3"} in template["spec"]["containers"][0]["env"]


def test_a_job_set_restarts_all_roles_unless_the_failed_one_has_no_retries() -> None:
    request = request_of(two_roles(max_retries=2), arrangement=JOBSET, name="app-x1")
    (job_set,) = request.objects
    assert job_set["spec"]["failurePolicy"] == {
        "maxRestarts": 2,
        "rules": [{"name": "noRetries", "action": "FailJobSet", "targetReplicatedJobs": ["reader"]}],
    }
    for job in job_set["spec"]["replicatedJobs"]:
        assert job["template"]["spec"]["backoffLimit"] == 0
        assert job["template"]["metadata"]["labels"][LABEL_APP] == "app-x1"
        env = {
            item["name"]: item.get("value")
            for item in job["template"]["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        assert env["TOPCOAT_RANK0_HOST"] == "app-x1-trainer-0-0.app-x1"


def test_a_job_set_without_retries_ends_all_roles_when_one_fails() -> None:
    (job_set,) = request_of(two_roles(), arrangement=JOBSET).objects
    assert job_set["spec"]["failurePolicy"] == {"maxRestarts": 0}


def test_a_lifetime_is_that_of_the_top_objects() -> None:
    cfg = Opts(ttl_seconds_after_finished=60, active_deadline_seconds=5)
    jobs = request_of(two_roles(), cfg).objects[:2]
    assert all(job["spec"]["ttlSecondsAfterFinished"] == 60 for job in jobs)
    assert all(job["spec"]["activeDeadlineSeconds"] == 5 for job in jobs)
    (job_set,) = request_of(two_roles(), cfg, JOBSET).objects
    assert job_set["spec"]["ttlSecondsAfterFinished"] == 60
    inner = [job["template"]["spec"] for job in job_set["spec"]["replicatedJobs"]]
    assert all("ttlSecondsAfterFinished" not in spec and spec["activeDeadlineSeconds"] == 5 for spec in inner)


def test_a_command_waits_for_the_name_of_the_first_replica_only_with_several_replicas() -> None:
    def command(app: AppDef, cfg: Opts | None = None) -> list[str]:
        words: list[str] = next(templates(request_of(app, cfg)))["spec"]["containers"][0]["command"]
        return words

    alone = AppDef("app", [Role("a", "image", entrypoint="run", args=["x"])])
    assert command(alone) == ["run", "x"]
    assert command(two_roles(), Opts(wait_for_rank0=False)) == ["python"]
    words = command(two_roles())
    assert words[:2] == ["sh", "-c"]
    assert words[3:] == ["topcoat", "python"]


def test_an_entrypoint_that_is_kept_gets_the_command_as_arguments() -> None:
    app = AppDef("app", [Role("a", "image", entrypoint="run", args=["x"])])
    for arrangement in (PLAIN, JOBSET, VOLCANO):
        kept = next(templates(request_of(app, Opts.from_cfg({"image_entrypoint": "keep"}), arrangement)))
        container = kept["spec"]["containers"][0]
        assert container["args"] == ["run", "x"]
        assert "command" not in container


def test_the_definition_is_read_back_with_what_all_replicas_have_in_common() -> None:
    app = two_roles(args=["${app_id}", "${replica_id}", "$$HOME"], metadata={"kubernetes": {"spec": {}}})
    app.metadata["owner"] = "me"
    for arrangement in (PLAIN, JOBSET, VOLCANO):
        request = request_of(app, arrangement=arrangement, name="app-x1")
        found = read_app([request.resource])
        assert (found.name, found.metadata) == ("app", {"owner": "me"})
        assert [role.name for role in found.roles] == ["trainer", "reader"]
        assert found.roles[0].args == ["app-x1", "${replica_id}", "$HOME"]
        assert found.roles[0].num_replicas == 3


@pytest.mark.parametrize(
    "definition", ["", "{", "[]", '{"name": 1}', '{"roles": [{}], "name": "a", "metadata": {}}', "x" * 99]
)
def test_a_definition_that_is_missing_or_malformed_is_read_from_the_pods(definition: str) -> None:
    for arrangement in (PLAIN, JOBSET, VOLCANO):
        request = request_of(two_roles(args=["a", ""]), arrangement=arrangement, name="app-x1")
        tops = [item for item in request.objects if item["kind"] != "Service"]
        for top in tops:
            top["metadata"]["annotations"][ANNOTATION_APP_DEF] = definition
        found = read_app(tops)
        assert {role.name: role.num_replicas for role in found.roles} == {"trainer": 3, "reader": 1}
        assert (found.roles[0].image, found.roles[0].entrypoint, found.roles[0].args) == (
            "image:1",
            "python",
            ["a", ""],
        )


def test_a_definition_that_is_too_large_is_left_out() -> None:
    app = two_roles(args=["x" * 100_000])
    request = request_of(app)
    assert ANNOTATION_APP_DEF not in request.resource["metadata"]["annotations"]
    assert read_app(request.objects[:2]).roles[0].args[-1] == "x" * 100_000


def test_images_get_their_digests_and_an_overlay_keeps_its_own() -> None:
    app = two_roles()
    for arrangement in (PLAIN, JOBSET, VOLCANO):
        request = request_of(app, arrangement=arrangement)
        side = next(templates(request))["spec"]["containers"]
        side.append({"name": "side", "image": "other"})
        set_images(request, {"trainer": ("image:1", "image:1@sha256:1")})
        set_app_def(request, app)
        images = {container["image"] for item in templates(request) for container in item["spec"]["containers"]}
        assert images == {"image:1@sha256:1", "image:2", "other"}
        env = {item["name"]: item.get("value") for item in side[0]["env"]}
        assert env["TORCHX_IMAGE"] == "image:1@sha256:1"


def test_labels_of_different_roles_differ() -> None:
    names = ["a b", "a-b", "A-b", "a.b", "x" * 100, "x" * 101, "", "é"]
    assert len({role_label(name) for name in names}) == len(names)
    assert label_value("..a/b c..") == "a.b.c"
    assert label_value("***") == ""
    assert is_label_value(label_value("x" * 62 + "." + "y"))


def test_objects_of_a_role_have_its_label() -> None:
    for template in templates(request_of(two_roles())):
        assert template["metadata"]["labels"][LABEL_ROLE] in ("trainer", "reader")
