"""Engines that do not load archives get the code through a container, and the image is the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.support import workspaces
from tests.support.inside import look
from tests.support.pushing import load, plan
from tests.support.refusing import Answer, refusing
from topcoat.destinations.base import DeliveryResult
from topcoat.errors import DaemonError, WorkspaceChanged
from topcoat.specs import Workspace

_REFUSED = Answer(403, b'{"message": "loading is not allowed here"}')
_NO_LOAD = {"/images/load": _REFUSED}


@pytest.fixture(params=["docker20", "docker_today", "docker_today_classic", "podman"])
def engine(request: pytest.FixtureRequest) -> Docker:
    """Each engine in turn."""
    running: Docker = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = workspaces.odd(tmp_path / "odd")
    # An engine remembers the images of earlier tests.
    return workspaces.write(tmp_path / "odd", {"own": str(tmp_path)}) and made


@contextlib.contextmanager
def _client(engine: Docker, answers: Mapping[str, Answer]) -> Iterator[docker.DockerClient]:
    with refusing(engine, answers) as address:
        client = docker.DockerClient(base_url=address, version="auto", timeout=100)
        try:
            yield client
        finally:
            client.close()


def _deliver(
    engine: Docker, workspace: Workspace, base: str, answers: Mapping[str, Answer] = _NO_LOAD, **options: Any
) -> DeliveryResult:
    with _client(engine, answers) as client:
        return load(client, workspace, base, **options)


def _settings(engine: Docker, image: str) -> dict[str, Any]:
    """Return what the image runs as, without what engines keep of the container that they committed."""
    config = json.loads(engine.run("image", "inspect", image))[0]["Config"]
    labels = {name: value for name, value in (config.get("Labels") or {}).items() if name != "dev.topcoat.layers"}
    kept = ("Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal")
    return {"Labels": labels, **{key: config.get(key) for key in kept if config.get(key)}}


def _containers(engine: Docker) -> set[str]:
    return set(engine.run("ps", "-aq").split())


@pytest.mark.parametrize("answer", [_REFUSED, Answer(200)], ids=["refuses", "takes it and has it not"])
def test_the_image_is_the_one_that_would_have_been_loaded(
    engine: Docker, python_image: Image, workspace: Workspace, notices: list[str], answer: Answer
) -> None:
    base = python_image.load(
        engine,
        "localhost/python-of-a-user:1",
        config={
            "User": "1000:1000",
            "Env": ["PATH=/usr/bin:/bin", 'ODD=a "b" $c \\d', "PYTHONPATH=/x"],
            "Labels": {"team": "vision", "quoted": 'a "b" $c'},
            "Entrypoint": ["/usr/bin/env"],
            "Cmd": ["python3", "-c", "print('the default')"],
            "StopSignal": "SIGINT",
        },
    )
    before = _containers(engine)
    with _client(engine, {}) as client:
        loaded = load(client, workspace, base).image
    wanted = look(engine, loaded, "/app"), _settings(engine, loaded)
    engine.run("rmi", "--force", loaded)
    notices.clear()

    delivered = _deliver(engine, workspace, base, {"/images/load": answer})

    files = look(engine, delivered.image, "/app")
    assert files.files == wanted[0].files
    assert files.cwd == wanted[0].cwd
    assert {**files.env, **wanted[0].env, "HOSTNAME": ""} == {**files.env, "HOSTNAME": ""}
    assert _settings(engine, delivered.image) == wanted[1]
    assert engine.run("run", "--rm", "--network", "none", delivered.image) == "the default"
    assert _containers(engine) == before, "the container is gone"
    assert delivered.image.startswith("sha256:")
    (committed,) = [notice for notice in notices if "was committed from a container" in notice]
    assert ("not allowed here" in committed) == (answer is _REFUSED)


def test_the_name_is_the_one_it_would_have_had_and_is_found_again(
    engine: Docker, python_image: Image, workspace: Workspace
) -> None:
    base = python_image.load(engine, "localhost/python:1")
    first = _deliver(engine, workspace, base)
    assert first.sent > 0
    assert _deliver(engine, workspace, base) == DeliveryResult(first.image)
    workspaces.edit(workspace, "main.py", b"main", b"edit")
    second = _deliver(engine, workspace, base)
    assert second.image != first.image
    path = b"/app/main.py"
    assert look(engine, second.image, "/app").files[path] != look(engine, first.image, "/app").files[path]
    workspaces.edit(workspace, "main.py", b"edit", b"more")
    with _client(engine, {}) as client:
        third = load(client, workspace, base)
    assert look(engine, third.image, "/app").files.keys() == look(engine, second.image, "/app").files.keys()


def test_a_base_without_a_command_is_committed(engine: Docker, busybox_image: Image, workspace: Workspace) -> None:
    base = busybox_image.load(engine, "localhost/silent:1", config={"Cmd": None, "WorkingDir": "/w"})
    image = _deliver(engine, workspace, base).image
    assert engine.run("run", "--rm", "--network", "none", image, "cat", "/w/main.py") == "print('main')"


def test_a_patched_base_does_not_hand_its_list_of_layers_down(
    engine: Docker, busybox_image: Image, workspace: Workspace, tmp_path: Path
) -> None:
    base = busybox_image.load(engine, "localhost/patched-base:1", config={"WorkingDir": "/w"})
    with _client(engine, {}) as client:
        patched = load(client, workspace, base).image
    other = workspaces.write(tmp_path / "other", {"b": f"b of {tmp_path}"})
    image = _deliver(engine, other, patched).image
    labels = json.loads(engine.run("image", "inspect", image))[0]["Config"]["Labels"]
    assert labels["dev.topcoat.layers"] == ""
    listing = engine.run("run", "--rm", "--network", "none", image, "ls", "/w").split("\n")
    assert {"b", "main.py"} < set(listing)


@pytest.mark.parametrize(
    "also", ["/archive", "/commit", "/containers/create"], ids=["no archive", "no commit", "no container"]
)
def test_an_engine_that_refuses_both_gives_both_reasons(
    engine: Docker, python_image: Image, workspace: Workspace, notices: list[str], also: str
) -> None:
    base = python_image.load(engine, "localhost/python:1")
    before = _containers(engine)
    answers = {**_NO_LOAD, also: Answer(500, b'{"message": "nor is this"}')}
    with pytest.raises(DaemonError, match=r"loading is not allowed here; .* fails too: .*nor is this") as raised:
        _deliver(engine, workspace, base, answers, base_scan_limit=0)
    assert "image_repo" in (raised.value.hint or "")
    assert _containers(engine) == before
    assert [notice for notice in notices if "committed" in notice] == []


@pytest.mark.parametrize("engine", ["docker20", "docker_today"], indirect=True)
@pytest.mark.parametrize("volume", ["/w", "/w/", "/", "/w/code/data"])
def test_code_does_not_vanish_in_a_volume_of_the_base(
    engine: Docker, busybox_image: Image, workspace: Workspace, tmp_path: Path, volume: str
) -> None:
    workspaces.write(tmp_path / "odd", {"data/x": "x"})
    settings = {"WorkingDir": "/w/code", "Volumes": {volume: {}}}
    base = busybox_image.load(engine, f"localhost/volume-{len(volume)}:1", config=settings)
    with pytest.raises(DaemonError, match="is a volume of the image"):
        _deliver(engine, workspace, base)


@pytest.mark.parametrize("engine", ["docker_today", "podman"], indirect=True)
def test_a_file_that_changes_meanwhile_is_no_trouble_of_the_engine(
    engine: Docker, python_image: Image, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = python_image.load(engine, "localhost/python:1")
    before = _containers(engine)
    with _client(engine, _NO_LOAD) as client:
        put = client.api.put_archive

        def spoiled(container: str, path: str, data: Any) -> bool:
            (tmp_path / "odd/large.bin").write_bytes(b"changed")
            return put(container, path, data)

        monkeypatch.setattr(client.api, "put_archive", spoiled)
        with pytest.raises(WorkspaceChanged, match=r"large\.bin"):
            plan(workspace, base, client=client).carry_out()
    assert _containers(engine) == before
