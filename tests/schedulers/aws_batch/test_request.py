from __future__ import annotations

import json
from typing import Any

import pytest

from tests.schedulers.aws_batch.requests import FARGATE, job, role
from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.schedulers.aws_batch import request
from topcoat.schedulers.aws_batch.queue import Kind
from topcoat.schedulers.aws_batch.request import max_retries_of, name_definition, retry_strategy, set_images
from topcoat.specs import macros


def test_without_retries_only_a_machine_that_aws_takes_back_is_a_reason_to_run_again() -> None:
    strategy = retry_strategy(0, Kind.EC2)
    assert strategy["evaluateOnExit"] == [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    assert strategy["attempts"] == 10


@pytest.mark.parametrize("retries", [1, 9])
def test_n_retries_are_n_plus_one_attempts_for_every_cause(retries: int) -> None:
    assert retry_strategy(retries, Kind.EC2) == {"attempts": retries + 1}


def test_the_largest_number_of_retries_counts_for_all_roles() -> None:
    made = job(role("a", max_retries=1), role("b", max_retries=3))
    assert made.job_def["retryStrategy"] == {"attempts": 4}


@pytest.mark.parametrize("retries", [0, 1, 9])
def test_retries_are_read_back(retries: int) -> None:
    assert max_retries_of(retry_strategy(retries, Kind.FARGATE)) == retries


def test_two_runs_of_the_same_application_share_a_definition() -> None:
    fields: dict[str, Any] = {"args": [macros.app_id], "env": {"DIR": f"/out/{macros.app_id}"}}
    one, two = job(role(**fields), name="train-x1"), job(role(**fields), name="train-x2")
    assert one.job_def == two.job_def
    assert one.submission["containerOverrides"]["command"] == ["python", "train-x1"]
    assert {"name": "DIR", "value": "/out/train-x2"} in two.submission["containerOverrides"]["environment"]


@pytest.mark.parametrize(
    "change",
    [
        {"args": ["other.py"]},
        {"env": {"A": "2"}},
        {"max_retries": 1},
        {"replicas": 2},
        {"name": "other"},
    ],
)
def test_every_change_of_the_application_is_another_definition(change: dict[str, Any]) -> None:
    assert job(role(**change)).job_def["jobDefinitionName"] != job(role()).job_def["jobDefinitionName"]


def test_tags_and_version_do_not_change_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(role())
    monkeypatch.setattr(request, "__version__", "99")
    assert job(role(), tags={"a": "b"}).job_def["jobDefinitionName"] == one.job_def["jobDefinitionName"]


def test_the_delivered_image_changes_the_definition_and_what_the_job_sees() -> None:
    made = job(role("a"), role("b"))
    before = made.job_def["jobDefinitionName"]
    set_images(made, {"b": "registry.example.com/app:1@sha256:x", "a": ""})
    groups = made.job_def["nodeProperties"]["nodeRangeProperties"]
    assert [group["container"]["image"] for group in groups] == [
        "registry.example.com/app:1",
        "registry.example.com/app:1@sha256:x",
    ]
    env = {item["name"]: item["value"] for item in groups[1]["container"]["environment"]}
    assert env["TORCHX_IMAGE"] == "registry.example.com/app:1@sha256:x"
    assert made.job_def["jobDefinitionName"] != before
    assert made.job_def["jobDefinitionName"].rpartition("-")[0] == before.rpartition("-")[0]


def test_a_definition_that_was_changed_by_hand_gets_another_name() -> None:
    made = job(role())
    before = made.job_def["jobDefinitionName"]
    assert name_definition(made).job_def["jobDefinitionName"] == before
    made.job_def["containerProperties"]["user"] = "1000"
    assert name_definition(made).job_def["jobDefinitionName"] != before


def test_a_name_that_aws_does_not_allow_is_made_valid() -> None:
    made = job(role())
    name_definition(made, "ä/b c" * 50)
    name = made.job_def["jobDefinitionName"]
    assert name.startswith("topcoat-b-c-b-c")
    assert len(name) <= 128
    assert name.isascii()


def test_a_request_that_is_too_large_is_an_error() -> None:
    with pytest.raises(InvalidApp, match=r"the job definition has \d+ bytes, and AWS Batch accepts 24576"):
        job(role(args=["x" * 25000]))
    with pytest.raises(InvalidApp, match=r"the job has \d+ bytes, and AWS Batch accepts 30720"):
        job(role(args=["x" * 15000 + macros.app_id, "y" * 8000]), tags={f"{n}": "z" * 256 for n in range(40)})


def test_invalid_metadata_is_an_error_and_so_are_too_many_tags() -> None:
    with pytest.raises(InvalidRunConfigException, match="invalid metadata 'a;b:c'"):
        job(role(), metadata={"a;b": "c"})
    with pytest.raises(InvalidApp, match="has 54 tags, and AWS allows 50"):
        job(role(), tags={f"{n}": "z" for n in range(50)})


def test_the_handle_in_the_environment_names_the_queue() -> None:
    # A runner sets it before it knows the queue.
    made = job(role(env={"TORCHX_JOB_ID": f"aws_batch://s/{macros.app_id}"}))
    assert {"name": "TORCHX_JOB_ID", "value": "aws_batch://s/gpus:train-x1"} in made.submission["containerOverrides"][
        "environment"
    ]


def test_fargate_gets_nothing_that_it_refuses() -> None:
    container = job(role(), queue=FARGATE).job_def["containerProperties"]
    assert not {"privileged", "linuxParameters", "ulimits", "instanceType"} & set(container)


def test_the_request_is_shown_as_yaml() -> None:
    assert "jobDefinitionName: topcoat-train-" in str(job(role()))
    json.dumps(job(role()).job_def)
