"""Build a Dockerfile with the container engine: by BuildKit if it has one, else by the engine's own builder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from topcoat.bases.base import images_of, look_up
from topcoat.bases.engine_base import engine_base
from topcoat.bases.engine_bases import EngineBases
from topcoat.builders.builder import Builder, Recipe, context_tar
from topcoat.builders.programs import OnOutput, run_quick, run_streaming
from topcoat.destinations.engine import REPOSITORY, push_image
from topcoat.engines.engine import engine_errors, is_podman
from topcoat.engines.logins import build_logins
from topcoat.images.tag import base_tag_inputs
from topcoat.registry.clients import Clients

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.oci.reference import Reference

# An attestation holds the time of the build, so no two builds would be equal, and makes an index of a plain image.
_ENVIRONMENT = {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def engine_builder(client: DockerClient, clients: Clients, *, command_line: bool = True) -> Builder:
    """Return the best builder of the engine of *client*.

    BuildKit's client is the docker command line, which finds the engine by itself: pass *command_line* False if
    *client* may be of another engine.
    """
    with engine_errors("asking for its version"):
        podman = is_podman(client.version())
    command = _buildkit_command() if command_line and not podman else None
    return BuildKit(client, clients, command) if command else ClassicBuilder(client, clients, podman=podman)


class ClassicBuilder:
    """The engine's builder behind its API: Docker's classic one, or Podman's."""

    label = "the container engine's classic builder"

    def __init__(self, client: DockerClient, clients: Clients, *, podman: bool = False) -> None:
        """Build with the engine of *client*; *podman* tells whether it is Podman's service."""
        self._client = client
        self._bases = EngineBases(client, clients)
        if podman:
            self.label = "Podman's service"

    def base_tag_inputs(self, name: str, platform: str) -> list[object]:
        """Return the tag inputs of the image that the engine has as *name*, else of the one in its registry."""
        return base_tag_inputs(images_of(look_up(self._bases, name, platform))[0])

    def image_name(self, tag: str) -> str:
        """Return the local name of the image with *tag*."""
        return f"{REPOSITORY}:{tag}"

    def image_id(self, name: str) -> str | None:
        """Return the id of the image that the engine has as *name*."""
        base = engine_base(self._client, name, "")
        return base.engine_id if base else None

    def has_labels(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether the image that the engine has as *name* has *labels*."""
        base = engine_base(self._client, name, "")
        actual = base.config.settings.get("Labels") if base else None
        return isinstance(actual, Mapping) and labels.items() <= actual.items()

    def build(self, recipe: Recipe, name: str, on_output: OnOutput) -> str:
        """Build through the engine's API."""
        with (
            context_tar(recipe, dockerfile=True) as context,
            engine_errors(f"building {recipe.dockerfile}", shows_output=True),
        ):
            with build_logins(self._client, recipe.base_images):
                events: Iterator[dict[str, object]] = self._client.api.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile=recipe.dockerfile,
                    tag=name,
                    buildargs=dict(recipe.args),
                    labels=dict(recipe.labels),
                    platform=recipe.platform or None,
                    nocache=recipe.no_cache,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
            for event in events:
                if event.get("error"):
                    return str(event["error"]).rstrip()
                for line in str(event.get("stream") or event.get("status") or "").splitlines():
                    if line.strip():
                        on_output(line)
        return ""

    def push(self, image: str, target: Reference, on_output: OnOutput) -> None:
        """Push an image of the engine."""
        push_image(self._client, image, target.name, target.tag)


class BuildKit(ClassicBuilder):
    """BuildKit in the engine, used through the docker command line."""

    def __init__(self, client: DockerClient, clients: Clients, command: list[str]) -> None:
        """Build with *command*, which takes the flags of ``docker build`` and loads the result."""
        super().__init__(client, clients)
        self._command = command
        self.label = "BuildKit (docker buildx)" if "buildx" in command else "BuildKit (docker build)"

    def build(self, recipe: Recipe, name: str, on_output: OnOutput) -> str:
        """Build with the docker command line."""
        flags = ["--progress", "plain", "--file", recipe.dockerfile, "--tag", name, *recipe.flags()]
        with context_tar(recipe, dockerfile=True) as context:
            code = run_streaming([*self._command, *flags, "-"], on_output, env=_ENVIRONMENT, stdin=context)
        return f"docker build ended with exit code {code}" if code else ""


def _buildkit_command() -> list[str] | None:
    """Return the start of a command that builds with BuildKit and loads the result; None without BuildKit."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    if run_quick([docker, "buildx", "version"]).returncode == 0:
        return [docker, "buildx", "build", "--load"]
    # The command line of Docker 20.10 brings BuildKit's client along; later ones need buildx.
    version = run_quick([docker, "--version"]).stdout
    return [docker, "build"] if version.startswith(b"Docker version 20.") else None
