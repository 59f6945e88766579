"""Submission, cancellation and removal on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.components.images import Image
from tests.components.kubernetes import Kubernetes
from tests.components.registries import Registry
from tests.schedulers.kubernetes.apps import APPS, OPTIONS, submission
from tests.schedulers.kubernetes.conftest import wait
from topcoat.errors import InvalidRunConfigException, RequestRefused, SchedulerUnavailable, TopcoatError
from topcoat.runner import Runner
from topcoat.schedulers.kubernetes.arrangement import Arrangement
from topcoat.schedulers.kubernetes.client import Client, connect
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET
from topcoat.schedulers.kubernetes.labels import LABEL_APP, new_name
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.schedulers.kubernetes.request import make_job
from topcoat.schedulers.kubernetes.submit import validate
from topcoat.specs import AppDef, AppState, AppStatus, CfgVal, Resource, RetryPolicy, Role
from topcoat.specs.overlays import JOIN

_OBJECTS = "jobs,services,podgroups,pods"


@pytest.fixture
def namespace(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    return kubernetes.make_namespace()


@pytest.fixture
def runner(namespace: str) -> Iterator[Runner]:
    with Runner("session") as open_runner:
        yield open_runner


@pytest.fixture(scope="module")
def image(busybox_image: Image, registry: Registry) -> str:
    return busybox_image.push(registry, registry.unique()).reference


def shell(image: str, script: str, name: str = "trainer", **fields: Any) -> Role:
    return Role(name, image, entrypoint="sh", args=["-c", script], **fields)


def submit(runner: Runner, app: AppDef, namespace: str, **cfg: CfgVal) -> str:
    return runner.run(app, "kubernetes", {"namespace": namespace, **cfg})


def objects(kubernetes: Kubernetes, namespace: str) -> list[str]:
    items = kubernetes.get("-n", namespace, _OBJECTS)["items"]
    return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in items)


def logs(runner: Runner, handle: str, role: str, replica: int = 0) -> list[str]:
    return list(runner.log_lines(handle, role, replica, should_tail=True))


def ended(runner: Runner, handle: str) -> AppStatus:
    status: AppStatus = wait(lambda: (status := runner.status(handle)) and status.is_terminal() and status)
    return status


def shared_directory(path: str) -> dict[str, Any]:
    """Return metadata that mounts a directory of the node at /shared."""
    volume = {"name": "shared", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    container = {"name": "main", "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    return {"kubernetes": {"spec": {"volumes": [volume], JOIN("containers", on="name"): [container]}}}


# Each example costs a second, so a failing one is shown as it is.
_some = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def check_on_server(namespace: str, app: AppDef, cfg: Opts, arrangement: Arrangement) -> None:
    app.roles[:] = [role for role in app.roles if role.num_replicas < 1000] or app.roles[:1]
    planned = submission(app, cfg, new_name(app.name))._replace(namespace=namespace)
    client = connect()
    validate(client, make_job(planned, arrangement, {}))
    client.close()


@_some
@given(app=APPS, cfg=OPTIONS, gang=st.sampled_from(["none", "podgroup"]))
def test_the_server_accepts_what_is_built(namespace: str, app: AppDef, cfg: Opts, gang: str) -> None:
    check_on_server(namespace, app, cfg, Arrangement(JOB, gang))


@pytest.mark.usefixtures("job_sets")
@_some
@given(app=APPS, cfg=OPTIONS)
def test_job_set_accepts_what_is_built(namespace: str, app: AppDef, cfg: Opts) -> None:
    check_on_server(namespace, app, cfg, Arrangement(JOB_SET, "none"))


def test_kubectl_applies_a_dry_run(kubernetes: Kubernetes, runner: Runner, namespace: str, image: str) -> None:
    app = AppDef("app", [shell(image, "echo $$((1 + 1)) $${TOPCOAT_REPLICA_ID}", num_replicas=2, env={"A": "1e3"})])
    request = str(runner.dryrun(app, "kubernetes", {"namespace": namespace}))
    kubernetes.ctl("apply", "-f", "-", stdin=request.encode())
    (entry,) = runner.list("kubernetes", {"namespace": namespace})
    assert sorted(logs(runner, entry.app_handle, "trainer") + logs(runner, entry.app_handle, "trainer", 1)) == [
        "2 0\n",
        "2 1\n",
    ]


def test_two_roles_reach_the_first_replica_by_its_name(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str
) -> None:
    serve = 'echo "got $$(nc -l -p 7000)"'
    connect_to = (
        'until echo hello | nc "$$TOPCOAT_RANK0_HOST" 7000; do sleep 0.1; done; echo "sent to $$TOPCOAT_RANK0_HOST"'
    )
    app = AppDef("two roles", [shell(image, serve, "server"), shell(image, connect_to, "client", num_replicas=1)])
    handle = submit(runner, app, namespace)
    assert "got hello\n" in logs(runner, handle, "server")
    (line,) = [line for line in logs(runner, handle, "client") if line.startswith("sent")]
    assert "-server-0." in line
    assert (
        wait(lambda: (status := runner.status(handle)) and status.is_terminal() and status).state is AppState.SUCCEEDED
    )


def test_another_process_lists_describes_and_deletes(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str
) -> None:
    app = AppDef("My app", [shell(image, "sleep 60", num_replicas=2, resource=Resource(0, 0, 64))])
    handle = submit(runner, app, namespace)
    with Runner("session") as other:
        (entry,) = other.list("kubernetes", {"namespace": namespace})
        assert (entry.app_handle, entry.name) == (handle, "My app")
        assert entry.created is not None
        assert handle in [found.app_handle for found in other.list("kubernetes")]
        described = other.describe(handle)
        assert described is not None
        (role,) = described.roles
        assert (role.name, role.image, role.args, role.num_replicas) == ("trainer", image, ["-c", "sleep 60"], 2)
        other.delete(handle)
        assert other.describe(handle) is None
    wait(lambda: objects(kubernetes, namespace) == [])


def test_what_the_job_owns_goes_with_it(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str, tmp_path: Path
) -> None:
    script = "until [ -e /shared/go ]; do sleep 0.1; done"
    app = AppDef("app", [shell(image, script, num_replicas=2), shell(image, script, "reader")])
    for role in app.roles:
        role.metadata = shared_directory(str(tmp_path / "shared"))
    submit(runner, app, namespace, ttl_seconds_after_finished=0)
    assert any(item.startswith("PodGroup/") for item in objects(kubernetes, namespace))
    wait((tmp_path / "shared").exists)
    (tmp_path / "shared/go").touch()
    wait(lambda: objects(kubernetes, namespace) == [])


def test_cancel_stops_the_pods_and_keeps_the_record(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str
) -> None:
    app = AppDef("app", [shell(image, "trap 'exit 1' TERM; sleep 60 & wait", name) for name in ("a", "b")])
    handle = submit(runner, app, namespace)
    wait(lambda: (status := runner.status(handle)) and status.state is AppState.RUNNING)
    runner.cancel(handle)
    status = ended(runner, handle)
    assert status.state is AppState.CANCELLED
    wait(lambda: not any(item.startswith("Pod/") for item in objects(kubernetes, namespace)))
    assert len(kubernetes.get("-n", namespace, "jobs")["items"]) == 2
    assert [entry.state for entry in runner.list("kubernetes", {"namespace": namespace})] == [AppState.CANCELLED]


def test_a_failing_replica_is_started_again_alone(runner: Runner, namespace: str, image: str, tmp_path: Path) -> None:
    script = 'echo start; [ "$$TOPCOAT_REPLICA_ID" = 0 ] || [ -e /shared/x ] || { touch /shared/x; exit 3; }'
    role = shell(image, script, num_replicas=2, max_retries=1, retry_policy=RetryPolicy.REPLICA)
    role.metadata = shared_directory(str(tmp_path / "shared"))
    handle = submit(runner, AppDef("app", [role]), namespace)
    status = ended(runner, handle)
    assert (status.state, status.num_restarts) == (AppState.SUCCEEDED, 1)
    assert logs(runner, handle, "trainer", 0) == ["start\n"]
    assert logs(runner, handle, "trainer", 1) == ["start\n", "start\n"]


def test_an_eviction_does_not_use_up_a_retry(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str, tmp_path: Path
) -> None:
    script = "[ -e /shared/x ] && exit 0; trap 'exit 1' TERM; touch /shared/x; sleep 600 & wait"
    role = shell(image, script)
    role.metadata = shared_directory(str(tmp_path / "shared"))
    handle = submit(runner, AppDef("app", [role]), namespace)
    wait(lambda: (status := runner.status(handle)) and status.state is AppState.RUNNING)
    wait((tmp_path / "shared/x").exists)
    pod = kubernetes.get("-n", namespace, "pods")["items"][0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    connect().post(f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", eviction, "evicting")
    status = ended(runner, handle)
    assert status.state is AppState.SUCCEEDED


def test_a_refused_object_takes_the_earlier_ones_with_it(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str
) -> None:
    kubernetes.ctl("-n", namespace, "create", "quota", "q", "--hard=count/services=0")
    app = AppDef("app", [shell(image, "sleep 60"), shell(image, "sleep 60", "reader")])
    wait(lambda: kubernetes.get("-n", namespace, "quota", "q").get("status", {}).get("hard"))
    with pytest.raises(RequestRefused, match="exceeded quota: q"):
        submit(runner, app, namespace, validate_spec=False)
    wait(lambda: objects(kubernetes, namespace) == [])


def test_a_second_submission_of_a_request_is_refused_and_the_first_one_stays(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str
) -> None:
    info = runner.dryrun(AppDef("app", [shell(image, "sleep 60")]), "kubernetes", {"namespace": namespace})
    handle = runner.schedule(info)
    before = kubernetes.get("-n", namespace, "jobs")["items"][0]["metadata"]["uid"]
    with pytest.raises(RequestRefused, match="already exists"):
        runner.schedule(info)
    assert kubernetes.get("-n", namespace, "jobs")["items"][0]["metadata"]["uid"] == before
    assert runner.status(handle) is not None


def test_a_server_that_goes_away_in_the_middle_leaves_nothing_behind(
    kubernetes: Kubernetes, runner: Runner, namespace: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[str] = []
    original = Client.create

    def create(client: Client, manifest: Any, *, dry_run: bool = False) -> Any:
        result = original(client, manifest, dry_run=dry_run)
        if not dry_run:
            created.append(manifest["kind"])
        if created == ["Job"]:
            # The second object meets a server that ends for good.
            raise SchedulerUnavailable("the server is away")
        return result

    monkeypatch.setattr(Client, "create", create)
    app = AppDef("app", [shell(image, "sleep 60"), shell(image, "sleep 60", "reader")])
    with pytest.raises(SchedulerUnavailable):
        submit(runner, app, namespace)
    assert created == ["Job"]
    wait(lambda: objects(kubernetes, namespace) == [])


@pytest.mark.parametrize(
    ("cfg", "error", "text"),
    [
        ({"namespace": "absent"}, RequestRefused, 'namespaces "absent" not found'),
        ({"gang": "volcano"}, InvalidRunConfigException, "gang=volcano needs Job of batch.volcano.sh"),
        (
            {"pod_overlay": "{spec: {nodeSelectors: {}}}"},
            RequestRefused,
            'unknown field "spec.template.spec.nodeSelectors"',
        ),
    ],
)
def test_bad_input_is_one_error_and_nothing_is_created(
    kubernetes: Kubernetes,
    runner: Runner,
    namespace: str,
    image: str,
    cfg: dict[str, CfgVal],
    error: type[TopcoatError],
    text: str,
) -> None:
    with pytest.raises(error) as raised:
        runner.run(AppDef("app", [shell(image, "true")]), "kubernetes", {"namespace": namespace, **cfg})
    assert text in str(raised.value)
    assert raised.value.hint
    assert objects(kubernetes, namespace) == []


def test_a_user_without_rights_gets_one_error(
    kubernetes: Kubernetes, namespace: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.user_kubeconfig))
    with Runner("session") as runner, pytest.raises(RequestRefused, match="cannot create resource") as raised:
        submit(runner, AppDef("app", [shell(image, "true")]), namespace)
    assert raised.value.hint


def test_an_invalid_login_is_one_error(
    kubernetes: Kubernetes, namespace: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = kubernetes.kubeconfig.read_text().replace("admin-token", "expired")
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with Runner("session") as runner, pytest.raises(RequestRefused, match="Unauthorized"):
        submit(runner, AppDef("app", [shell(image, "true", num_replicas=2)]), namespace)


def test_delete_removes_what_is_left_of_an_incomplete_application(
    kubernetes: Kubernetes, runner: Runner, namespace: str
) -> None:
    labels = {LABEL_APP: "app-x1"}
    kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "app-x1", "namespace": namespace, "labels": labels},
            "spec": {"clusterIP": "None"},
        }
    )
    runner.delete(f"kubernetes://session/{namespace}:app-x1")
    assert objects(kubernetes, namespace) == []
