"""An AWS API on this machine: moto's server, whose Batch runs each job as a container of a real engine."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Docker
from tests.components.host import environment
from tests.components.serve import answers, free_port, serve

REGION = "us-east-1"
ACCOUNT = "123456789012"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Aws:
    """A running API; ``env`` makes boto3 use it."""

    url: str
    env: Mapping[str, str]

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make boto3 use it for the rest of a test, in this process and in its children."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def client(self, service: str) -> Any:
        """Return a boto3 client."""
        import boto3

        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def queue(self, kind: str = "EC2", *instance_types: str, state: str = "ENABLED", policy: str = "") -> str:
        """Create a job queue with one compute environment of this kind, and return its name."""
        name = f"queue{next(_numbers)}"
        ec2, iam, batch = self.client("ec2"), self.client("iam"), self.client("batch")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        resources: dict[str, Any] = {
            "type": kind,
            "maxvCpus": 64,
            "subnets": [ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]],
            "securityGroupIds": [ec2.create_security_group(GroupName=name, Description="x", VpcId=vpc)["GroupId"]],
        }
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({}))["Role"]["Arn"]
        if kind in ("EC2", "SPOT"):
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
            resources |= {"minvCpus": 0, "desiredvCpus": 0, "instanceTypes": list(instance_types) or ["optimal"]}
            resources["instanceRole"] = profile
        if kind == "SPOT":
            resources |= {"bidPercentage": 50, "spotIamFleetRole": role}
        batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=resources, serviceRole=role
        )
        batch.create_job_queue(
            jobQueueName=name,
            state=state,
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
            **({"schedulingPolicyArn": policy} if policy else {}),
        )
        return name


@contextlib.contextmanager
def moto(engine: Docker, logs: Path) -> Iterator[Aws]:
    """Run moto's server, whose jobs are containers of *engine*."""
    port = free_port()
    env = environment(**{**engine.env, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with serve([*command], log=logs / "moto.log", env=env, ready=lambda: answers(("127.0.0.1", port))):
        urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=30).close()
        yield Aws(
            url,
            {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": REGION,
            },
        )
