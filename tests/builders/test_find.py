"""The choice of a builder."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from topcoat.builders.find import find_builder
from topcoat.builders.tool_builder import ToolBuilder
from topcoat.errors import DaemonUnavailable, MissingDependency, NeedsBuilder
from topcoat.registry.clients import Clients

REASON = NeedsBuilder("Dockerfile.torchx:2: RUN runs a command in the image", hint="do without")


def no_engine() -> NoReturn:
    raise DaemonUnavailable("no container engine answers at unix:///x", hint="start Docker")


def no_package() -> NoReturn:
    raise MissingDependency("this needs the docker package", hint="pip install 'topcoat[docker]'")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.mark.parametrize("connect", [no_engine, no_package])
def test_without_an_engine_a_tool_of_this_machine_builds_an_image_that_is_pushed(connect: object, tools: Path) -> None:
    (tools / "buildah").write_text("#!/bin/sh\n")
    (tools / "buildah").chmod(0o755)
    builder = find_builder(connect, Clients(), REASON, command_line=True, pushed=True)  # type: ignore[arg-type]
    assert isinstance(builder, ToolBuilder)
    with pytest.raises(DaemonUnavailable, match="this needs a container engine") as caught:
        find_builder(connect, Clients(), REASON, command_line=True, pushed=False)  # type: ignore[arg-type]
    assert caught.value.message.startswith(REASON.message)
    assert str(caught.value.hint).startswith("do without; ")
    assert "-cfg image_repo=REGISTRY/REPOSITORY" in str(caught.value.hint)


def test_without_any_builder_the_error_names_the_line_that_needs_one_and_what_to_install(tools: Path) -> None:
    with pytest.raises(DaemonUnavailable) as caught:
        find_builder(no_engine, Clients(), REASON, command_line=True, pushed=True)
    assert caught.value.message == (
        "Dockerfile.torchx:2: RUN runs a command in the image; this needs a builder and none is available: "
        "no container engine answers at unix:///x; podman and buildah are not installed"
    )
    assert caught.value.hint == "do without; or start Docker, or install podman or buildah"
