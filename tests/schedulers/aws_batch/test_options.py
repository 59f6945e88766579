from __future__ import annotations

import getpass
from typing import Any

import pytest

from tests.schedulers.aws_batch.requests import options
from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.aws_batch.options import check_options, login_name, parse_ulimits, queue_name, tag_value
from topcoat.schedulers.aws_batch.scheduler import create_scheduler


def test_the_options_of_torchx_are_there_with_its_types_and_defaults() -> None:
    opts = {name: (opt.opt_type, opt.default, opt.is_required) for name, opt in create_scheduler("s").run_opts()}
    assert opts["queue"] == (str, None, True)
    assert opts["user"][1] == getpass.getuser()
    for name, type_, default in (
        ("privileged", bool, False),
        ("share_id", str, None),
        ("priority", int, 0),
        ("job_role_arn", str, None),
        ("execution_role_arn", str, None),
        ("ulimits", list[str], None),
        ("image_repo", str, None),
        ("image_entrypoint", str, "keep"),
    ):
        assert opts[name] == (type_, default, False), name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_entrypoint": "replace"}, "invalid image_entrypoint 'replace': AWS Batch always keeps the ENTRYPOINT"),
        ({"queue": "a/b"}, "invalid queue 'a/b': expected the name or the ARN of a job queue"),
        ({"timeout": 59}, "invalid timeout 59: expected at least 60 seconds"),
        ({"priority": 10000}, "invalid priority 10000: expected 0 to 9999"),
        ({"priority": -1}, "invalid priority -1"),
        ({"job_role_arn": "admin"}, "invalid job_role_arn 'admin': expected the ARN of a role"),
        ({"ulimits": ["nofile:2:1"]}, "invalid ulimits 'nofile:2:1': expected name:soft:hard, with soft <= hard"),
        ({"ulimits": ["nofile"]}, "invalid ulimits 'nofile'"),
        ({"tags": {"aws:x": "1"}}, "invalid tags 'aws:x:1': a tag needs a name that does not begin with aws:"),
        ({"tags": {"x": "a" * 257}}, "names have at most 128 characters, values 256"),
        ({"tags": {"x": "a;b"}}, "invalid tags 'x:a;b': allowed are letters, digits, spaces"),
    ],
)
def test_a_value_that_aws_would_refuse_is_an_error(values: dict[str, Any], message: str) -> None:
    made = options(**{name: value for name, value in values.items() if name != "image_entrypoint"})
    made._extra_cfg = {name: value for name, value in values.items() if name == "image_entrypoint"}
    with pytest.raises(InvalidRunConfigException) as caught:
        check_options(made)
    assert message in str(caught.value)
    assert caught.value.cfg_key == next(iter(values))


def test_a_queue_is_named_by_name_or_arn() -> None:
    assert queue_name("a-b_1") == queue_name("arn:aws-cn:batch:cn-north-1:123456789012:job-queue/a-b_1") == "a-b_1"
    assert queue_name("") == queue_name("a b") == queue_name("q:x") == queue_name("é") == ""


def test_unlimited_ulimits_are_allowed() -> None:
    assert parse_ulimits(["memlock:-1:-1", "nofile:10:-1"])[0] == {"name": "memlock", "softLimit": -1, "hardLimit": -1}


def test_a_tag_of_topcoats_own_is_made_valid() -> None:
    assert tag_value("my app; #1 (é)") == "my app- -1 -é-"


def test_a_user_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert login_name() == ""
