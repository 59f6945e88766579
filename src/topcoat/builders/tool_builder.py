"""Build a Dockerfile with Podman or Buildah on this machine, where no container engine answers.

Both are one builder with two command lines, and share one store of images. What a build starts from is pulled by
digest before it begins, so that the build starts from the very images that its tag stands for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from topcoat.bases.base import Base
from topcoat.bases.lookup import BaseLookup
from topcoat.builders.builder import OnOutput, Recipe, context_tar, run_streaming
from topcoat.destinations.docker import REPOSITORY
from topcoat.dockerfile.scope import native_platform
from topcoat.errors import DaemonError, ImageError, RegistryError, StateError
from topcoat.http.origin import basic
from topcoat.oci.reference import HUB, Reference
from topcoat.registry.clients import Clients
from topcoat.registry.credentials import Keyring
from topcoat.registry.hosts import host_settings
from topcoat.state import cache_dir

# The builder would obey the context's .dockerignore once more, without .torchxignore, and takes an empty file for none.
_NOTHING_IGNORED = "/.topcoat-leaves-nothing-out\n"
_TOOLS = {"podman": "{{.Id}}", "buildah": "{{.FromImageID}}"}
"""The command lines, the better known first, and how each is asked for an image's id."""


def tool_builder(clients: Clients) -> ToolBuilder | None:
    """Return the first of Podman and Buildah that is installed, None where neither is."""
    for name in _TOOLS:
        program = shutil.which(name)
        if program:
            return ToolBuilder(program, clients)
    return None


class ToolBuilder:
    """``podman build`` or ``buildah build``."""

    def __init__(self, program: str, clients: Clients) -> None:
        """Build with *program*; *clients* look up what a build starts from."""
        self._program = program
        self._tool = Path(program).stem
        self._clients = clients
        self._bases = BaseLookup(clients)
        self._keyring = Keyring()
        self._pinned: dict[str, Base] = {}

    @property
    def label(self) -> str:
        """What the user is told it is."""
        return f"{self._tool} on this machine"

    def base_identity(self, name: str, platform: str) -> str:
        """Return the identity of what the registry of *name* has, else the id of the image that is kept here as that.

        Raises:
            ImageNotFound: neither has it.
            RegistryError: the registry cannot be asked, and the image is not here.
        """
        # Docker Hub is only what a short name means where nothing that was made here is called that.
        here = self.image_id(f"localhost/{name}") if _is_short(name) else None
        if here is not None:
            return here
        try:
            base = self._bases.confirm(self._bases.find(name, platform or str(native_platform())))
        except (RegistryError, ImageError):
            here = self.image_id(name)
            if here is None:
                raise
            return here
        self._pinned[name] = base
        return base.config.identity

    def image_name(self, tag: str) -> str:
        """Return the local name of the image with *tag*."""
        return f"localhost/{REPOSITORY}:{tag}"

    def image_id(self, name: str) -> str | None:
        """Return the id of the image that is kept as *name*."""
        format_ = _TOOLS.get(self._tool, _TOOLS["podman"])
        command = [self._program, "inspect", "--type", "image", "--format", format_, name.removeprefix("sha256:")]
        done = subprocess.run(command, capture_output=True, check=False)
        found = done.stdout.decode("ascii", "replace").strip()
        return f"sha256:{found.removeprefix('sha256:')}" if found and not done.returncode else None

    def _run(self, words: list[str], line: OnOutput, *, stdin: BinaryIO | None = None, **env: str) -> int:
        config = os.environ.get("DOCKER_CONFIG")
        if config and not os.path.exists(os.path.join(config, "config.json")):
            # To these tools, a file that the variable promises and that is not there is an error.
            env["DOCKER_CONFIG"] = ""
        return run_streaming([self._program, *words], line, env=env, stdin=stdin)

    def build(self, recipe: Recipe, name: str, line: OnOutput) -> str:
        """Pull what *recipe* starts from and build it; return what went wrong, or nothing."""
        for origin in recipe.origins:
            if origin in self._pinned and (failure := self._pull(self._pinned[origin], line)):
                return failure
        with _private_directory() as directory:
            dockerfile, ignored = directory / recipe.dockerfile, directory / "ignore"
            dockerfile.write_bytes(recipe.text)
            ignored.write_text(_NOTHING_IGNORED)
            command = ["build", "--layers", "--pull=false", "--tag", name]
            # The other format knows no HEALTHCHECK, SHELL and ONBUILD.
            command += ["--format", "docker", "--file", str(dockerfile), "--ignorefile", str(ignored)]
            command += ["--platform", recipe.platform] if recipe.platform else []
            command += ["--no-cache"] if recipe.fresh else []
            for key, value in recipe.args.items():
                command += ["--build-arg", f"{key}={value}"]
            with context_tar(recipe, dockerfile=False) as context:
                # The context is unpacked in TMPDIR: there it is gone with the directory, however the build ends.
                code = self._run([*command, "-"], line, stdin=context, TMPDIR=str(directory))
        return f"{self._tool} build ended with exit code {code}" if code else ""

    def push(self, image: str, target: Reference, line: OnOutput) -> None:
        """Push an image that is kept here.

        Raises:
            DaemonError: there is no such image, or it cannot be pushed.
        """
        output: list[str] = []
        with _private_directory() as directory:
            reach = self._reach(target, directory)
            code = self._run(["push", *reach, image.removeprefix("sha256:"), f"docker://{target}"], output.append)
        if code:
            shown = "\n".join(output)
            raise DaemonError(
                f"{self._tool} cannot push {target}:\n{shown}",
                hint=f"docker login {target.registry}, or podman login, if it is not allowed",
            )
        for text in output:
            line(text)

    def _pull(self, base: Base, line: OnOutput) -> str:
        """Bring the very image that was looked up here, under the name that it was looked up by."""
        reference = Reference.parse(base.name)
        pinned = f"{reference.name}@{base.digest}"
        with _private_directory() as directory:
            if self.image_id(pinned) is None:
                flags = ["--platform", str(base.config.platform), *self._reach(reference, directory)]
                if code := self._run(["pull", *flags, f"docker://{pinned}"], line):
                    return f"{self._tool} pull {base.name} ended with exit code {code}"
            if reference.tag:
                named = f"{reference.name}:{reference.tag}"
                if code := self._run(["tag", pinned, named], line):
                    return f"{self._tool} tag {base.name} ended with exit code {code}"
        return ""

    def _reach(self, reference: Reference, directory: Path) -> list[str]:
        """Return the flags that make the tool reach a registry as we do, with files of *directory*."""
        registry = reference.registry
        host = host_settings(registry).tls
        flags = [] if host.verify else ["--tls-verify=false"]
        if host.verify and (host.ca_files or host.client_certs):
            certificates = directory / "certificates"
            certificates.mkdir()
            for number, path in enumerate(host.ca_files):
                shutil.copyfile(path, certificates / f"{number}.crt")
            for number, (certificate, key) in enumerate(host.client_certs):
                shutil.copyfile(certificate, certificates / f"{number}.cert")
                shutil.copyfile(key, certificates / f"{number}.key")
            flags += ["--cert-dir", str(certificates)]
        credential = self._keyring.get(registry, reference.repository)
        if credential is not None:
            # Docker's own files may name a store that these tools do not know.
            entry = {"auth": basic(credential.username, credential.password).removeprefix("Basic ")}
            if credential.identity_token:
                entry["identitytoken"] = credential.identity_token
            key = f"https://index.{HUB}/v1/" if registry == HUB else registry
            file = directory / "auth.json"
            file.write_text(json.dumps({"auths": {key: entry}}))
            flags += ["--authfile", str(file)]
        return flags


@contextmanager
def _private_directory() -> Iterator[Path]:
    """Give a ``with`` block a directory that nobody else can look into, and that is gone afterwards."""
    place = os.fspath(cache_dir("spool"))
    try:
        directory = tempfile.mkdtemp(prefix="build-", dir=place)
    except OSError as error:
        raise StateError(
            f"cannot prepare a build in {place}: {error.strerror or error}",
            hint="make room there, or point XDG_CACHE_HOME to a directory that has it",
        ) from error
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _is_short(name: str) -> bool:
    """Tell whether *name* is a name that leaves the registry out."""
    return Reference.parse(name).registry == HUB and not name.startswith((f"{HUB}/", f"index.{HUB}/"))
