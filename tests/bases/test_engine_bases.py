"""Bases looked up in real engines, and in registries for what an engine would have to pull."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.bases import pushed
from topcoat.bases.base import Base, look_up
from topcoat.bases.engine_bases import EngineBases
from topcoat.errors import ImageNotFound, NoSuchPlatform
from topcoat.oci.manifest import OCI_LAYER, OCI_MANIFEST
from topcoat.registry.clients import Clients


@pytest.fixture(params=["docker20", "docker_today", "docker_today_classic", "podman"])
def engine(request: pytest.FixtureRequest) -> Docker:
    """Each engine in turn."""
    running: Docker = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(engine: Docker) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.DockerClient(base_url=engine.host, version="auto", timeout=100)) as client:
        yield client


@pytest.fixture
def bases(client: docker.DockerClient) -> EngineBases:
    return EngineBases(client, Clients())


def _find(bases: EngineBases, name: str, platform: str = "") -> Base:
    base = look_up(bases, name, platform)
    assert isinstance(base, Base)
    return base


@pytest.mark.parametrize("flavour", ["docker", "oci"])
def test_registry_and_engine_give_one_identity_to_an_image(
    engine: Docker, bases: EngineBases, registry: Registry, busybox_image: Image, flavour: Any
) -> None:
    settings: dict[str, Any] = {
        "User": "1000:1000",
        "Entrypoint": ["/bin/env", "-i"],
        "Cmd": None,
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"team": "vision", "empty": ""},
        "StopSignal": "SIGINT",
        "Env": ["PATH=/bin", "EMPTY=", "EQUALS=a=b"],
        "WorkingDir": "/code/",
    }
    base = pushed(registry, busybox_image, config=settings, flavour=flavour)
    remote = _find(bases, base.reference)
    engine.run("pull", base.reference)
    local = _find(bases, base.reference)
    assert (remote.digest, local.digest) == (base.digest, "")
    assert (bool(remote.engine_id), bool(local.engine_id)) == (False, True)
    assert local.config.identity == remote.config.identity


def test_an_image_of_the_engine_is_found_by_name_and_by_id(
    bases: EngineBases, engine: Docker, busybox_image: Image
) -> None:
    by_name = _find(bases, busybox_image.load(engine, "localhost/found:1"))
    by_id = _find(bases, by_name.engine_id)
    assert by_id == by_name._replace(name=by_name.engine_id)
    assert by_name.manifest.media_type == OCI_MANIFEST
    assert [layer.digest for layer in by_name.manifest.layers] == list(by_name.config.diff_ids)
    assert {layer.media_type for layer in by_name.manifest.layers} == {OCI_LAYER}


def test_an_image_for_another_platform_is_not_used(bases: EngineBases, engine: Docker, python_image: Image) -> None:
    name = python_image.load(engine, "localhost/python:1")
    with pytest.raises(ImageNotFound, match=r"has .*python:1 for another platform: .*linux/amd64"):
        _find(bases, name, "linux/s390x")
    with pytest.raises(NoSuchPlatform, match="linux/amd64"):
        _find(bases, _find(bases, name).engine_id, "linux/s390x")


def test_a_base_that_neither_engine_nor_registry_has_is_an_error(bases: EngineBases, registry: Registry) -> None:
    with pytest.raises(ImageNotFound, match=r"engine has no image .*/nowhere:1, and there is no image") as raised:
        _find(bases, f"{registry.host}/nowhere:1")
    assert raised.value.hint
    with pytest.raises(ImageNotFound, match="engine has no image") as raised:
        _find(bases, f"sha256:{'a' * 64}")
    assert raised.value.hint


def test_the_tree_of_an_image_that_was_removed_is_an_error(
    bases: EngineBases, engine: Docker, busybox_image: Image
) -> None:
    name = busybox_image.load(engine, "localhost/removed:1", config={"Labels": {"short": "lived"}})
    base = _find(bases, name)
    with bases.open_tree(base, None) as tree:
        assert tree.find(b"bin") is not None
    engine.run("rmi", "--force", base.engine_id)
    with pytest.raises(ImageNotFound, match="any more"), bases.open_tree(base, None):
        pass
