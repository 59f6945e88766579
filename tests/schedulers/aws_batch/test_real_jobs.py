"""Jobs on moto's AWS Batch: real containers of a real engine, images of a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Done
from tests.components.aws import Aws
from tests.components.images import Image
from tests.components.registries import Registry
from topcoat.schedulers.aws_batch.scheduler import create_scheduler


@pytest.fixture
def queue(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job queue of EC2, which boto3 finds."""
    aws.use(monkeypatch)
    return aws.queue("EC2", "optimal")


@pytest.fixture(scope="module")
def base(registry: Registry, busybox_image: Image) -> str:
    """A base in a real registry."""
    return busybox_image.push(registry, registry.unique("batch"), "1", config={"WorkingDir": "/app"}).reference


class Submit:
    """Submit command lines to AWS Batch."""

    def __init__(self, topcoat: Cli, queue: str, base: str, registry: Registry) -> None:
        self.topcoat = topcoat
        self.queue = queue
        self.repository = f"{registry.host}/{registry.unique('app')}"
        self.base = base

    def __call__(self, *words: str, base: str = "") -> Done:
        """Run ``topcoat run`` in the workspace."""
        cfg = f"queue={self.queue},image_repo={self.repository}"
        fixed = ("-s", "aws_batch", "-cfg", cfg, "--image", base or self.base, "--memMB", "64")
        return self.topcoat("run", *fixed, *words)


@pytest.fixture
def submit(topcoat: Cli, workspace: Path, queue: str, base: str, registry: Registry) -> Submit:
    """Submit to the queue, from the workspace."""
    return Submit(topcoat, queue, base, registry)


def test_the_edit_runs_from_the_registry_and_its_log_is_read(submit: Submit, workspace: Path) -> None:
    for text in ("before", "after"):
        (workspace / "train.py").write_text(f"{text}\n")
        script = "cat train.py; echo $A $TOPCOAT_REPLICA_ID $TORCHX_RANK0_HOST"
        done = submit("--wait", "--env", "A=1", "--", "sh", "-c", script)
        assert done.code == 0, done.err
        handle = done.out.strip()
        assert handle.startswith(f"aws_batch://topcoat/{submit.queue}:sh-")
        assert submit.topcoat("log", handle).out == f"{text}\n1 0 localhost\n"
        status = submit.topcoat("status", "--json", handle).json
        assert status["state"] == "SUCCEEDED"


def test_a_job_of_which_nothing_changed_uses_the_same_definition_and_gc_frees_it(submit: Submit, aws: Aws) -> None:
    handles = [submit("--wait", "--", "true").out.strip() for _ in range(2)]
    assert handles[0] != handles[1]
    jobs = aws.client("batch").list_jobs(jobQueue=submit.queue, filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}])
    (definition,) = {job["jobDefinition"] for job in jobs["jobSummaryList"]}
    assert "/topcoat-true-" in definition
    waiting = submit("--", "sleep", "60").out.strip()
    scheduler = create_scheduler("s")
    freeable = {item.id: item for item in scheduler.freeable()}
    assert definition in freeable
    assert not any("topcoat-sleep-" in arn for arn in freeable)
    scheduler.free(freeable[definition])
    scheduler.free(freeable[definition])
    assert definition not in {item.id for item in scheduler.freeable()}
    assert submit.topcoat("cancel", waiting).code == 0
    assert submit("--wait", "--", "true").code == 0


def test_a_log_of_many_pages_has_every_line_once(submit: Submit) -> None:
    handle = submit("--wait", "--", "seq", "1", "12000").out.strip()
    expected = "".join(f"{number}\n" for number in range(1, 12001))
    assert submit.topcoat("log", handle).out == expected
    assert submit.topcoat("log", "-f", handle).out == expected


def test_the_exit_code_of_a_failed_job_is_in_its_status(submit: Submit) -> None:
    done = submit("--wait", "--name", "job", "--", "sh", "-c", "exit 7")
    assert done.code == 1
    assert "job/0 ended with exit code 7" in done.err


def test_other_processes_list_describe_and_cancel_a_job(submit: Submit) -> None:
    handle = submit("--name", "long", "--env", "A=b", "--", "sleep", "60").out.strip()
    listed = submit.topcoat("list", "-s", "aws_batch", "--json").json["jobs"]
    (job,) = (job for job in listed if job["handle"] == handle)
    assert (job["name"], job["scheduler"]) == ("long", "aws_batch")
    assert job["state"] in ("PENDING", "RUNNING")
    described = submit.topcoat("describe", "--json", handle)
    assert described.code == 0, described.err
    (role,) = json.loads(described.out)["roles"]
    assert (role["name"], role["entrypoint"], role["args"], role["env"]["A"]) == ("long", "sleep", ["60"], "b")
    assert role["image"].startswith(f"{submit.repository}:")
    assert "@sha256:" in role["image"]
    assert submit.topcoat("cancel", handle).code == 0
    assert submit.topcoat("log", "-f", handle).code == 0
    assert submit.topcoat("status", "--json", handle).json["state"] == "CANCELLED"
    assert submit.topcoat("delete", handle).code == 0


def test_the_nodes_of_a_job_find_each_other(submit: Submit, tmp_path: Path) -> None:
    # moto sets the address of the main node, and no node number: every node is the first of its role.
    component = tmp_path / "pair.py"
    component.write_text(
        f"""
from topcoat.specs import AppDef, Resource, Role

def pair() -> AppDef:
    def role(name: str, script: str) -> Role:
        return Role(name, {submit.base!r}, entrypoint="sh", args=["-c", script], resource=Resource(1, 0, 64))

    tell = "echo $TOPCOAT_ROLE/$TOPCOAT_REPLICA_ID ${{TORCHX_RANK0_HOST%%.*}} ${{replica_id}}; cat train.py"
    greet = "until echo hello | nc $TORCHX_RANK0_HOST 9000; do sleep 0.1; done"
    return AppDef("pair", [role("main", f"{{tell}}; nc -l -p 9000"), role("worker", f"{{tell}}; {{greet}}")])
"""
    )
    (Path.cwd() / "train.py").write_text("edited\n")
    cfg = f"queue={submit.queue},image_repo={submit.repository}"
    done = submit.topcoat("run", "-s", "aws_batch", "-cfg", cfg, "--wait", f"{component}:pair")
    assert done.code == 0, done.err
    handle = done.out.strip()
    # One log of moto has the lines of all nodes, and only the first role had a workspace.
    lines = submit.topcoat("log", f"{handle}/main/0").out.splitlines()
    assert "main/0 localhost 0" in lines
    assert "edited" in lines
    assert "hello" in lines
