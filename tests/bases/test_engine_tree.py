"""What is in a base that an engine holds, on every engine: as its layers have it, and nothing is left behind."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.components.daemons import Docker
from tests.support.layers import image, tar
from topcoat.bases.engine_tree import EngineTree
from topcoat.errors import DaemonError, InvalidImage
from topcoat.pack.layer import Directory
from topcoat.pack.tar import Ownership
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.target import resolve_target

_LINES = (
    "dir usr",
    "dir usr/bin",
    "link bin -> usr/bin",
    "dir home",
    "dir home/user 0700 1000:1001",
    "file home/user/f 0640 7:8 = text",
    "dir home/user/sub 0711 5:6",
    "link home/user/l -> f",
    "dir tmp 1777",
    "dir srv 2775 0:50",
    "link abs -> /home/user",
    "link chain -> abs",
    "link dangling -> nowhere/here",
    "link loop -> loop2",
    "link loop2 -> loop",
    "file café = 1",
)


@pytest.fixture(params=["docker20", "docker_today", "docker_today_classic", "podman"])
def engine(request: pytest.FixtureRequest) -> Docker:
    """Each engine in turn."""
    running: Docker = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(engine: Docker) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine.host, version="auto", timeout=100)
    yield client
    client.close()


def _load(engine: Docker, tmp_path: Path, *lines: str, **config: Any) -> str:
    """Load an image without a command; return its id."""
    # An engine remembers the images of earlier tests.
    base = image(tmp_path, tar(*lines, f"file mark = {secrets.token_hex(8)}"), **config)
    return engine.run("image", "inspect", "-f", "{{.Id}}", base.load(engine, f"localhost/{base.name}:1")).strip()


@pytest.fixture
def tree(engine: Docker, client: docker.DockerClient, tmp_path: Path) -> Iterator[EngineTree]:
    before = _containers(client)
    tree = EngineTree(lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *_LINES))
    with tree:
        yield tree
    assert _containers(client) == before


def _containers(client: docker.DockerClient) -> set[str]:
    return {str(container["Id"]) for container in client.api.containers(all=True)}


def _resolved(tree: EngineTree, directory: str) -> list[Directory]:
    return list(resolve_target(tree, directory.encode()).parents)


def test_paths_are_found_as_the_layers_have_them(tree: EngineTree) -> None:
    assert tree.find(b"usr") == ImageNode("dir")
    assert tree.find(b"home/user") == ImageNode("dir", 0o700, 1000, 1001)
    assert tree.find(b"tmp") == ImageNode("dir", 0o1777)
    assert tree.find(b"srv") == ImageNode("dir", 0o2775, 0, 50)
    assert tree.find(b"nothing") is tree.find(b"home/nothing") is None
    for path in (b"home/user/f", "café".encode()):
        node = tree.find(path)
        assert node is not None
        assert node.kind == "file"


def test_links_are_resolved_inside_the_image(tree: EngineTree) -> None:
    user = [Directory(b"home"), Directory(b"home/user", 0o700, Ownership(1000, 1001))]
    assert _resolved(tree, "abs") == _resolved(tree, "chain") == user
    assert _resolved(tree, "bin") == [Directory(b"usr"), Directory(b"usr/bin")]
    assert _resolved(tree, "dangling") == [Directory(b"nowhere"), Directory(b"nowhere/here")]
    with pytest.raises(InvalidImage, match="circle"):
        _resolved(tree, "loop")


def test_what_is_below_a_directory_is_listed(tree: EngineTree) -> None:
    nodes = tree.below(b"home/user")
    assert {path: node.kind for path, node in nodes.items()} == {b"f": "file", b"sub": "dir", b"l": "link"}
    assert nodes[b"sub"].mode == 0o711
    assert nodes[b"l"].link == b"f"
    assert tree.below(b"nothing") == tree.below(b"tmp") == {}
    top = tree.below(b"")
    assert (top[b"bin"].kind, top[b"home/user/f"].kind, top[b"dangling"].kind) == ("link", "file", "link")


def test_a_working_directory_that_the_image_does_not_have_is_not_there(
    engine: Docker, client: docker.DockerClient, tmp_path: Path
) -> None:
    named = _load(engine, tmp_path, "dir srv 0700", WorkingDir="/srv/code")
    with EngineTree(lambda: contextlib.nullcontext(client), named) as tree:
        assert tree.find(b"srv") == ImageNode("dir", 0o700)
        assert tree.find(b"srv/code") is None


def test_a_volume_of_the_image_is_what_the_image_has_there(
    engine: Docker, client: docker.DockerClient, tmp_path: Path
) -> None:
    before = {str(volume["Name"]) for volume in client.api.volumes()["Volumes"] or ()}
    lines = ["dir data 0711 5:6", "dir data/x 0700 7:8", "file data/x/f"]
    with EngineTree(
        lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *lines, Volumes={"/data": {}})
    ) as tree:
        assert tree.find(b"data") == ImageNode("dir", 0o711, 5, 6)
        assert tree.find(b"data/x") == ImageNode("dir", 0o700, 7, 8)
        # Podman fills a volume when the container starts; what is below does not matter.
        assert set(tree.below(b"data/x")) == (set() if engine.name == "podman" else {b"f"})
    assert {str(volume["Name"]) for volume in client.api.volumes()["Volumes"] or ()} == before


def test_of_a_large_directory_the_beginning_is_listed(
    engine: Docker, client: docker.DockerClient, tmp_path: Path
) -> None:
    lines = ["dir app", "file app/a", "file app/large = " + "x" * (9 << 20), "file app/z"]
    with EngineTree(lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *lines)) as tree:
        assert set(tree.below(b"app")) == {b"a", b"large"}


def test_no_container_is_made_before_a_question(client: docker.DockerClient) -> None:
    before = _containers(client)
    with EngineTree(lambda: contextlib.nullcontext(client), "sha256:" + "a" * 64, limit=0) as tree:
        assert tree.find(b"app") is UNKNOWN
        assert tree.below(b"app") == {}
        assert _containers(client) == before


def test_the_container_is_removed_whatever_happens(engine: Docker, client: docker.DockerClient, tmp_path: Path) -> None:
    before = _containers(client)
    tree = EngineTree(lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *_LINES))
    with tree, pytest.raises(InvalidImage):
        tree.find(b"loop")
    assert _containers(client) == before


def test_an_interrupt_while_the_container_is_made_leaves_none(
    engine: Docker, client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, image = _containers(client), _load(engine, tmp_path, *_LINES)
    make = client.api.create_container_from_config

    def interrupted(*args: Any, **kwargs: Any) -> None:
        make(*args, **kwargs)  # type: ignore[no-untyped-call]
        raise KeyboardInterrupt

    monkeypatch.setattr(client.api, "create_container_from_config", interrupted)
    with pytest.raises(KeyboardInterrupt), EngineTree(lambda: contextlib.nullcontext(client), image) as tree:
        tree.find(b"usr")
    assert _containers(client) == before


def test_a_container_that_somebody_removes_is_an_error_and_no_answer(
    engine: Docker, client: docker.DockerClient, tmp_path: Path
) -> None:
    before = _containers(client)
    with EngineTree(lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *_LINES)) as tree:
        tree.find(b"usr")
        for container in _containers(client) - before:
            client.api.remove_container(container, force=True)
        with pytest.raises(DaemonError, match="looking into the base image"):
            tree.find(b"nothing")


def test_an_image_that_is_not_there_is_an_error(client: docker.DockerClient) -> None:
    with EngineTree(lambda: contextlib.nullcontext(client), "sha256:" + "a" * 64) as tree, pytest.raises(DaemonError):
        tree.find(b"app")


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
def test_an_owner_that_an_export_does_not_reach_is_not_known(
    engine: Docker, client: docker.DockerClient, tmp_path: Path
) -> None:
    lines = ["dir a 0711 1:1", "dir b", "file b/large = " + "x" * (9 << 20), "dir z 0711 1:1", "link zz -> b"]
    with EngineTree(lambda: contextlib.nullcontext(client), _load(engine, tmp_path, *lines), limit=1 << 20) as tree:
        assert tree.find(b"a") == ImageNode("dir", 0o711, 1, 1)
        assert tree.find(b"z") is UNKNOWN
        assert tree.find(b"c") is None
        link = tree.find(b"zz")
        assert link is not None
        assert link.kind == "link"
