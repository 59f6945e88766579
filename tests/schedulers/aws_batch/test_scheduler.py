"""The scheduler and the real boto3, with an API of AWS that says what each test needs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.schedulers.aws_batch.requests import job as make_request
from tests.schedulers.aws_batch.requests import role
from tests.support.aws import Failure, ScriptedAws, scripted_aws
from tests.support.notices import recorded_notices
from topcoat.errors import InvalidHandle, InvalidRunConfigException, SchedulerError, TopcoatError, UsageError
from topcoat.runner import Runner
from topcoat.schedulers.api import Stream
from topcoat.schedulers.aws_batch import client, logs
from topcoat.schedulers.aws_batch.scheduler import create_scheduler
from topcoat.specs import AppDef, AppState, Resource, RetryPolicy, Role, Workspace
from topcoat.testing.registry import FakeRegistry

QUEUE = {
    "jobQueueName": "gpus",
    "state": "ENABLED",
    "status": "VALID",
    "jobQueueArn": "arn:aws:batch:us-east-1:1:job-queue/gpus",
}
ARN = "arn:aws:batch:us-east-1:123456789012:job-definition/topcoat-train-1:1"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedAws]:
    """An API with one queue, where every submission succeeds."""
    monkeypatch.setattr(client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "_LISTED_AFTER_S", 0.01)
    monkeypatch.setattr(logs, "_MIN_POLL_S", 0.01)
    with scripted_aws(monkeypatch) as script:
        script.says("describejobqueues", {"jobQueues": [QUEUE]})
        script.says("describecomputeenvironments", {"computeEnvironments": []})
        script.says("describejobdefinitions", {"jobDefinitions": []})
        script.says("registerjobdefinition", {"jobDefinitionName": "x", "jobDefinitionArn": ARN, "revision": 1})
        script.says("submitjob", {"jobName": "x", "jobId": "id-1"})
        script.says("listjobs", {"jobSummaryList": []})
        script.says("describejobs", {"jobs": []})
        yield script


def submit(*roles: Role, **cfg: Any) -> str:
    app = AppDef("train", list(roles or [role()]))
    return Runner("s", {"aws_batch": create_scheduler}).run(app, "aws_batch", {"queue": "gpus", **cfg})


def summary(name: str, **fields: Any) -> dict[str, Any]:
    return {"jobId": "id-1", "jobName": name, "createdAt": 1, "status": "RUNNING", **fields}


def detail(name: str = "train-x1", status: str = "RUNNING", **fields: Any) -> dict[str, Any]:
    container = make_request(role()).job_def["containerProperties"]
    base = {
        "jobId": "id-1",
        "jobName": name,
        "jobQueue": "gpus",
        "status": status,
        "startedAt": 1,
        "jobDefinition": ARN,
    }
    return {**base, "container": container, **fields}


def knows(aws: ScriptedAws, *details: dict[str, Any]) -> None:
    """Let AWS know a job ``train-x1`` in these states, one after the other."""
    aws.says("listjobs", {"jobSummaryList": [summary("train-x1")]})
    aws.says("describejobs", *({"jobs": [item]} for item in details))


def test_a_job_is_submitted_with_its_definition(aws: ScriptedAws) -> None:
    handle = submit(role(env={"A": "1"}))
    assert re.fullmatch(r"aws_batch://s/gpus:train-[a-z0-9]{8}", handle)
    (registered,), (submitted,) = aws.asked("registerjobdefinition"), aws.asked("submitjob")
    assert registered["jobDefinitionName"].startswith("topcoat-train-")
    assert submitted["jobDefinition"] == ARN
    assert f"gpus:{submitted['jobName']}" == submitted["tags"]["dev.topcoat.app-id"] == handle.rpartition("/")[2]


def test_without_permission_to_see_the_compute_environments_the_job_is_submitted(aws: ScriptedAws) -> None:
    environments = [{"order": 1, "computeEnvironment": "c"}]
    aws.says("describejobqueues", {"jobQueues": [{**QUEUE, "computeEnvironmentOrder": environments}]})
    aws.says("describecomputeenvironments", Failure("AccessDeniedException", "no", 403))
    with recorded_notices() as notices:
        assert submit()
    assert notices == [
        "AWS denies a look at the compute environments of the job queue: jobs are not checked against them"
    ]


def test_an_existing_definition_is_not_registered_again(aws: ScriptedAws) -> None:
    known = [
        {"jobDefinitionArn": f"{ARN}{n}", "revision": n, "jobDefinitionName": "x", "type": "container"} for n in (9, 10)
    ]
    aws.says("describejobdefinitions", {"jobDefinitions": known})
    submit()
    assert aws.asked("registerjobdefinition") == []
    assert aws.asked("submitjob")[0]["jobDefinition"] == f"{ARN}10"
    assert aws.asked("describejobdefinitions")[0]["status"] == "ACTIVE"


NO_QUEUE: dict[str, Any] = {"jobQueues": []}
DISABLED = {"jobQueues": [{**QUEUE, "state": "DISABLED"}]}
EXPIRED = Failure("ExpiredTokenException", "The security token is expired", 403)
REJECTED = Failure("UnrecognizedClientException", "The security token is invalid", 403)
DENIED = Failure("AccessDeniedException", "not authorized to perform: batch:SubmitJob", 403)
ODD = Failure("ClientException", "Job role \x1b[31mbad")


@pytest.mark.parametrize(
    ("operation", "response", "message", "hint"),
    [
        ("describejobqueues", NO_QUEUE, "unknown job queue 'gpus' in us-east-1", "no job queue there"),
        ("describejobqueues", DISABLED, "the job queue 'gpus' is disabled", "--state ENABLED"),
        ("describejobqueues", EXPIRED, "the AWS login is missing or has expired", "aws sso login"),
        ("describejobqueues", REJECTED, "AWS does not accept the credentials", "get-caller-identity"),
        ("submitjob", DENIED, "access denied: not authorized to perform: batch:SubmitJob", "AWS_PROFILE"),
        ("submitjob", ODD, r"submitting the job train-\w+: Job role \\x1b\[31mbad", None),
        ("registerjobdefinition", ODD, "registering the job definition topcoat-train-", None),
    ],
)
def test_what_aws_refuses_is_one_clear_error(
    operation: str, response: Any, message: str, hint: str | None, aws: ScriptedAws
) -> None:
    aws.says(operation, response)
    with pytest.raises(TopcoatError, match=message) as caught:
        submit()
    assert hint is None or hint in str(caught.value.hint)
    assert "secret-access-key" not in str(caught.value)


def test_a_misspelt_queue_is_suggested(aws: ScriptedAws) -> None:
    aws.says("describejobqueues", {"jobQueues": []}, {"jobQueues": [QUEUE]})
    with pytest.raises(InvalidRunConfigException, match="unknown job queue 'gpsu'") as caught:
        submit(queue="gpsu")
    assert "gpus" in str(caught.value.hint)


def test_throttled_requests_are_repeated(aws: ScriptedAws) -> None:
    throttled = Failure("TooManyRequestsException", "Too Many Requests", 429)
    aws.says("describejobqueues", throttled, {"jobQueues": [QUEUE]})
    aws.says("submitjob", throttled, throttled, {"jobName": "x", "jobId": "id-1"})
    with recorded_notices() as notices:
        submit()
    assert len(aws.asked("submitjob")) == 3
    assert notices == [f"AWS did not confirm the job {aws.asked('submitjob')[0]['jobName']}: trying again"]


def test_a_throttled_submission_fails_in_the_end(aws: ScriptedAws) -> None:
    aws.says("submitjob", Failure("TooManyRequestsException", "Too Many Requests", 429))
    with pytest.raises(SchedulerError, match="AWS received too many requests, and refused this one at every try"):
        submit()
    assert len(aws.asked("submitjob")) == 6


@pytest.mark.parametrize("lost", [Failure("", status=0), Failure("InternalFailure", "oops", 500)])
def test_a_submission_whose_response_is_lost_is_not_submitted_twice(lost: Failure, aws: ScriptedAws) -> None:
    def listed(body: dict[str, Any]) -> dict[str, Any]:
        submitted = aws.asked("submitjob")
        return {"jobSummaryList": [summary(submitted[0]["jobName"])] if submitted else []}

    aws.says("submitjob", lost)
    aws.says("listjobs", listed)
    submit()
    assert len(aws.asked("submitjob")) == 1


def test_a_submission_that_did_not_arrive_is_sent_again(aws: ScriptedAws) -> None:
    aws.says("submitjob", Failure("", status=0), {"jobName": "x", "jobId": "id-1"})
    submit()
    first, second = aws.asked("submitjob")
    assert first == second


def test_a_job_that_aws_does_not_list_yet_is_known_to_its_submitter(aws: ScriptedAws) -> None:
    scheduler = create_scheduler("s")
    info = scheduler.plan(AppDef("train", [role()]), {"queue": "gpus"})
    app_id = scheduler.schedule(info)
    aws.says("describejobs", {"jobs": [detail(info.app_id, "SUBMITTED")]})
    status = scheduler.describe(app_id)
    assert status is not None
    assert status.state is AppState.PENDING


def test_a_waiting_job_tells_why_its_queue_is_stuck(aws: ScriptedAws) -> None:
    knows(aws, detail(status="RUNNABLE", statusReason="MISCONFIGURATION:X"))
    aws.says(
        "describejobqueues",
        {"jobQueues": [{**QUEUE, "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "c"}]}]},
    )
    aws.says(
        "describecomputeenvironments",
        {
            "computeEnvironments": [
                {
                    "computeEnvironmentName": "c",
                    "computeEnvironmentArn": "a",
                    "status": "INVALID",
                    "statusReason": "no role",
                }
            ]
        },
    )
    status = create_scheduler("s").describe("gpus:train-x1")
    assert status is not None
    assert status.msg == "MISCONFIGURATION:X: the compute environment c is INVALID: no role"


def test_a_running_job_costs_two_requests(aws: ScriptedAws) -> None:
    knows(aws, detail())
    assert create_scheduler("s").describe("gpus:train-x1")
    assert [name for name, _ in aws.requests] == ["listjobs", "describejobs"]
    assert aws.asked("listjobs")[0] == {"jobQueue": "gpus", "filters": [{"name": "JOB_NAME", "values": ["train-x1"]}]}


def test_the_nodes_of_a_job_are_described_each(aws: ScriptedAws) -> None:
    nodes = make_request(role("a"), role("b", 2)).job_def["nodeProperties"]
    parent = {**detail(status="FAILED"), "nodeProperties": nodes}
    parent.pop("container")

    def describe(body: dict[str, Any]) -> dict[str, Any]:
        known = {
            "id-1": parent,
            "id-1#0": {**detail(status="FAILED"), "jobId": "id-1#0", "stoppedAt": 9, "container": {"exitCode": 143}},
            "id-1#2": {**detail(status="FAILED"), "jobId": "id-1#2", "stoppedAt": 5, "container": {"exitCode": 3}},
        }
        return {"jobs": [known[job_id] for job_id in body["jobs"] if job_id in known]}

    aws.says("listjobs", {"jobSummaryList": [summary("train-x1")]})
    aws.says("describejobs", describe)
    scheduler = create_scheduler("s")
    status = scheduler.describe("gpus:train-x1")
    assert status is not None
    assert (status.msg, [entry.name for entry in status.roles]) == ("b/1 ended with exit code 3", ["a", "b"])
    assert [times.exit_code for times in scheduler.replica_times("gpus:train-x1")] == [143, None, 3]
    assert aws.asked("describejobs")[1] == {"jobs": ["id-1#0", "id-1#1", "id-1#2"]}


@pytest.mark.parametrize(
    "missing", [{"jobSummaryList": []}, Failure("ClientException", "Job queue gpus does not exist")]
)
def test_an_unknown_job_or_queue_is_none(missing: Any, aws: ScriptedAws) -> None:
    aws.says("listjobs", missing)
    scheduler = create_scheduler("s")
    assert scheduler.describe("gpus:train-x1") is None
    scheduler.cancel("gpus:train-x1")
    assert not aws.asked("terminatejob")


@pytest.mark.parametrize("app_id", ["train-x1", "gpus:", ":x", "a b:c", "q:x:y"])
def test_an_id_that_is_none_is_an_error(app_id: str) -> None:
    with pytest.raises(InvalidHandle, match="expected queue:name"):
        create_scheduler("s").describe(app_id)


def test_a_job_is_cancelled_with_a_reason_that_marks_it(aws: ScriptedAws) -> None:
    aws.says("terminatejob", {})
    knows(aws, detail())
    create_scheduler("s").cancel("gpus:train-x1")
    assert aws.asked("terminatejob") == [{"jobId": "id-1", "reason": "cancelled by topcoat"}]
    knows(aws, detail(status="FAILED", statusReason="cancelled by topcoat"))
    status = create_scheduler("s").describe("gpus:train-x1")
    assert status is not None
    assert status.state is AppState.CANCELLED


def test_deleting_a_job_says_that_aws_keeps_its_record(aws: ScriptedAws) -> None:
    knows(aws, detail(status="SUCCEEDED"))
    with recorded_notices() as notices:
        create_scheduler("s").delete("gpus:train-x1")
    assert notices == ["AWS Batch keeps the record of gpus:train-x1 for at least 7 days, and removes it by itself"]
    assert not aws.asked("terminatejob")


def test_the_jobs_of_all_queues_are_listed_by_our_tag_page_by_page(aws: ScriptedAws) -> None:
    aws.says(
        "describejobqueues",
        {"jobQueues": [QUEUE], "nextToken": "2"},
        {"jobQueues": [{**QUEUE, "jobQueueName": "cpus"}]},
    )
    pages = {
        ("gpus", None): {
            "jobSummaryList": [{"jobId": "1", "jobName": "a"}, {"jobId": "2", "jobName": "b"}],
            "nextToken": "n",
        },
        ("gpus", "n"): {"jobSummaryList": [{"jobId": "3", "jobName": "c"}]},
        ("cpus", None): {"jobSummaryList": []},
    }
    aws.says("listjobs", lambda body: pages[body["jobQueue"], body.get("nextToken")])
    tags = {"dev.topcoat.app-id": "x", "torchx.pytorch.org/app-name": "my app"}
    details = {
        "1": {**detail("a"), "jobId": "1", "createdAt": 1, "tags": tags},
        "2": {**detail("b"), "jobId": "2", "createdAt": 2},
        "3": {**detail("c", "SUCCEEDED"), "jobId": "3", "createdAt": 3, "tags": tags},
    }
    aws.says("describejobs", lambda body: {"jobs": [details[job_id] for job_id in body["jobs"]]})
    listed = create_scheduler("s").list()
    assert [(app.app_id, app.state, app.name) for app in listed] == [
        ("gpus:c", AppState.SUCCEEDED, "my app"),
        ("gpus:a", AppState.RUNNING, "my app"),
    ]
    assert [app.app_id for app in create_scheduler("s").list({"queue": QUEUE["jobQueueArn"]})] == ["gpus:c", "gpus:a"]


def events(*messages: str, token: str) -> dict[str, Any]:
    return {
        "events": [{"timestamp": 1, "message": text, "ingestionTime": 1} for text in messages],
        "nextForwardToken": token,
    }


def log(aws: ScriptedAws, **kwargs: Any) -> list[str]:
    return list(create_scheduler("s").log_iter("gpus:train-x1", "trainer", 0, **kwargs))


def test_a_log_is_read_page_by_page_and_an_empty_page_is_not_the_end(aws: ScriptedAws) -> None:
    knows(aws, detail(status="SUCCEEDED", attempts=[{"container": {"logStreamName": "s1"}}]))
    pages = {
        None: events("a", "b", token="1"),
        "1": events(token="2"),
        "2": events("b", token="3"),
        "3": events(token="3"),
    }
    aws.says("getlogevents", lambda body: pages[body.get("nextToken")])
    assert log(aws) == ["a\n", "b\n", "b\n"]
    assert aws.asked("getlogevents")[0] == {
        "logGroupName": "/aws/batch/job",
        "logStreamName": "s1",
        "startFromHead": True,
    }


def test_a_followed_log_has_every_line_once_over_all_runs_of_the_job(aws: ScriptedAws) -> None:
    one, two = {"container": {"logStreamName": "s1"}}, {"container": {"logStreamName": "s2"}}
    knows(
        aws,
        detail(),
        detail(status="STARTING", container={}),
        detail(container={"logStreamName": "s1"}),
        detail(container={"logStreamName": "s1"}),
        detail(container={"logStreamName": "s2"}, attempts=[one]),
        detail(status="SUCCEEDED", attempts=[one, two]),
    )
    written = {"s1": ["a", "b"], "s2": ["c", "d"]}
    polls = {"s1": 0, "s2": 0}

    def read(body: dict[str, Any]) -> Any:
        name, position = body["logStreamName"], int(body.get("nextToken") or 0)
        polls[name] += 1
        if polls[name] == 1:
            return Failure("ResourceNotFoundException", "The specified log stream does not exist.")
        # One more line becomes visible with each poll, the last one after the job has ended.
        visible = written[name][: polls[name] // 2]
        return events(*visible[position:], token=str(max(position, len(visible))))

    aws.says("getlogevents", read)
    assert log(aws, should_tail=True) == ["a\n", "b\n", "c\n", "d\n"]


def test_times_and_patterns_limit_a_log(aws: ScriptedAws) -> None:
    knows(aws, detail(status="SUCCEEDED", attempts=[{"container": {"logStreamName": "s1"}}]))
    aws.says("getlogevents", events("loss 1", "x", token="1"), events(token="1"))
    since, until = (datetime(2026, 1, 1, 0, 0, second, tzinfo=timezone.utc) for second in (1, 2))
    assert log(aws, since=since, until=until, regex="loss", should_tail=True) == ["loss 1\n"]
    asked = aws.asked("getlogevents")[0]
    assert (asked["startTime"], asked["endTime"]) == (1767225601000, 1767225602001)


@pytest.mark.parametrize("operation", ["listjobs", "describejobs", "getlogevents"])
def test_a_login_page_in_place_of_aws_is_one_clear_error(operation: str, aws: ScriptedAws) -> None:
    knows(aws, detail(status="SUCCEEDED", attempts=[{"container": {"logStreamName": "s1"}}]))
    aws.says(operation, b"<html></html>")
    with pytest.raises(SchedulerError, match="does not come from AWS"):
        log(aws)


def test_a_log_of_a_replica_that_the_job_does_not_have_is_an_error(aws: ScriptedAws) -> None:
    knows(aws, detail())
    with pytest.raises(UsageError, match="has no replica trainer/1") as caught:
        create_scheduler("s").log_iter("gpus:train-x1", "trainer", 1)
    assert "trainer/0" in str(caught.value.hint)
    with pytest.raises(UsageError, match="keeps both outputs of a job in one log"):
        create_scheduler("s").log_iter("gpus:train-x1", "trainer", 0, streams=Stream.STDERR)


def test_the_log_of_a_node_is_its_own(aws: ScriptedAws) -> None:
    nodes = make_request(role("a"), role("b", 2)).job_def["nodeProperties"]

    def describe(body: dict[str, Any]) -> dict[str, Any]:
        known = {
            "id-1": {**detail(status="SUCCEEDED"), "nodeProperties": nodes},
            "id-1#2": {**detail(status="SUCCEEDED"), "jobId": "id-1#2", "container": {"logStreamName": "b1"}},
        }
        return {"jobs": [known[job_id] for job_id in body["jobs"] if job_id in known]}

    aws.says("listjobs", {"jobSummaryList": [summary("train-x1")]})
    aws.says("describejobs", describe)
    aws.says("getlogevents", events("x", token="1"), events(token="1"))
    assert list(create_scheduler("s").log_iter("gpus:train-x1", "b", 1)) == ["x\n"]
    assert aws.asked("getlogevents")[0]["logStreamName"] == "b1"


def test_a_role_that_asks_to_restart_alone_gets_a_notice(aws: ScriptedAws) -> None:
    with recorded_notices() as notices:
        submit(role(replicas=2, max_retries=1, retry_policy=RetryPolicy.REPLICA))
        submit(role(replicas=2, retry_policy=RetryPolicy.REPLICA), role("b", max_retries=1))
        submit(role(max_retries=1, retry_policy=RetryPolicy.ROLE))
    assert notices == ["AWS Batch restarts all nodes of a job, not one replica: trainer"]


def test_queues_of_sagemaker_are_not_listed(aws: ScriptedAws) -> None:
    aws.says("describejobqueues", {"jobQueues": [{**QUEUE, "jobQueueType": "SAGEMAKER_TRAINING"}]})
    assert create_scheduler("s").list() == []
    assert aws.asked("listjobs") == []


def test_a_missing_image_repo_is_an_error_before_aws_is_asked(aws: ScriptedAws, tmp_path: Path) -> None:
    with pytest.raises(InvalidRunConfigException, match="missing image_repo"):
        submit(role(workspace=Workspace({str(tmp_path): ""})))
    assert aws.requests == []


def test_submit_without_a_runner_builds_pushes_and_submits(aws: ScriptedAws, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print()")
    with FakeRegistry() as registry:
        registry.add_image("base", "1")
        app = AppDef("train", [role(workspace=Workspace({str(tmp_path): ""}))])
        app.roles[0].image = f"{registry.host}/base:1"
        create_scheduler("s").submit(app, {"queue": "gpus", "image_repo": f"{registry.host}/app"})  # type: ignore[arg-type]
        image = aws.asked("registerjobdefinition")[0]["containerProperties"]["image"]
        repository, _, tag = image.rpartition(":")
        assert repository == f"{registry.host}/app"
        assert tag in registry.repositories["app"].tags


def test_the_platform_follows_from_the_instance_type() -> None:
    scheduler = create_scheduler("s")
    for name, expected in (("m7g.large", "linux/arm64"), ("m5.large", "linux/amd64"), (None, "")):
        capabilities = {"node.kubernetes.io/instance-type": name} if name else {}
        assert scheduler.role_platform(role(resource=Resource(1, 0, 1, capabilities)), {}) == expected


def test_the_scheduler_and_its_options_do_not_import_boto3() -> None:
    code = (
        "import sys; from topcoat.schedulers.aws_batch.scheduler import create_scheduler as f; f('s').run_opts();"
        "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_clients_of_the_caller_are_used_and_not_closed() -> None:
    class Client:
        closed = False

        def close(self) -> None:
            self.closed = True

        def describe_jobs(self, jobs: list[str]) -> dict[str, Any]:
            return {"jobs": []}

        def get_paginator(self, name: str) -> Any:
            return type("Paginator", (), {"paginate": lambda self, **kwargs: [{"jobSummaryList": []}]})()

    client, log_client = Client(), Client()
    scheduler = create_scheduler("s", client=client, log_client=log_client, unknown=1)
    assert scheduler.describe("q:x") is None
    scheduler.close()
    scheduler.close()
    assert scheduler.describe("q:x") is None
    assert not client.closed
    assert not log_client.closed
