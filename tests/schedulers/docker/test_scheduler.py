"""Containers on real engines."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.notices import recorded_notices
from topcoat.errors import (
    DaemonError,
    DaemonUnavailable,
    ImageNotFound,
    InvalidRunConfigException,
    MissingDependency,
    UsageError,
)
from topcoat.runner import Runner
from topcoat.schedulers.api import DescribeAppResponse, Stream
from topcoat.schedulers.docker import containers as docker_containers
from topcoat.schedulers.docker import request as docker_request
from topcoat.schedulers.docker.containers import seconds
from topcoat.schedulers.docker.scheduler import DockerScheduler, create_scheduler
from topcoat.specs import (
    NONE,
    AppDef,
    AppState,
    BindMount,
    CfgVal,
    DeviceMount,
    Resource,
    Role,
    VolumeMount,
    is_terminal,
)

IMAGE = "topcoat-test/python:1"


def connect(engine: Any, image: Any) -> Iterator[DockerScheduler]:
    from docker import DockerClient

    image.load(engine, IMAGE)
    client = DockerClient(base_url=engine.host, version="auto", timeout=60)
    scheduler = create_scheduler("s", docker_client=client, unknown=1)
    try:
        yield scheduler
        for app in scheduler.list():
            scheduler.delete(app.app_id)
    finally:
        client.close()


@pytest.fixture
def docker(any_docker: Any, python_image: Any) -> Iterator[DockerScheduler]:
    """A scheduler on each engine, one after the other."""
    yield from connect(any_docker, python_image)


@pytest.fixture
def today(docker_today: Any, python_image: Any) -> Iterator[DockerScheduler]:
    """A scheduler on the engine of today, for what does not depend on the engine."""
    yield from connect(docker_today, python_image)


def shell(script: str, name: str = "w", **role: Any) -> Role:
    return Role(name, IMAGE, entrypoint="sh", args=["-c", script], **role)


def describe(docker: DockerScheduler, app_id: str) -> DescribeAppResponse:
    response = docker.describe(app_id)
    assert response is not None
    return response


def wait(docker: DockerScheduler, app_id: str) -> DescribeAppResponse:
    deadline = time.monotonic() + 60
    while not is_terminal((found := describe(docker, app_id)).state):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def wait_for(docker: DockerScheduler, app_id: str, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in "".join(docker.log_iter(app_id, "w")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def touch(docker: DockerScheduler, app_id: str, path: str) -> None:
    assert docker._docker_client.containers.get(f"{app_id}-w-0").exec_run(["touch", path]).exit_code == 0


def test_replicas_run_reach_each_other_and_are_found_again(docker: DockerScheduler) -> None:
    ping = (
        "import os, socket; me = os.environ['TOPCOAT_REPLICA_ID']; rank0 = os.environ['TOPCOAT_RANK0_HOST']\n"
        "if me == '0':\n"
        "    server = socket.create_server(('', 29500)); print('from', server.accept()[0].recv(9).decode())\n"
        "else:\n"
        "    import time\n"
        "    while True:\n"
        "        try: socket.create_connection((rank0, 29500)).send(me.encode()); break\n"
        "        except OSError: time.sleep(0.1)\n"
    )
    role = Role("w", IMAGE, entrypoint="python3", args=["-c", ping], num_replicas=2, port_map={"c10d": 29500})
    app_id = docker.submit(AppDef("ring", [role]), {})
    response = wait(docker, app_id)
    assert response.state is AppState.SUCCEEDED, list(docker.log_iter(app_id, "w", 1))
    assert list(docker.log_iter(app_id, "w", 0)) == ["from 1\n"]
    assert [(replica.id, replica.state, replica.hostname) for replica in response.roles_statuses[0].replicas] == [
        (0, AppState.SUCCEEDED, f"{app_id}-w-0"),
        (1, AppState.SUCCEEDED, f"{app_id}-w-1"),
    ]
    assert [(role.name, role.image, role.entrypoint, role.num_replicas) for role in response.roles] == [
        ("w", IMAGE, "python3", 2)
    ]
    assert [(app.app_id, app.state, app.name) for app in docker.list()] == [(app_id, AppState.SUCCEEDED, "ring")]
    ports = docker._docker_client.containers.get(f"{app_id}-w-0").attrs
    assert ports["Config"]["ExposedPorts"] == {"29500/tcp": {}}
    assert not ports["NetworkSettings"]["Ports"].get("29500/tcp")
    docker.delete(app_id)
    assert docker.describe(app_id) is None
    assert docker.list() == []


def test_each_stream_can_be_read(docker: DockerScheduler) -> None:
    # An engine reads both streams at once, so the next line comes when the last one is in the log.
    script = "echo out; until [ -e /1 ]; do sleep 0.05; done; echo err >&2; until [ -e /2 ]; do sleep 0.05; done"
    app_id = docker.submit(AppDef("x", [shell(f"{script}; printf 'no end'")]), {})
    for number, line in enumerate(("out", "err"), 1):
        wait_for(docker, app_id, line)
        touch(docker, app_id, f"/{number}")
    assert list(docker.log_iter(app_id, "w", should_tail=True)) == ["out\n", "err\n", "no end"]
    assert list(docker.log_iter(app_id, "w", streams=Stream.STDOUT)) == ["out\n", "no end"]
    assert list(docker.log_iter(app_id, "w", streams=Stream.STDERR)) == ["err\n"]
    assert list(docker.log_iter(app_id, "w", regex="^e")) == ["err\n"]
    with pytest.raises(UsageError, match="no replica w/1") as caught:
        docker.log_iter(app_id, "w", 1)
    assert caught.value.hint == "it has w/0"


def test_a_failure_is_explained(docker: DockerScheduler) -> None:
    script = 'echo "{\\"message\\": \\"lost\\"}" > $$TORCHELASTIC_ERROR_FILE; exit 3'
    app_id = docker.submit(AppDef("x", [shell(script), shell("true", "v")]), {})
    response = wait(docker, app_id)
    assert response.state is AppState.FAILED
    assert response.msg == "w/0 ended with exit code 3"
    assert response.structured_error_msg == '{"message": "lost"}'
    statuses = {status.role: status.replicas[0] for status in response.roles_statuses}
    assert (statuses["w"].state, statuses["v"].state) == (AppState.FAILED, AppState.SUCCEEDED)
    assert statuses["v"].structured_error_msg == NONE


def test_a_cancelled_job_is_not_reported_as_failed(docker: DockerScheduler) -> None:
    script = "trap 'echo saved; exit 1' TERM; echo ready; while :; do sleep 0.1; done"
    app_id = docker.submit(AppDef("x", [shell(script, num_replicas=2, max_retries=3), shell("true", "v")]), {})
    wait_for(docker, app_id, "ready")
    docker.cancel(app_id)
    response = describe(docker, app_id)
    assert response.state is AppState.CANCELLED
    assert list(docker.log_iter(app_id, "w")) == ["ready\n", "saved\n"]
    docker.cancel(app_id)


def test_a_log_is_followed_through_restarts(docker: DockerScheduler) -> None:
    script = "echo run >> /m; echo run $$(wc -l < /m); [ $$(wc -l < /m) -ge 3 ]"
    app_id = docker.submit(AppDef("x", [shell(script, max_retries=4)]), {})
    assert list(docker.log_iter(app_id, "w", should_tail=True)) == ["run 1\n", "run 2\n", "run 3\n"]
    response = wait(docker, app_id)
    assert (response.state, response.num_restarts) == (AppState.SUCCEEDED, 2)


def test_a_log_need_not_be_read_to_its_end(docker: DockerScheduler) -> None:
    app_id = docker.submit(AppDef("x", [shell("while :; do echo line; sleep 0.05; done")]), {})
    lines = iter(docker.log_iter(app_id, "w", should_tail=True))
    assert next(lines) == "line\n"
    lines.close()  # type: ignore[attr-defined]
    assert describe(docker, app_id).state is AppState.RUNNING


def test_a_long_log_is_complete(docker: DockerScheduler) -> None:
    count = "for i in range(20_000): print(i)\nprint('x' * 50_000)"
    app_id = docker.submit(AppDef("x", [Role("w", IMAGE, entrypoint="python3", args=["-c", count])]), {})
    expected = "".join(f"{number}\n" for number in range(20_000)) + "x" * 50_000 + "\n"
    assert "".join(docker.log_iter(app_id, "w", should_tail=True)) == expected
    assert "".join(docker.log_iter(app_id, "w")) == expected


def test_a_log_can_be_cut_by_time(docker: DockerScheduler) -> None:
    app_id = docker.submit(AppDef("x", [shell("echo early; until [ -e /go ]; do sleep 0.05; done; echo late")]), {})
    wait_for(docker, app_id, "early")
    time.sleep(0.1)
    between = datetime.now(timezone.utc)
    time.sleep(0.1)
    touch(docker, app_id, "/go")
    wait(docker, app_id)
    assert list(docker.log_iter(app_id, "w", since=between)) == ["late\n"]
    assert list(docker.log_iter(app_id, "w", until=between.astimezone())) == ["early\n"]
    assert list(docker.log_iter(app_id, "w", since=between.astimezone().replace(tzinfo=None))) == ["late\n"]


def test_mounts_limits_and_variables_arrive(docker: DockerScheduler, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "given").write_text("from the host")
    monkeypatch.setenv("COPIED_ONE", "copied")
    mounts = [
        BindMount(str(tmp_path), "/data", read_only=True),
        VolumeMount("topcoat-test-volume", "/volume"),
        DeviceMount("/dev/null", "/dev/nothing"),
    ]
    script = (
        "cat /data/given; touch /data/x 2>&1 || echo refused; "
        "touch /volume/y && test -c /dev/nothing && echo $$COPIED_ONE $$GIVEN"
    )
    role = shell(script, mounts=mounts, resource=Resource(cpu=1, gpu=0, memMB=64))
    app_id = docker.submit(AppDef("x", [role]), {"copy_env": ["COPIED_*"], "env": {"GIVEN": "given"}})
    assert wait(docker, app_id).state is AppState.SUCCEEDED
    log = "".join(docker.log_iter(app_id, "w"))
    assert log.startswith("from the host")
    assert "refused" in log
    assert log.endswith("copied given\n")
    limits = docker._docker_client.containers.get(f"{app_id}-w-0").attrs["HostConfig"]
    assert (limits["Memory"], limits["ShmSize"], limits["NanoCpus"]) == (64 << 20, 64 << 20, 10**9)
    (shown,) = describe(docker, app_id).roles
    assert (shown.resource, shown.env["GIVEN"]) == (role.resource, "given")
    assert sorted(map(str, shown.mounts)) == sorted(map(str, mounts))
    docker.delete(app_id)
    docker._docker_client.volumes.get("topcoat-test-volume").remove()


def test_a_published_port_is_shown(docker: DockerScheduler) -> None:
    app_id = docker.submit(AppDef("x", [shell("sleep 60", port_map={"http": 8080})]), {})
    shown = describe(docker, app_id)
    assert shown.roles[0].port_map == {"http": 8080}
    attrs = docker._docker_client.containers.get(f"{app_id}-w-0").attrs
    bindings = attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert shown.metadata["port 8080/tcp of w/0"].rpartition(":")[2] in {each["HostPort"] for each in bindings}
    docker.delete(app_id)


def test_a_role_is_limited_to_the_cpus_available(today: DockerScheduler, caplog: pytest.LogCaptureFixture) -> None:
    app_id = today.submit(AppDef("x", [shell("true", resource=Resource(cpu=4000, gpu=0, memMB=64))]), {})
    assert wait(today, app_id).state is AppState.SUCCEEDED
    assert "CPUs available" in caplog.text


def test_a_missing_program_is_an_error_and_leaves_no_container(docker: DockerScheduler) -> None:
    app = AppDef("x", [shell("sleep 60", "first"), Role("w", IMAGE, entrypoint="no-such-program")])
    with pytest.raises(DaemonError, match=r"starting the container x-.*no-such-program") as caught:
        docker.submit(app, {})
    assert "the image has no such program" in str(caught.value.hint)
    assert docker.list() == []


@pytest.mark.parametrize("image", ["sha256:" + "0" * 64, "127.0.0.1:1/none:latest"])
def test_an_unknown_image_is_an_error(today: DockerScheduler, image: str) -> None:
    with pytest.raises(DaemonError if image.startswith("127") else ImageNotFound, match=image):
        today.submit(AppDef("x", [Role("w", image, entrypoint="true")]), {})
    assert today.list() == []


def test_an_image_is_pulled_when_the_engine_does_not_have_it(
    docker: DockerScheduler, registry: Any, python_image: Any
) -> None:
    base = python_image.push(registry, registry.unique("base"), "1")
    role = Role("w", base.reference, entrypoint="echo", args=["pulled"])
    app_id = docker.submit(AppDef("x", [role]), {})
    assert list(docker.log_iter(app_id, "w", should_tail=True)) == ["pulled\n"]
    docker.delete(app_id)
    with registry.recording() as log:
        docker.delete(docker.submit(AppDef("x", [role]), {}))
    assert list(log) == []
    with pytest.raises(ImageNotFound, match="neither the container engine nor the registry"):
        docker.submit(AppDef("x", [Role("w", f"{base.reference}-none", entrypoint="true")]), {})


@pytest.mark.parametrize(
    ("cfg", "output", "notices"),
    [
        ({}, "set up, then: right here\n", 0),
        ({"image_entrypoint": "keep"}, "set up, then: right here\n", 0),
        ({"image_entrypoint": "replace"}, "right here\n", 1),
    ],
)
def test_the_images_entrypoint_is_kept_or_replaced(
    docker: DockerScheduler, any_docker: Any, python_image: Any, cfg: dict[str, CfgVal], output: str, notices: int
) -> None:
    entrypoint = ["sh", "-c", 'printf "set up, then: "; exec "$@"', "entry"]
    python_image.load(any_docker, "topcoat-test/entry:1", config={"Entrypoint": entrypoint})
    role = Role("w", "topcoat-test/entry:1", entrypoint="echo", args=["right", "here"])
    with recorded_notices() as texts:
        app_id = docker.submit(AppDef("x", [role]), cfg)
    assert list(docker.log_iter(app_id, "w", should_tail=True)) == [output]
    (described,) = describe(docker, app_id).roles
    assert (described.entrypoint, described.args) == ("echo", ["right", "here"])
    assert sum("ENTRYPOINT (sh -c" in text and "is replaced" in text for text in texts) == notices


def test_an_invalid_image_entrypoint_is_told_before_the_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    runner = Runner("s", {"local_docker": create_scheduler})
    with pytest.raises(InvalidRunConfigException, match="invalid image_entrypoint 'drop'") as caught:
        runner.run(AppDef("x", [shell("true")]), "local_docker", {"image_entrypoint": "drop"}, workspace="/nowhere")
    assert caught.value.hint == "choose keep or replace"


@pytest.mark.parametrize("how", ["role", "option", "copied", "none"])
def test_the_order_of_pythonpath_is_code_then_env_then_image(
    today: DockerScheduler,
    docker_today: Any,
    python_image: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    image = "topcoat-test/pythonpath:1"
    variables = ["PATH=/bin:/usr/bin", "PYTHONPATH=/opt/lib"]
    python_image.load(docker_today, image, config={"WorkingDir": "/app", "Env": variables})
    workspaces.write(tmp_path / "w", {"src/pkg/a.py": "", ".torchxignore": ""})
    monkeypatch.setenv("PYTHONPATH", "/mine")
    options: dict[str, dict[str, CfgVal]] = {
        "option": {"env": {"PYTHONPATH": "/mine"}},
        "copied": {"copy_env": ["PYTHON*"]},
    }
    role = Role("w", image, entrypoint="sh", args=["-c", "echo $$PYTHONPATH"])
    if how == "role":
        role.env["PYTHONPATH"] = "/mine"
    app_id = today.submit(AppDef("x", [role]), options.get(how, {}), workspace=str(tmp_path / "w"))
    own = "" if how == "none" else "/mine:"
    assert list(today.log_iter(app_id, "w", should_tail=True)) == [f"/app:/app/src:{own}/opt/lib\n"]


def test_the_network_is_created_once_by_many(today: DockerScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    client = today._docker_client
    for module in (docker_request, docker_containers):
        monkeypatch.setattr(module, "NETWORK", "topcoat-race")
    threads = [threading.Thread(target=docker_containers.ensure_network, args=(client,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (network,) = client.networks.list(names=["topcoat-race"])
    network.remove()


def test_an_edit_is_in_the_next_run(any_docker: Any, docker: DockerScheduler, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".torchxignore").touch()
    runner = Runner("s", {"local_docker": lambda session_name, **kwargs: docker})
    app = AppDef("edit", [Role("w", IMAGE, entrypoint="python3", args=["train.py"])])
    for line in ("first", "second"):
        (project / "train.py").write_text(f"print('{line}')\n")
        handle = runner.run(app, "local_docker", workspace=str(project))
        status = runner.wait(handle)
        assert status is not None
        assert status.state is AppState.SUCCEEDED, list(runner.log_lines(handle, "w"))
        assert list(runner.log_lines(handle, "w")) == [f"{line}\n"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_dry_run_asks_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    info = Runner("s").dryrun(AppDef("x", [shell("true")]), "local_docker")
    assert "topcoat-test/python" in repr(info)
    with pytest.raises(DaemonUnavailable):
        Runner("s").schedule(info)
    # docker-py does not close the socket with which it did not get through.
    gc.collect()


def test_the_engine_is_the_one_that_docker_would_use(
    docker_today: Any, monkeypatch: pytest.MonkeyPatch, today: DockerScheduler
) -> None:
    docker_today.use(monkeypatch)
    app_id = today.submit(AppDef("x", [shell("true")]), {})
    scheduler = create_scheduler("s")
    assert [app.app_id for app in scheduler.list()] == [app_id]
    scheduler.close()
    scheduler.close()


def test_without_the_docker_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    scheduler = create_scheduler("s")
    info = scheduler.submit_dryrun(AppDef("x", [shell("true")]), {})
    for ask in (scheduler.list, lambda: scheduler.describe("x"), lambda: scheduler.schedule(info)):
        with pytest.raises(MissingDependency) as caught:
            ask()
        assert caught.value.hint == "pip install 'topcoat[docker]'"


def test_times_of_engines_are_understood() -> None:
    assert seconds("1970-01-01T00:01:00.5Z") == 60.5
    assert seconds("1970-01-01T00:01:00Z") == 60
    assert seconds("1970-01-01T00:00:01.123456789Z") == pytest.approx(1.123456)
