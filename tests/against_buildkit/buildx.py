"""Builds by the BuildKit of an engine, exported and read."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.against_buildkit.exported import Exported, read_export
from tests.components.daemons import Docker

# Old builds are forgotten when there are so many: they lie in memory.
_MANY = 200
# What an engine says that is in trouble itself, whatever it builds.
_IN_TROUBLE = ("connection", "transport is closing", "deadline exceeded", "no space left", "unexpected EOF", "driver")


class Built(NamedTuple):
    """What BuildKit built: the file system, and the runtime part of the image's config where that was asked for."""

    tree: Mapping[bytes, Exported]
    config: Mapping[str, Any]


class Refused(NamedTuple):
    """A build that BuildKit refuses, and its last words."""

    words: str


class Buildx:
    """``docker buildx build`` on one engine."""

    def __init__(self, docker: Docker, directory: Path) -> None:
        self.docker = docker
        self._directory = directory
        # The CLI finds its plugins by running each of them: the plugin itself is quicker.
        self._command = [os.path.join(docker.env["DOCKER_CONFIG"], "cli-plugins", "docker-buildx"), "build"]
        self._command += ["--provenance=false", "--progress=plain"]
        self._env = {**os.environ, **docker.env}
        self._numbers = itertools.count(1)

    def build(
        self, dockerfile: str | Path, context: Path | bytes, *arguments: str, config: bool = False
    ) -> Built | Refused:
        """Build from a directory, or from a tar as bytes, and return what came out; *arguments* are NAME=VALUE.

        With *config*, which engines on containerd's store alone can say, look at the image's settings too.
        """
        if next(self._numbers) % _MANY == 0:
            self.docker.run("buildx", "prune", "--all", "--force")
        image = self._directory / "image.tar"
        given = [word for argument in arguments for word in ("--build-arg", argument)]
        # Without --no-cache, a file that changed in its date alone would keep the date of an earlier build.
        words = ["--no-cache", "--file", str(dockerfile), *given]
        words += ["--output", f"type=oci,dest={image}"] if config else []
        stdin = context if isinstance(context, bytes) else b""
        tree = self._exported([*words, "-" if stdin else str(context)], stdin)
        if isinstance(tree, Refused):
            return tree
        try:
            return Built(tree, _runtime_config(image) if config else {})
        finally:
            image.unlink(missing_ok=True)

    def export(self, image: str) -> Mapping[bytes, Exported]:
        """Return the file system of an image in a registry."""
        tree = self._exported(["-"], f"FROM {image}\n".encode())
        assert not isinstance(tree, Refused), tree.words
        return tree

    def _exported(self, words: list[str], stdin: bytes) -> Mapping[bytes, Exported] | Refused:
        archive = self._directory / "tree.tar"
        command = [*self._command, "--output", f"type=tar,dest={archive}", *words]
        for _ in range(3):
            done = subprocess.run(command, env=self._env, input=stdin, capture_output=True, check=False, timeout=120)
            message = done.stderr.decode("utf-8", "replace").rpartition("ERROR: ")[2].strip()
            if not done.returncode or not any(trouble in message for trouble in _IN_TROUBLE):
                break
        if done.returncode:
            assert not any(trouble in message for trouble in _IN_TROUBLE), message
            return Refused(message)
        try:
            return read_export(archive)
        finally:
            archive.unlink()


def _runtime_config(image: Path) -> Mapping[str, Any]:
    """Return the runtime part of the config of the only image in an OCI layout."""
    with tarfile.open(image) as layout:

        def read(name: str) -> Any:
            file = layout.extractfile(name)
            assert file is not None
            return json.load(file)

        def blob(descriptor: Any) -> Any:
            return read("blobs/" + descriptor["digest"].replace(":", "/"))

        (described,) = read("index.json")["manifests"]
        config: Mapping[str, Any] = blob(blob(described)["config"]).get("config") or {}
        return config
