"""The run options of ``aws_batch``, and the values that AWS allows."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.image_entrypoint import OPTION
from topcoat.schedulers.structured_opts import StructuredOpts

MIN_TIMEOUT_S = 60
MAX_PRIORITY = 9999
MAX_TAGS = 50
_MAX_TAG_NAME, _MAX_TAG_VALUE = 128, 256
_NOT_IN_TAGS = r"[^\w\s+\-=.:/@]"


def login_name() -> str:
    """Return the name of the user, empty if this machine does not know it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


@dataclass
class AWSBatchOpts(StructuredOpts):
    """Hold the run options (TorchX's name)."""

    queue: str
    """job queue, by its name or ARN"""
    user: str = field(default_factory=login_name)
    """value of the tag torchx.pytorch.org/user"""
    privileged: bool = False
    """run the containers as docker's --privileged does (not on Fargate)"""
    share_id: str | None = None
    """share identifier: required by queues with a scheduling policy, refused by others"""
    priority: int = 0
    """priority within the share, 0 to 9999; higher ones run first"""
    job_role_arn: str | None = None
    """IAM role of the job's processes"""
    execution_role_arn: str | None = None
    """IAM role that pulls the image and writes the log; required on Fargate"""
    ulimits: list[str] | None = None
    """limits of the containers, as name:soft:hard (not on Fargate)"""
    timeout: int | None = None
    """seconds after which AWS ends a run of the job, at least 60"""
    tags: dict[str, str] | None = None
    """tags of the job, as k:v,k2:v2"""
    log_options: dict[str, str] | None = None
    """options of the log driver awslogs, such as awslogs-group:NAME"""
    assign_public_ip: bool = False
    """on Fargate, give the job a public IP address, which it needs to pull images in a public subnet"""


def check_options(options: AWSBatchOpts) -> None:
    """Raise ``InvalidRunConfigException`` for a value that AWS Batch would refuse."""
    if (options.get(OPTION) or "keep") != "keep":
        raise _invalid(
            OPTION,
            str(options[OPTION]),
            "AWS Batch always keeps the ENTRYPOINT of the image",
            hint="write ENTRYPOINT [] into a Dockerfile.torchx, or leave the option out",
        )
    if not queue_name(options.queue):
        raise _invalid("queue", options.queue, "expected the name or the ARN of a job queue", hint="-cfg queue=NAME")
    if options.timeout is not None and options.timeout < MIN_TIMEOUT_S:
        raise _invalid("timeout", options.timeout, f"expected at least {MIN_TIMEOUT_S} seconds")
    if not 0 <= options.priority <= MAX_PRIORITY:
        raise _invalid("priority", options.priority, f"expected 0 to {MAX_PRIORITY}")
    for name in ("job_role_arn", "execution_role_arn"):
        value = options[name]
        if value and not re.fullmatch(r"arn:[\w-]+:iam::\d{12}:role/\S+", str(value)):
            raise _invalid(name, str(value), "expected the ARN of a role", hint="arn:aws:iam::123456789012:role/NAME")
    parse_ulimits(options.ulimits or [])
    check_tags(options.tags or {}, "tags")


def queue_name(text: str) -> str:
    """Return the name of a queue that is given by name or ARN, empty if *text* is neither."""
    match = re.fullmatch(r"(?:arn:[\w-]+:batch:[\w-]+:\d+:job-queue/)?([A-Za-z0-9][\w-]{0,127})", text, re.ASCII)
    return match[1] if match else ""


def parse_ulimits(texts: list[str]) -> list[dict[str, Any]]:
    """Return ``name:soft:hard`` as AWS writes it; raise ``InvalidRunConfigException`` for anything else."""
    limits = []
    for text in texts:
        match = re.fullmatch(r"([a-z]+):(-?\d{1,18}):(-?\d{1,18})", text, re.ASCII)
        if not match or int(match[2]) > int(match[3]) >= 0:
            raise _invalid(
                "ulimits", text, "expected name:soft:hard, with soft <= hard", hint="ulimits=nofile:65536:65536"
            )
        limits.append({"name": match[1], "softLimit": int(match[2]), "hardLimit": int(match[3])})
    return limits


def check_tags(tags: Mapping[str, str], source: str) -> None:
    """Raise ``InvalidRunConfigException`` if AWS would refuse *tags*, which the user gave by *source*."""
    for name, value in tags.items():
        text = f"{name}:{value}"
        if name.lower().startswith("aws:") or not name:
            raise _invalid(source, text, "a tag needs a name that does not begin with aws:")
        if len(name) > _MAX_TAG_NAME or len(value) > _MAX_TAG_VALUE:
            raise _invalid(source, text, f"names have at most {_MAX_TAG_NAME} characters, values {_MAX_TAG_VALUE}")
        if re.search(_NOT_IN_TAGS, name + value):
            raise _invalid(source, text, "allowed are letters, digits, spaces and + - = . _ : / @")


def tag_value(text: str) -> str:
    """Return *text* as a value of a tag: other characters become dashes."""
    return re.sub(_NOT_IN_TAGS, "-", text)[:_MAX_TAG_VALUE]


def _invalid(key: str, value: object, why: str, *, hint: str | None = None) -> InvalidRunConfigException:
    return InvalidRunConfigException(f"invalid {key} {value!r}: {why}", key, hint=hint)
