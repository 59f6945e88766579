"""All objects of an application are created, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.schedulers.kubernetes.apps import submission
from tests.schedulers.kubernetes.fake_cluster import FakeClient, verbs
from topcoat.errors import RequestRefused, SchedulerUnavailable
from topcoat.schedulers.kubernetes import submit as submitting
from topcoat.schedulers.kubernetes.arrangement import Arrangement
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, SERVICE, VOLCANO_JOB, WORKLOAD
from topcoat.schedulers.kubernetes.labels import ANNOTATION_CANCELLED
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.schedulers.kubernetes.request import KubernetesJob, make_job
from topcoat.specs import AppDef, Role

NAME = "train-x1234567"


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(POD_GROUP, JOB_SET, VOLCANO_JOB, WORKLOAD)


def request_for(arrangement: Arrangement, **options: Any) -> KubernetesJob:
    app = AppDef("app", [Role(name, "image", entrypoint="x", num_replicas=2) for name in ("trainer", "reader")])
    return make_job(submission(app, Opts(**options)), arrangement, {})


GANG = Arrangement(JOB, "podgroup")


def submit(client: FakeClient, request: KubernetesJob) -> None:
    submitting.submit(cast(Client, client), request)


def delete(client: FakeClient) -> None:
    submitting.delete(cast(Client, client), "team", NAME)


def cancel(client: FakeClient) -> None:
    submitting.cancel(cast(Client, client), "team", NAME)


def raising(at: str, error: BaseException) -> Callable[[str], None]:
    def hook(call: str) -> None:
        if call.startswith(at):
            raise error

    return hook


def test_every_job_owns_the_service_and_the_pod_group(client: FakeClient) -> None:
    submit(client, request_for(GANG))
    assert client.kinds() == ["Job", "Job", "PodGroup", "Service"]
    uids = {item["metadata"]["uid"] for (kind, *_), item in client.objects.items() if kind is JOB}
    for kind in (POD_GROUP, SERVICE):
        owners = client.objects[kind, "team", NAME]["metadata"]["ownerReferences"]
        assert {owner["uid"] for owner in owners} == uids
        assert {(owner["apiVersion"], owner["kind"]) for owner in owners} == {("batch/v1", "Job")}


@pytest.mark.parametrize("refused", ["create Job train-x1234567-reader", "create PodGroup", "create Service"])
def test_a_refused_object_takes_the_earlier_ones_with_it(client: FakeClient, refused: str) -> None:
    client.before = raising(refused, RequestRefused("no", status=403))
    with pytest.raises(RequestRefused, match="no"):
        submit(client, request_for(GANG))
    assert client.kinds() == []


def test_an_object_that_was_there_before_stays(client: FakeClient) -> None:
    request = request_for(GANG)
    submit(client, request)
    with pytest.raises(RequestRefused, match="already exists"):
        submit(client, request)
    assert client.kinds() == ["Job", "Job", "PodGroup", "Service"]
    assert "delete" not in " ".join(client.calls)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SchedulerUnavailable("away")])
@pytest.mark.parametrize("call", ["create Job train-x1234567-trainer", "create PodGroup", "create Service"])
def test_an_object_that_was_created_without_a_response_is_removed_too(
    client: FakeClient, call: str, error: BaseException
) -> None:
    client.after = raising(call, error)
    with pytest.raises(type(error)):
        submit(client, request_for(GANG))
    assert client.kinds() == []


def test_removal_waits_for_a_server_that_is_away_for_a_moment(client: FakeClient) -> None:
    failures = iter([SchedulerUnavailable("away")] * 2)

    def hook(call: str) -> None:
        if call.startswith("create Service"):
            raise RequestRefused("no")
        if call.startswith("delete") and (failure := next(failures, None)):
            raise failure

    client.before = hook
    with pytest.raises(RequestRefused):
        submit(client, request_for(GANG))
    assert client.kinds() == []


def test_what_cannot_be_removed_is_named(
    client: FakeClient, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "_UNDO_TIMEOUT_S", 0.2)

    def hook(call: str) -> None:
        if call.startswith("create Service"):
            raise RequestRefused("no")
        if call.startswith("delete"):
            raise SchedulerUnavailable("away")

    client.before = hook
    with pytest.raises(RequestRefused):
        submit(client, request_for(GANG))
    (text,) = notices
    assert f"-n team -l dev.topcoat.app={NAME}" in text


def test_validation_checks_every_object_and_stores_none(client: FakeClient) -> None:
    submitting.validate(cast(Client, client), request_for(GANG))
    assert sorted(verbs(client.calls)) == ["check Job", "check Job", "check PodGroup", "check Service"]
    assert client.kinds() == []


@pytest.mark.parametrize("arrangement", [GANG, Arrangement(JOB_SET, "none"), Arrangement(VOLCANO_JOB, "volcano")])
def test_delete_leaves_nothing(client: FakeClient, arrangement: Arrangement) -> None:
    submit(client, request_for(arrangement))
    other = make_job(submission(AppDef("b", [Role("r", "image", entrypoint="x")]), name="other-x1"), GANG, {})
    submit(client, other)
    delete(client)
    assert client.kinds() == ["Job", "PodGroup", "Service"]


def test_a_job_set_is_deleted_before_its_jobs(client: FakeClient) -> None:
    submit(client, request_for(Arrangement(JOB_SET, "none")))
    child = request_for(GANG).resource
    client.create(child)
    client.calls.clear()
    delete(client)
    assert verbs(client.calls) == ["delete JobSet", "delete Job"]


def test_cancel_suspends_what_has_not_ended_and_marks_it(client: FakeClient) -> None:
    submit(client, request_for(GANG))
    ended, running = (client.objects[JOB, "team", f"{NAME}-{role}"] for role in ("reader", "trainer"))
    ended["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    cancel(client)
    assert running["spec"]["suspend"] is True
    assert ANNOTATION_CANCELLED in running["metadata"]["annotations"]
    assert "suspend" not in ended["spec"]


def test_cancel_suspends_a_job_set_and_not_its_jobs(client: FakeClient) -> None:
    submit(client, request_for(Arrangement(JOB_SET, "none")))
    child = request_for(GANG).resource
    child["metadata"]["ownerReferences"] = [{"kind": "JobSet", "name": NAME}]
    client.create(child)
    client.calls.clear()
    cancel(client)
    assert verbs(client.calls) == ["patch JobSet"]
    assert client.objects[JOB_SET, "team", NAME]["spec"]["suspend"] is True


@pytest.mark.parametrize("kind", [JOB, JOB_SET])
def test_cancel_tells_kueue_which_would_resume_a_suspended_job(client: FakeClient, kind: Any) -> None:
    request = request_for(Arrangement(kind, "kueue"), queue="q")
    submit(client, request)
    uid = client.objects[kind, "team", request.resource["metadata"]["name"]]["metadata"]["uid"]
    labels = {"kueue.x-k8s.io/job-uid": uid}
    workload = {"metadata": {"name": "w", "namespace": "team", "labels": labels}, "spec": {}}
    client.objects[WORKLOAD, "team", "w"] = workload
    if kind is JOB:
        # The second role's Job has no Workload yet.
        del client.objects[JOB, "team", f"{NAME}-reader"]
    cancel(client)
    assert workload["spec"] == {"active": False}


def test_cancel_suspends_a_job_that_kueue_does_not_manage(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "_WORKLOAD_TIMEOUT_S", 0.1)
    submit(client, request_for(Arrangement(JOB_SET, "kueue"), queue="q"))
    cancel(client)
    assert client.objects[JOB_SET, "team", NAME]["spec"]["suspend"] is True


def test_cancel_aborts_a_job_of_volcano_and_keeps_it(client: FakeClient) -> None:
    submit(client, request_for(Arrangement(VOLCANO_JOB, "volcano")))
    cancel(client)
    assert client.calls[-1] == "post /apis/bus.volcano.sh/v1alpha1/namespaces/team/commands AbortJob"
    assert client.kinds() == ["Job"]


def test_a_user_without_rights_for_add_ons_can_delete_plain_jobs(client: FakeClient) -> None:
    submit(client, request_for(GANG))
    original = client.list

    def refusing(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if kind in (JOB_SET, VOLCANO_JOB):
            raise RequestRefused("forbidden", status=403)
        return original(kind, *args, **kwargs)

    client.list = refusing  # type: ignore[method-assign]
    delete(client)
    assert client.kinds() == []
