"""Images loaded into real engines: Docker's classic and containerd stores, and Podman."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.inside import expected, look
from tests.support.pushing import load, plan
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.engine import EngineDestination, push_image
from topcoat.errors import DaemonError, DaemonUnavailable, TagMoved, WorkspaceChanged
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace


@contextlib.contextmanager
def _client(engine: Docker) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine.host, version="auto", timeout=100)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(params=["docker20", "docker_today", "docker_today_classic", "podman"])
def engine(request: pytest.FixtureRequest) -> Docker:
    """Each engine in turn."""
    running: Docker = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(engine: Docker) -> Iterator[docker.DockerClient]:
    with _client(engine) as one:
        yield one


@pytest.fixture
def base(engine: Docker, python_image: Image) -> str:
    return python_image.load(engine, "localhost/python:1")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    # An engine remembers the images of earlier tests, so each test has content of its own.
    content = {f"d{number % 5}/f{number}.txt": f"{number} of {tmp_path}\n" * 2000 for number in range(60)}
    return workspaces.write(tmp_path / "w", content)


def _inside(engine: Docker, image: str) -> dict[bytes, Any]:
    return dict(look(engine, image, "/app").below("/app"))


def _wanted(workspace: Workspace) -> dict[bytes, Any]:
    return dict(expected(scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot))


def test_a_container_sees_the_workspace(engine: Docker, client: docker.DockerClient, base: str, tmp_path: Path) -> None:
    workspace = workspaces.odd(tmp_path / "odd")
    image = load(client, workspace, base).image
    seen = look(engine, image, "/app")
    assert seen.below("/app") == _wanted(workspace)
    assert seen.cwd == seen.env["WORKSPACE_DIR"] == seen.env["PYTHONPATH"] == "/app"


def test_the_image_is_known_by_the_engines_id_and_our_name(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    delivered = load(client, workspace, base)
    name = plan(workspace, base, client=client).image
    assert delivered.image == str(client.images.get(name).id)
    assert delivered.image.startswith("sha256:")
    assert engine.has(delivered.image)
    assert EngineDestination(client).image_id(name) == delivered.image


def test_an_unchanged_workspace_loads_nothing(
    client: docker.DockerClient, base: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(client, workspace, base)
    monkeypatch.setattr(client.api, "load_image", lambda *args: pytest.fail("loaded"))
    assert load(client, workspace, base) == DeliveryResult(first.image)


def test_a_name_that_was_moved_to_another_image_is_an_error_with_its_id_and_rebuild_overwrites_it(
    client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    first = load(client, workspace, base)
    name = plan(workspace, base, client=client).image
    other = client.images.get(base).id
    client.api.tag(base, *name.rsplit(":", 1), force=True)
    with pytest.raises(TagMoved, match=f"{name} refers to another image, {other}") as raised:
        load(client, workspace, base)
    assert "rebuild=true" in (raised.value.hint or "")
    assert load(client, workspace, base, rebuild=True).image == first.image
    assert load(client, workspace, base) == DeliveryResult(first.image)


def test_an_edit_loads_one_small_layer(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, loaded = load(client, workspace, base), _count_bytes(client, monkeypatch)
    for number in (7, 33):
        workspaces.edit(workspace, f"d{number % 5}/f{number}.txt", b"\n", b"!")
        delivered = load(client, workspace, base)
        assert delivered.layers == 1
        assert delivered.sent < loaded.pop() < first.sent / 10
        assert _inside(engine, delivered.image) == _wanted(workspace)


def _count_bytes(client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each archive that is loaded from now on."""
    sizes: list[int] = []
    load = client.api.load_image

    def counted(blocks: Iterator[bytes]) -> Any:
        sizes.append(0)

        def passed_on() -> Iterator[bytes]:
            for block in blocks:
                sizes[-1] += len(block)
                yield block

        return load(passed_on())  # type: ignore[no-untyped-call]

    monkeypatch.setattr(client.api, "load_image", counted)
    return sizes


@pytest.mark.parametrize("engine", ["docker20", "docker_today"], indirect=True)
def test_without_a_hot_layer_an_edit_loads_its_code_layer(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    load(client, workspace, base, hot=False)
    workspaces.edit(workspace, "d2/f7.txt")
    delivered = load(client, workspace, base, hot=False)
    assert delivered.sent > 1 << 20
    assert _inside(engine, delivered.image) == _wanted(workspace)


def test_a_deleted_file_is_gone(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace, tmp_path: Path
) -> None:
    load(client, workspace, base)
    workspaces.edit(workspace, "d2/f7.txt")
    load(client, workspace, base)
    (tmp_path / "w/d2/f7.txt").unlink()
    image = load(client, workspace, base).image
    assert b"d2/f7.txt" not in _inside(engine, image)
    assert _inside(engine, image) == _wanted(workspace)


@pytest.mark.parametrize("engine", ["docker_today", "docker_today_classic", "podman"], indirect=True)
def test_an_engine_that_takes_zstd_gets_the_image_that_it_always_gets(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    first = load(client, workspace, base, compression="zstd")
    assert first.sent > 0
    assert _inside(engine, first.image) == _wanted(workspace)
    assert load(client, workspace, base) == DeliveryResult(first.image)


@pytest.mark.parametrize("engine", ["docker20"], indirect=True)
def test_an_engine_that_is_too_old_for_zstd_is_named_before_anything_is_done(
    client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    with pytest.raises(DaemonError, match=r"Docker 20\.10\.\S+, and zstd layers need Docker 23") as raised:
        plan(workspace, base, client=client, compression="zstd")
    assert "compression=gzip" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}, False),
        ({"Version": "23.0.0", "ApiVersion": "1.42"}, True),
        ({"Version": "2.0.0-beta", "ApiVersion": "1.52"}, True),
        ({}, True),
        ({"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}, True),
    ],
)
def test_which_versions_take_zstd(
    docker_today: Docker, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], taken: bool
) -> None:
    with _client(docker_today) as client:
        monkeypatch.setattr(client, "version", lambda: said)
        destination = EngineDestination(client)
        if taken:
            assert destination.stored_as("zstd") == "none"
        else:
            with pytest.raises(DaemonError, match=r"Docker 20\.10\.24\+dfsg1"):
                destination.stored_as("zstd")


def test_removed_images_are_loaded_again(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace
) -> None:
    first = load(client, workspace, base)
    workspaces.edit(workspace, "d2/f7.txt")
    second = load(client, workspace, base)
    engine.run("rmi", "--force", second.image, first.image)
    assert not engine.has(second.image)
    third = load(client, workspace, base)
    assert third.layers > 1
    assert _inside(engine, third.image) == _wanted(workspace)


def test_an_image_outlives_its_base(
    engine: Docker, client: docker.DockerClient, python_image: Image, workspace: Workspace, registry: Registry
) -> None:
    base = python_image.push(registry, registry.unique("mortal"), "1", config={"Env": ["PATH=/usr/bin:/bin", "M=1"]})
    image = load(client, workspace, base).image
    engine.run("rmi", "--force", base.reference)
    assert _inside(engine, image) == _wanted(workspace)
    workspaces.edit(workspace, "d2/f7.txt")
    assert _inside(engine, load(client, workspace, base).image) == _wanted(workspace)


def test_an_absent_base_is_pulled_when_it_is_needed(
    engine: Docker, client: docker.DockerClient, registry: Registry, python_image: Image, workspace: Workspace
) -> None:
    base = python_image.push(registry, registry.unique("absent"), "1")
    planned = plan(workspace, base, client=client)
    assert not engine.has(base.reference)
    assert not engine.has(planned.image)

    delivered = planned.carry_out()

    assert engine.has(base.reference)
    assert _inside(engine, delivered.image) == _wanted(workspace)
    assert plan(workspace, base, client=client).image == planned.image
    assert load(client, workspace, base).sent == 0


def test_a_platform_that_the_engine_has_not_is_looked_for_in_the_registry(
    engine: Docker, client: docker.DockerClient, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base = busybox_image.push(registry, registry.unique("multi"), "1", platforms=("linux/amd64", "linux/arm64"))
    engine.run("pull", base.reference)

    def architecture(name: str) -> str:
        return str(client.api.inspect_image(name)["Architecture"])  # type: ignore[no-untyped-call]

    delivered = load(client, workspace, base, platform="linux/arm64")
    assert architecture(delivered.image) == "arm64"
    assert architecture(base.reference) == "amd64"
    assert architecture(load(client, workspace, base).image) == "amd64"


@pytest.mark.parametrize("engine", ["docker_today", "podman"], indirect=True)
@pytest.mark.parametrize("delete", [True, False])
def test_a_file_that_changes_after_the_plan_is_no_trouble_of_the_engine(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace, tmp_path: Path, delete: bool
) -> None:
    planned = plan(workspace, base, client=client)
    changed = tmp_path / "w/d2/f7.txt"
    changed.unlink() if delete else changed.write_text("changed")
    with pytest.raises(WorkspaceChanged, match=r"f7\.txt"):
        planned.carry_out()
    assert not engine.has(planned.image)
    assert _inside(engine, load(client, workspace, base).image) == _wanted(workspace)


def test_any_history_leaves_the_image_that_the_workspace_is(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace, tmp_path: Path
) -> None:
    chance = random.Random(engine.name)
    root = tmp_path / "w"
    for _ in range(3):
        for _ in range(chance.choice([1, 2, 6])):
            files = sorted(path for path in root.rglob("*.txt") if path.is_file())
            path = chance.choice(files)
            match chance.choice(["edit", "edit", "delete", "add", "link", "exec"]):
                case "edit":
                    path.write_bytes(chance.randbytes(chance.choice([5, 90_000])))
                case "delete":
                    path.unlink()
                case "add":
                    path.with_name(f"new{chance.random()}.txt").write_text("new")
                case "link":
                    path.unlink()
                    path.symlink_to("nowhere")
                case "exec":
                    path.chmod(0o755)
        image = load(client, workspace, base, hot=chance.random() < 0.8).image
        assert _inside(engine, image) == _wanted(workspace)


def test_what_one_engine_has_is_not_taken_for_granted_on_another(
    docker20: Docker, docker_today: Docker, python_image: Image, workspace: Workspace
) -> None:
    # Their clients look alike: both sockets are "localhost" to the client library.
    for _ in range(2):
        for engine in (docker20, docker_today):
            base = python_image.load(engine, "localhost/python:1")
            workspaces.edit(workspace, "d2/f7.txt", b"\n", b"?")
            with _client(engine) as client:
                assert _inside(engine, load(client, workspace, base).image) == _wanted(workspace)


def test_a_patched_image_can_be_a_base(
    engine: Docker, client: docker.DockerClient, base: str, workspace: Workspace, tmp_path: Path
) -> None:
    first = load(client, workspace, base).image
    other = workspaces.write(tmp_path / "other", {"d2/f7.txt": "over", "more/x": "x"})
    second = load(client, other, first).image
    assert _inside(engine, second) == {**_wanted(workspace), **_wanted(other)}


class TestPushImage:
    """Pushing what the engine itself holds."""

    def test_an_image_that_was_built_is_pushed_by_its_id(
        self, engine: Docker, client: docker.DockerClient, registry: Registry, busybox_image: Image
    ) -> None:
        base = busybox_image.load(engine, "localhost/busybox:1")
        container = engine.run("create", base, "true")
        image = engine.run("commit", container, f"localhost/built-{registry.unique()}:1").splitlines()[-1]
        engine.run("rm", container)
        image = image if image.startswith("sha256:") else f"sha256:{image}"
        repository = registry.unique("built")
        push_image(client, image, f"{registry.host}/{repository}", "t1")
        assert registry.request("HEAD", f"/v2/{repository}/manifests/t1").status in (200, 404)
        assert "t1" in registry.request("GET", f"/v2/{repository}/tags/list").json()["tags"]

    def test_an_image_that_is_not_there_is_an_error(self, client: docker.DockerClient, registry: Registry) -> None:
        with pytest.raises(DaemonError, match=r"(?i)no such image|not found|not known"):
            push_image(client, f"sha256:{'b' * 64}", f"{registry.host}/{registry.unique()}", "t1")

    def test_a_registry_that_is_down_is_an_error(self, client: docker.DockerClient, base: str) -> None:
        with pytest.raises(DaemonError, match="cannot push") as raised:
            push_image(client, base, "127.0.0.1:1/app", "t1")
        assert raised.value.hint


def test_an_engine_that_is_down_is_unavailable(workspace: Workspace) -> None:
    client = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.41")
    with pytest.raises(DaemonUnavailable, match="does not respond: connection refused") as raised:
        load(client, workspace, "python:3")
    assert "DOCKER_HOST" in (raised.value.hint or "")
    client.close()
