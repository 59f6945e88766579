"""``aws_batch`` beside that of TorchX 0.7, the last release that has one: names, options, and the same job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.components.peers import TorchX
from tests.schedulers.aws_batch.requests import job
from topcoat.schedulers import aws_batch_scheduler
from topcoat.specs import AppDef, BindMount, DeviceMount, Resource, Role, VolumeMount  # noqa: F401

_PROGRAM = """
import json
from torchx.schedulers import aws_batch_scheduler as module
from torchx.specs import AppDef, BindMount, DeviceMount, Resource, Role, VolumeMount

def is_own(name, value):
    if isinstance(value, (str, dict)):
        return name.isupper() and name != "MISSING"
    return getattr(value, "__module__", "") == module.__name__ and name != "T"

names = [name for name, value in vars(module).items() if name[0] != "_" and is_own(name, value)]
scheduler = module.create_scheduler("s")
options = {name: [str(opt.opt_type), opt.default, opt.is_required] for name, opt in scheduler._run_opts()}
app = eval(APP)
cfg = {"queue": "gpus", "user": "ada", "privileged": True, "share_id": "team", "priority": 5,
       "job_role_arn": "arn:aws:iam::123456789012:role/a", "execution_role_arn": "arn:aws:iam::123456789012:role/b"}
request = scheduler.submit_dryrun(app, scheduler.run_opts().resolve(cfg)).request
fields = [name for name in vars(request)]
print(json.dumps([names, options, fields, request.job_def]))
"""

_APP = """AppDef("train", [
    Role("a", "image:1", entrypoint="python", args=["x"], env={"A": "1"}, resource=Resource(2, 1, 1000)),
    Role("b", "image:2", entrypoint="python", num_replicas=3, max_retries=2, resource=Resource(-1, 0, 500), mounts=[
        BindMount("/data", "/d", read_only=True), VolumeMount("fs-1", "/efs"), DeviceMount("/dev/x", "/dev/y", "rw"),
    ]),
])"""


@pytest.fixture(scope="module")
def theirs(torchx_release: TorchX, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Names, options, fields of the request, and job definition of TorchX."""
    return torchx_release.ask(f"APP = {_APP!r}\n{_PROGRAM}", None, tmp_path_factory.mktemp("torchx"))


def test_every_public_name_is_there(theirs: Any) -> None:
    assert {"AWSBatchScheduler", "JOB_STATE", "to_datetime"} <= set(theirs[0])
    assert set(theirs[0]) <= set(aws_batch_scheduler.__all__)


def test_every_option_is_there_with_its_type_and_default(theirs: Any) -> None:
    ours = {
        name: [str(opt.opt_type), opt.default, opt.is_required]
        for name, opt in aws_batch_scheduler.create_scheduler("s")._run_opts()
    }
    assert theirs[1].items() <= json.loads(json.dumps(ours)).items()


def test_the_request_has_the_fields_of_torchxs_in_their_order(theirs: Any) -> None:
    assert list(vars(job()))[: len(theirs[2])] == theirs[2]


def test_the_containers_of_a_job_are_those_of_torchx(theirs: Any) -> None:
    app = eval(_APP)
    roles = {
        "job_role_arn": "arn:aws:iam::123456789012:role/a",
        "execution_role_arn": "arn:aws:iam::123456789012:role/b",
    }
    ours = job(*app.roles, privileged=True, share_id="team", priority=5, **roles).job_def["nodeProperties"]
    their_nodes = theirs[3]["nodeProperties"]
    assert [ours["numNodes"], ours["mainNode"]] == [their_nodes["numNodes"], their_nodes["mainNode"]] == [4, 0]
    for own_group, group in zip(ours["nodeRangeProperties"], their_nodes["nodeRangeProperties"], strict=True):
        assert own_group["targetNodes"] == group["targetNodes"]
        own, their = own_group["container"], group["container"]
        # The command begins with the shell that sets the variables of the node.
        assert own["command"][4:] == their["command"]
        env = {item["name"]: item["value"] for item in own["environment"]}
        assert {item["name"]: item["value"] for item in their["environment"]}.items() <= env.items()
        for key in their.keys() - {"command", "environment"}:
            assert _without_empty(own.get(key)) == _without_empty(their[key]), key


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in ([], {}, None)}
    return value or None
