"""The scheduler, from an application to its objects, with a registry and a cluster in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.schedulers.kubernetes.fake_cluster import FakeClient, verbs
from tests.support.fake_bases import add_base
from topcoat.errors import InvalidApp, InvalidHandle, InvalidRunConfigException, SchedulerUnavailable
from topcoat.runner import Runner
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, VOLCANO_JOB, Kind
from topcoat.schedulers.kubernetes.scheduler import KubernetesScheduler
from topcoat.schedulers.kubernetes_scheduler import KubernetesJob, app_to_resource
from topcoat.specs import AppDef, CfgVal, Resource, Role, Workspace
from topcoat.testing.registry import FakeRegistry


@pytest.fixture
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient(POD_GROUP)
    monkeypatch.setattr(KubernetesScheduler, "_client", lambda *args: client)
    return client


@pytest.fixture
def fake_registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner("session") as open_runner:
        yield open_runner


def app(replicas: int = 1, **fields: Any) -> AppDef:
    return AppDef("app", [Role("trainer", "image:1", entrypoint="python", num_replicas=replicas, **fields)])


def objects(runner: Runner, application: AppDef, **cfg: CfgVal) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(str(runner.dryrun(application, "kubernetes", cfg))))


@pytest.mark.usefixtures("no_cluster")
def test_a_dry_run_needs_no_cluster_and_says_what_it_leaves_out(runner: Runner, notices: list[str]) -> None:
    job, service = objects(runner, app(2))
    assert (job["kind"], service["kind"]) == ("Job", "Service")
    assert job["metadata"]["namespace"] == "default"
    (text,) = notices
    assert text.startswith("gang=none: no cluster")


@pytest.mark.parametrize("config", ["", "kind: Config", "current-context: absent"])
def test_a_dry_run_needs_no_context(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert objects(runner, app(2))[0]["metadata"]["namespace"] == "default"
    if config:
        with pytest.raises(InvalidRunConfigException, match="context"):
            objects(runner, app(2), context="named")


@pytest.mark.usefixtures("no_cluster")
def test_a_job_of_one_replica_tells_nothing(runner: Runner, notices: list[str]) -> None:
    objects(runner, app())
    assert notices == []


@pytest.mark.usefixtures("no_cluster")
def test_without_a_cluster_a_submission_is_one_error(runner: Runner) -> None:
    with pytest.raises(SchedulerUnavailable) as raised:
        runner.run(app(), "kubernetes", {})
    assert raised.value.hint


def test_the_namespace_is_the_options_or_the_contexts(runner: Runner, cluster: FakeClient) -> None:
    assert objects(runner, app())[0]["metadata"]["namespace"] == "team"
    assert objects(runner, app(), namespace="other")[0]["metadata"]["namespace"] == "other"


def test_auto_takes_the_gang_that_the_cluster_has(runner: Runner, cluster: FakeClient, notices: list[str]) -> None:
    kinds = [item["kind"] for item in objects(runner, app(2))]
    assert kinds == ["Job", "PodGroup", "Service"]
    assert notices[0].startswith("gang=podgroup: ")


@pytest.mark.parametrize(("value", "in_dry_run", "in_submission"), [(None, 0, 2), (True, 2, 4), (False, 0, 0)])
def test_the_server_checks_a_submission_and_a_dry_run_only_on_request(
    runner: Runner, cluster: FakeClient, value: bool | None, in_dry_run: int, in_submission: int
) -> None:
    cfg: dict[str, CfgVal] = {} if value is None else {"validate_spec": value}
    runner.dryrun(app(), "kubernetes", cfg)
    assert len(cluster.calls) == in_dry_run
    cluster.calls.clear()
    handle = runner.run(app(), "kubernetes", cfg)
    assert len([call for call in cluster.calls if call.startswith("check")]) == in_submission
    assert verbs(cluster.calls)[-2:] == ["create Job", "create Service"]
    name = next(name for kind, _, name in cluster.objects if kind is JOB).removesuffix("-trainer")
    assert handle == f"kubernetes://session/team:{name}"


def test_the_image_is_submitted_by_tag_and_digest_and_described(
    runner: Runner, cluster: FakeClient, fake_registry: FakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print('trained')\n")
    application = app(workspace=Workspace({str(tmp_path): ""}))
    application.roles[0].image = add_base(fake_registry)
    runner.run(application, "kubernetes", {"image_repo": f"{fake_registry.host}/app"})
    job = next(item for (kind, *_), item in cluster.objects.items() if kind is JOB)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    repository, _, digest = container["image"].partition("@")
    assert repository.startswith(f"{fake_registry.host}/app:")
    assert digest.startswith("sha256:")
    assert {"name": "TORCHX_IMAGE", "value": container["image"]} in container["env"]
    with Runner("other") as other:
        (entry,) = other.list("kubernetes")
        described = other.describe(entry.app_handle)
    assert described is not None
    assert described.roles[0].image == container["image"]


@pytest.mark.parametrize("validate_spec", [True, False])
def test_nothing_is_pushed_for_a_cluster_that_does_not_respond_or_refuses(
    runner: Runner,
    cluster: FakeClient,
    fake_registry: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    validate_spec: bool,
) -> None:
    def fail(*args: object) -> None:
        raise SchedulerUnavailable("away")

    (tmp_path / "train.py").write_text("print('trained')\n")
    application = app(workspace=Workspace({str(tmp_path): ""}))
    application.roles[0].image = add_base(fake_registry)
    cfg: dict[str, CfgVal] = {"image_repo": f"{fake_registry.host}/app", "validate_spec": validate_spec}
    info = runner.dryrun(application, "kubernetes", {**cfg, "validate_spec": validate_spec or None})
    cluster.before = fail
    monkeypatch.setattr(cluster, "serves", fail)
    with pytest.raises(SchedulerUnavailable):
        runner.schedule(info)
    assert list(fake_registry.repositories) == ["base"]


def test_a_replaced_entrypoint_is_named(
    runner: Runner, cluster: FakeClient, fake_registry: FakeRegistry, tmp_path: Path, notices: list[str]
) -> None:
    (tmp_path / "train.py").write_text("print('trained')\n")
    config = {"config": {"WorkingDir": "/", "Entrypoint": ["/setup", "--now"]}}
    fake_registry.add_image("base", "1", config=config)
    application = app(workspace=Workspace({str(tmp_path): ""}))
    application.roles[0].image = f"{fake_registry.host}/base:1"
    runner.run(application, "kubernetes", {"image_repo": f"{fake_registry.host}/app"})
    assert any("ENTRYPOINT (/setup --now) is replaced" in text for text in notices)
    notices.clear()
    runner.run(application, "kubernetes", {"image_repo": f"{fake_registry.host}/app", "image_entrypoint": "keep"})
    assert not any("ENTRYPOINT" in text for text in notices)


def test_a_workspace_without_a_repository_is_refused_before_the_cluster_is_asked(
    runner: Runner, cluster: FakeClient, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRunConfigException, match="image_repo"):
        runner.run(app(2, workspace=Workspace({str(tmp_path): ""})), "kubernetes", {})
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("cfg", "fields"),
    [
        ({"gang": "all"}, {}),
        ({"namespace": "A"}, {}),
        ({}, {"image": ""}),
        ({}, {"env": {"A=B": ""}}),
        ({}, {"port_map": {"a": 0}}),
    ],
)
def test_mistakes_are_told_before_a_file_is_read_or_a_host_is_contacted(
    runner: Runner, cfg: dict[str, CfgVal], fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KubernetesScheduler, "_client", lambda *args: pytest.fail("the cluster was asked"))
    monkeypatch.setattr(KubernetesScheduler, "plan_workspaces", lambda *args: pytest.fail("a workspace was planned"))
    application = app(2)
    for name, value in fields.items():
        setattr(application.roles[0], name, value)
    with pytest.raises((InvalidRunConfigException, InvalidApp)):
        runner.run(application, "kubernetes", cfg)


@pytest.mark.parametrize(
    ("capabilities", "cfg", "platform"),
    [
        ({}, {}, ""),
        ({"kubernetes.io/arch": "arm64"}, {}, "linux/arm64"),
        ({"kubernetes.io/arch": "amd64", "kubernetes.io/os": "windows"}, {}, "windows/amd64"),
        ({}, {"node_selector": {"kubernetes.io/arch": "arm64"}}, "linux/arm64"),
        ({}, {"pod_overlay": "{spec: {nodeSelector: {kubernetes.io/arch: arm64}}}"}, "linux/arm64"),
        ({"node.kubernetes.io/instance-type": "p4d.24xlarge"}, {}, ""),
    ],
)
def test_the_platform_is_what_the_roles_node_selector_says(
    capabilities: dict[str, Any], cfg: dict[str, CfgVal], platform: str
) -> None:
    role = Role("a", "image", resource=Resource(1, 0, 0, capabilities=capabilities))
    assert KubernetesScheduler("s").role_platform(role, cfg) == platform
    own = Role("a", "image", metadata={"kubernetes": {"spec": {"nodeSelector": {"kubernetes.io/arch": "s390x"}}}})
    assert KubernetesScheduler("s").role_platform(own, cfg) == "linux/s390x" or platform.startswith("windows")


def test_a_request_of_torchxs_kind_is_submitted_as_it_is(runner: Runner, cluster: FakeClient) -> None:
    cluster.served.add(VOLCANO_JOB)
    info = runner.dryrun(app(), "kubernetes", {"gang": "volcano", "queue": "q"})
    resource = app_to_resource(app(), "q", None)
    del resource["metadata"]["namespace"]
    info.request = KubernetesJob(images_to_push={}, resource=resource)
    handle = runner.schedule(info)
    assert handle == f"kubernetes://session/team:{resource['metadata']['name']}"


def test_an_unknown_application_is_none_and_an_invalid_id_is_refused(runner: Runner, cluster: FakeClient) -> None:
    assert runner.status("kubernetes://session/team:app-x1") is None
    with pytest.raises(InvalidHandle, match="namespace:name"):
        runner.status("kubernetes://session/app-x1")


def test_the_list_is_of_all_namespaces_or_of_one(runner: Runner, cluster: FakeClient) -> None:
    for namespace in ("team", "other"):
        runner.run(app(), "kubernetes", {"namespace": namespace})
    assert len(runner.list("kubernetes")) == 2
    (entry,) = runner.list("kubernetes", {"namespace": "other"})
    assert entry.app_id.startswith("other:app-")
    assert entry.name == "app"


def test_a_deleted_application_is_gone(runner: Runner, cluster: FakeClient) -> None:
    handle = runner.run(app(), "kubernetes", {})
    assert runner.status(handle) is not None
    runner.delete(handle)
    assert cluster.kinds() == []
    assert runner.status(handle) is None


def test_restarts_of_all_replicas_become_a_job_set(runner: Runner, cluster: FakeClient) -> None:
    served: set[Kind] = cluster.served
    served.add(JOB_SET)
    (job_set,) = objects(runner, app(2, max_retries=2))
    assert job_set["kind"] == "JobSet"
    assert job_set["spec"]["failurePolicy"] == {"maxRestarts": 2}
    assert objects(runner, app(1, max_retries=2))[0]["spec"]["backoffLimit"] == 2


def test_native_objects_are_read_back(runner: Runner, cluster: FakeClient) -> None:
    handle = runner.run(app(2), "kubernetes", {})
    scheduler = KubernetesScheduler("session")
    info = scheduler.describe_native(handle.rpartition("/")[2])
    assert info is not None
    assert sorted(item["kind"] for item in info.request.objects) == ["Job", "PodGroup", "Service"]
    assert scheduler.describe_native("team:none-x1") is None
