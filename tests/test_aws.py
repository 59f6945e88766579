from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.aws import Failure, scripted_aws
from topcoat.aws import aws_client, aws_errors
from topcoat.errors import MissingDependency, RegistryError, SchedulerError, TopcoatError, UsageError

LOGGED_OUT = "the AWS login is missing or has expired"
SSO = """[profile p]
region = us-east-1
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = r
"""
HELPER = "[profile p]\nregion = us-east-1\ncredential_process = /bin/false\n"
LOOP = "[profile p]\nregion = us-east-1\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n"
PARTIAL = "[profile p]\nregion = us-east-1\naws_access_key_id = AKIDEXAMPLE\n"
PROFILE = {"AWS_PROFILE": "p"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-access-key"}
REGION = {"AWS_DEFAULT_REGION": "us-east-1"}


def ask() -> None:
    """Ask for the queues, once."""
    with aws_errors("asking"):
        assert aws_client("batch", max_attempts=1).describe_job_queues()["jobQueues"]


@pytest.mark.parametrize(
    ("env", "config", "message", "hint"),
    [
        ({}, "", "asking: no AWS region is set", "export AWS_DEFAULT_REGION=us-east-1"),
        (REGION, "", "asking: no AWS credentials found", "aws sso login, aws configure, or export AWS_PROFILE=NAME"),
        ({"AWS_PROFILE": "nope"}, "", r"asking: The config profile \(nope\) could not be found", "list-profiles"),
        (PROFILE, SSO, LOGGED_OUT, "aws sso login"),
        (PROFILE, HELPER, "asking: Error when retrieving credentials from custom-process", "aws configure"),
        (PROFILE, LOOP, 'asking: The source_profile "q" referenced in', ""),
        (PROFILE, PARTIAL, "asking: the AWS credentials are incomplete", "aws configure"),
        (PROFILE, "[profile p", "asking: Unable to parse config file", ""),
        (
            {**KEYS, **REGION},
            "",
            'asking: cannot connect to AWS: Could not connect to the endpoint URL: "http',
            "proxy",
        ),
        (
            {**KEYS, **REGION, "AWS_ENDPOINT_URL": "foo"},
            "",
            "boto3 refuses its configuration: Invalid endpoint",
            "AWS_",
        ),
        ({**KEYS, "AWS_DEFAULT_REGION": "us east"}, "", "boto3 refuses its configuration: Provided region", ""),
    ],
)
def test_every_mistake_in_the_configuration_is_one_clear_error(
    env: dict[str, str], config: str, message: str, hint: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(config)
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", **env}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TopcoatError, match=message) as caught:
        ask()
    assert hint in (caught.value.hint or "")
    assert "secret-access-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (Failure("ExpiredToken"), LOGGED_OUT),
        (Failure("RequestExpired"), LOGGED_OUT),
        (Failure("InvalidClientTokenId", "The security token is invalid"), "AWS does not accept the credentials"),
        (
            Failure("InvalidSignatureException", "Credential=AKIDEXAMPLE/x"),
            "^asking: AWS does not accept the credentials$",
        ),
        (Failure("AccessDeniedException", "no batch:X"), "access denied: no batch:X"),
        (Failure("ThrottlingException"), "too many requests"),
        (Failure("ClientException", "a\x1b[2J\nb"), r"^asking: a\\x1b\[2J\\x0ab$"),
        (Failure("ServerException", "oops", 500), "asking: oops"),
        (Failure("", "", 404), r"asking: An error occurred \(\) when calling the DescribeJobQueues operation"),
        (Failure("", status=0), "cannot connect to AWS"),
    ],
)
def test_every_response_that_is_an_error_is_one_clear_error(
    failure: Failure, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_aws(monkeypatch) as aws:
        aws.says("describejobqueues", failure)
        with pytest.raises(SchedulerError, match=message):
            ask()


def test_a_throttled_request_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_aws(monkeypatch) as aws:
        aws.says("describejobqueues", Failure("ThrottlingException"), {"jobQueues": []})
        assert aws_client("batch").describe_job_queues()["jobQueues"] == []
        assert len(aws.requests) == 2


def test_a_refused_parameter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_aws(monkeypatch):
        client = aws_client("batch")
        expected = pytest.raises(RegistryError, match="x: Invalid type for parameter jobs, value: 3")
        with expected, aws_errors("x", RegistryError):
            client.describe_jobs(jobs=3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>please log in</html>", "asking: the response has no 'jobQueues', so it does not come from AWS"),
        (b"", "asking: the response has no 'jobQueues'"),
        (b"{}", "asking: the response has no 'jobQueues'"),
        (b'"text"', "asking: boto3 cannot use an address, or what responds there"),
        (b"[1]", "asking: boto3 cannot use an address, or what responds there"),
        (b'{"jobQueues": 3}', "asking: boto3 cannot use an address, or what responds there"),
        (b"\xff\xfe", "asking: "),
    ],
)
def test_a_login_page_in_place_of_aws_is_one_clear_error(
    body: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_aws(monkeypatch) as aws:
        aws.says("describejobqueues", body)
        with pytest.raises(SchedulerError, match=message) as caught:
            ask()
    assert caught.value.hint


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("host", ["127.0.0.1:9", "127.0.0.1:port"])
@pytest.mark.parametrize("password", ["s3cret", "s3c#r3t", "s3c:r3t"])
def test_the_password_of_a_proxy_or_an_endpoint_is_never_shown(
    variable: str, host: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {**KEYS, **REGION, "AWS_ENDPOINT_URL": "https://127.0.0.1:9", variable: f"http://me:{password}@{host}"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TopcoatError) as caught:
        ask()
    assert "s3c" not in f"{caught.value} {caught.value.hint}"


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), aws_errors("x"):
        raise ZeroDivisionError
    with pytest.raises(UsageError, match=r"^as it is$"), aws_errors("x"):
        raise UsageError("as it is")


def test_without_boto3_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingDependency) as caught:
        aws_client("batch")
    assert caught.value.hint == "pip install 'topcoat[aws]'"
