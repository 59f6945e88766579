"""Dockerfiles built by container engines: which of their builders is used, and what it says."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.podman import Podman
from tests.components.registries import Registry
from topcoat.builders.builder import Recipe, build
from topcoat.builders.engine_builder import BuildKit, ClassicBuilder, engine_builder
from topcoat.engines.engine import connect
from topcoat.errors import DaemonError
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    (directory / ".torchxignore").write_text("left-out\n")
    return directory


def role(workspace: Path, image: str) -> Role:
    return Role("trainer", image, workspace=Workspace({str(workspace): ""}))


def test_each_engine_is_given_the_best_builder_that_it_has(
    docker20: Docker, docker_today: Docker, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {}
    for engine in (docker20, docker_today, podman):
        with monkeypatch.context() as patch:
            engine.use(patch)
            client = connect()
            builder = engine_builder(client, Clients())
            labels[engine.name] = builder.label
            assert isinstance(builder, BuildKit) == (engine is not podman)
            blind = engine_builder(client, Clients(), command_line=False)
            assert type(blind) is ClassicBuilder
            client.close()
    assert labels == {
        "docker20": "BuildKit (docker build)",
        "docker_today": "BuildKit (docker buildx)",
        "podman": "Podman's service",
    }


def test_podmans_service_builds_although_it_has_no_buildkit(
    podman: Podman,
    busybox_image: Image,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    podman.use(monkeypatch)
    busybox_image.load(podman, "localhost/service:base")
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN echo hel''lo > /made\n")
    built = role(workspace, "localhost/service:base")
    mixin = DockerWorkspaceMixin()
    mixin.build_workspaces([built], {})
    message = capfd.readouterr().err.splitlines()
    why = "Dockerfile.torchx:3: RUN runs a command in the image (RUN echo hel''lo > /made)"
    assert message[0] == f"building Dockerfile.torchx with Podman's service; {why}"
    assert len(message) > 1
    assert podman.run("run", "--rm", "--network", "none", built.image, "cat", "/made") == "hello"
    mixin._connections.close()


@pytest.mark.parametrize("builder", ["best", "classic"])
def test_the_output_of_a_build_that_fails_is_shown_whole(
    any_docker: Docker, builder: str, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    base = busybox_image.load(any_docker, "local/fails:base")
    text = b"ARG IMAGE\nFROM $IMAGE\nRUN echo fir''st\nRUN echo what went wr''ong && exit 7\n"
    scanned = scan(Workspace({str(workspace): ""}), ScanOptions(IMAGE_IGNORE_FILES))
    recipe = Recipe(scanned, "Dockerfile.torchx", text, {"IMAGE": base})
    client = connect()
    chosen = engine_builder(client, Clients(), command_line=builder == "best")
    with pytest.raises(DaemonError, match="what went wrong") as caught:
        build(chosen, recipe, "topcoat:fails", None)
    first, message = caught.value.message.splitlines()[:2]
    assert first == "building Dockerfile.torchx failed:"
    assert message == f"building Dockerfile.torchx with {chosen.label}"
    assert "first\n" in caught.value.message.replace("\r", "")
    heard: list[str] = []
    with pytest.raises(DaemonError) as caught:
        build(chosen, recipe, "topcoat:fails", heard.append)
    assert any("what went wrong" in line for line in heard)
    client.close()


def test_what_the_classic_builder_cannot_do_is_reported_in_its_own_words(
    docker20: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker20.use(monkeypatch)
    monkeypatch.setenv("PATH", "/nonexistent")
    base = busybox_image.load(docker20, "local/mount:base")
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN --mount=type=cache,target=/c true\n")
    mixin = DockerWorkspaceMixin()
    with pytest.raises(DaemonError, match="--mount option requires BuildKit"):
        mixin.build_workspaces([role(workspace, base)], {"quiet": True})
    mixin._connections.close()


def test_an_image_that_the_dockerfile_does_not_use_is_neither_looked_up_nor_pulled(
    any_docker: Docker, busybox_image: Image, workspace: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    used = busybox_image.push(registry, registry.unique("used"), "1")
    unused = busybox_image.push(registry, registry.unique("unused"), "1")
    (workspace / "Dockerfile.torchx").write_text(f"FROM {used.reference}\nRUN echo built > /made\n")
    built = role(workspace, unused.reference)
    mixin = DockerWorkspaceMixin()
    with registry.recording() as log:
        mixin.build_workspaces([built], {"quiet": True})
    assert not [exchange for exchange in log if unused.repository in exchange.path]
    assert not any_docker.has(unused.reference)
    assert any_docker.run("run", "--rm", "--network", "none", built.image, "cat", "/made") == "built"
    mixin._connections.close()


def test_a_new_image_under_the_name_of_the_base_gives_another_tag(
    docker_today: Docker, busybox_image: Image, workspace: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    name = registry.unique("moving")
    base = busybox_image.push(registry, name, "1").reference
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN true\n")
    tags = []
    for labels in ({}, {}, {"version": "2"}):
        busybox_image.push(registry, name, "1", config={"Labels": labels})
        planned = role(workspace, base)
        mixin = DockerWorkspaceMixin()
        mixin.plan_workspaces([planned], {})
        mixin._connections.close()
        tags.append(planned.image)
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize("builder", ["best", "classic"])
@pytest.mark.parametrize("engine", ["docker20", "docker_today"])
def test_a_private_registry_is_pulled_from_and_pushed_to_with_dockers_login(
    request: pytest.FixtureRequest,
    engine: str,
    builder: str,
    tls_registry: Registry,
    busybox_image: Image,
    workspace: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker: Docker = request.getfixturevalue(engine)
    docker.use(monkeypatch)
    login = base64.b64encode(f"{tls_registry.username}:{tls_registry.password}".encode()).decode()
    config = home / ".docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {tls_registry.host: {"auth": login}}}))
    (config / "cli-plugins").symlink_to(Path(docker.env["DOCKER_CONFIG"]) / "cli-plugins")
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    if (engine, builder) == ("docker20", "best"):
        # Its BuildKit speaks plain HTTP to every registry on loopback, and this one has TLS.
        base = busybox_image.load(docker, "local/private:base")
    else:
        base = busybox_image.push(tls_registry, tls_registry.unique("base"), "1").reference
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN echo built > /made\n")
    client = connect() if builder == "classic" else None
    mixin, planned = DockerWorkspaceMixin(docker_client=client), role(workspace, base)
    repository = tls_registry.unique("app")
    plan = mixin.plan_workspaces([planned], {"image_repo": f"{tls_registry.host}/{repository}", "quiet": True})
    assert plan is not None
    plan.carry_out()
    tag = planned.image.rpartition(":")[2]
    assert tag in tls_registry.request("GET", f"/v2/{repository}/tags/list").json()["tags"]
    mixin._connections.close()
    if client is not None:
        client.close()


def test_preserved_times_and_exact_modes_reach_the_builder(
    docker_today: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    base = busybox_image.load(docker_today, "local/times:base")
    (workspace / "train.py").write_text("print('trained')\n")
    os.chmod(workspace / "train.py", 0o751)
    os.utime(workspace / "train.py", (1_600_000_000, 1_600_000_000))
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nCOPY . /code/\nRUN true\n")
    built = role(workspace, base)
    mixin = DockerWorkspaceMixin()
    mixin.build_workspaces([built], {"quiet": True, "modes": "exact", "mtime": "preserve"})
    shown = docker_today.run("run", "--rm", "--network", "none", built.image, "stat", "-c", "%a %Y", "/code/train.py")
    assert shown == "751 1600000000"
    mixin._connections.close()
