"""Build a Dockerfile with Podman or Buildah on this machine, if no container engine is available.

Both are one builder with two command lines, and share one store of images. The base images are pulled by digest before
the build, so that it starts from exactly the images that its tag stands for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from topcoat.bases.base import Base, images_of, look_up
from topcoat.bases.registry_bases import RegistryBases
from topcoat.builders.builder import Recipe, context_tar
from topcoat.builders.programs import OnOutput, run_quick, run_streaming
from topcoat.destinations.engine import REPOSITORY
from topcoat.dockerfile.scope import native_platform
from topcoat.errors import DaemonError, ImageError, RegistryError, StateError
from topcoat.http.origin import basic
from topcoat.images.tag import base_tag_inputs
from topcoat.leftovers import private_directory
from topcoat.oci.reference import HUB, Reference
from topcoat.registry.clients import Clients
from topcoat.registry.credentials import Keyring
from topcoat.registry.hosts import host_settings
from topcoat.state import spool_dir

# The builder would apply the context's .dockerignore again, without .torchxignore, and ignores an empty file.
_NOTHING_IGNORED = b"/.topcoat-leaves-nothing-out\n"
_TOOLS = {"podman": "{{.Id}}", "buildah": "{{.FromImageID}}"}
"""The command lines, the better known first, with their templates for an image's id."""
_LABELS = {"podman": "{{.Labels}}", "buildah": "{{.OCIv1.Config.Labels}}"}


def tool_builder(clients: Clients) -> ToolBuilder | None:
    """Return the first of Podman and Buildah that is installed; None if neither is."""
    program = next(filter(None, map(shutil.which, _TOOLS)), None)
    return ToolBuilder(program, clients) if program else None


class ToolBuilder:
    """``podman build`` or ``buildah build``."""

    def __init__(self, program: str, clients: Clients) -> None:
        """Build with *program*; *clients* look up base images."""
        self._program = program
        self._tool = Path(program).stem
        self._clients = clients
        self._bases = RegistryBases(clients)
        self._keyring = Keyring()
        self._pinned: dict[str, Base] = {}

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self._tool} on this machine"

    def base_tag_inputs(self, name: str, platform: str) -> list[object]:
        """Return the tag inputs of the image in the registry of *name*, else the id of the one that is kept here."""
        # A short name means an image of Docker Hub only if none that was built here has that name.
        local_id = self.image_id(f"localhost/{name}") if _is_short(name) else None
        if local_id is not None:
            return [local_id]
        try:
            base = images_of(look_up(self._bases, name, platform or str(native_platform())))[0]
        except (RegistryError, ImageError):
            local_id = self.image_id(name)
            if local_id is None:
                raise
            return [local_id]
        self._pinned[name] = base
        return base_tag_inputs(base)

    def image_name(self, tag: str) -> str:
        """Return the local name of the image with *tag*."""
        return f"localhost/{REPOSITORY}:{tag}"

    def image_id(self, name: str) -> str | None:
        """Return the id of the image that is kept as *name*."""
        image_id = self._inspect(name, _TOOLS.get(self._tool, _TOOLS["podman"])).removeprefix("sha256:")
        return f"sha256:{image_id}" if image_id else None

    def has_labels(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether the image that is kept as *name* has *labels*."""
        # Go prints a map as map[a:b c:d]; buildah has no function that prints JSON.
        words = self._inspect(name, _LABELS.get(self._tool, _LABELS["podman"])).removeprefix("map[").removesuffix("]")
        return {f"{key}:{value}" for key, value in labels.items()} <= set(words.split())

    def _inspect(self, name: str, template: str) -> str:
        """Return what the image that is kept as *name* has at a Go *template*; empty without such an image."""
        done = run_quick(
            [self._program, "inspect", "--type", "image", "--format", template, name.removeprefix("sha256:")]
        )
        return "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()

    def _run(self, words: list[str], on_output: OnOutput, *, stdin: BinaryIO | None = None, **env: str) -> int:
        config = os.environ.get("DOCKER_CONFIG")
        if config and not os.path.exists(os.path.join(config, "config.json")):
            # These tools refuse to run if the variable names a directory without that file.
            env["DOCKER_CONFIG"] = ""
        return run_streaming([self._program, *words], on_output, env=env, stdin=stdin)

    def build(self, recipe: Recipe, name: str, on_output: OnOutput) -> str:
        """Pull the base images of *recipe* and build it."""
        for image in recipe.base_images:
            if image in self._pinned and (failure := self._pull(self._pinned[image], on_output)):
                return failure
        with _private_directory() as directory:
            dockerfile, ignored = directory / recipe.dockerfile, directory / "ignore"
            _write(dockerfile, recipe.text)
            _write(ignored, _NOTHING_IGNORED)
            command = ["build", "--layers", "--pull=false", "--tag", name]
            # The OCI format has no HEALTHCHECK, SHELL and ONBUILD.
            command += ["--format", "docker", "--file", str(dockerfile), "--ignorefile", str(ignored)]
            command += recipe.flags()
            with context_tar(recipe, dockerfile=False) as context:
                # The context is unpacked in TMPDIR, so it is removed with the directory, however the build ends.
                code = self._run([*command, "-"], on_output, stdin=context, TMPDIR=str(directory))
        return f"{self._tool} build ended with exit code {code}" if code else ""

    def push(self, image: str, target: Reference, on_output: OnOutput) -> None:
        """Push an image that is kept here."""
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
        for line in output:
            on_output(line)

    def _pull(self, base: Base, on_output: OnOutput) -> str:
        """Pull exactly the image that was looked up, and tag it with the name that it was looked up by."""
        reference = Reference.parse(base.name)
        pinned = f"{reference.name}@{base.digest}"
        with _private_directory() as directory:
            if self.image_id(pinned) is None:
                flags = ["--platform", str(base.config.platform), *self._reach(reference, directory)]
                if code := self._run(["pull", *flags, f"docker://{pinned}"], on_output):
                    return f"{self._tool} pull {base.name} ended with exit code {code}"
            if reference.tag:
                named = f"{reference.name}:{reference.tag}"
                if code := self._run(["tag", pinned, named], on_output):
                    return f"{self._tool} tag {base.name} ended with exit code {code}"
        return ""

    def _reach(self, reference: Reference, directory: Path) -> list[str]:
        """Return the flags that make the tool reach a registry as we do, with files of *directory*."""
        registry = reference.registry
        host = host_settings(registry).tls
        flags = [] if host.verify else ["--tls-verify=false"]
        if host.verify and (host.ca_files or host.client_certs):
            certificates = directory / "certificates"
            certificates.mkdir(mode=0o700)
            for number, path in enumerate(host.ca_files):
                _write(certificates / f"{number}.crt", Path(path).read_bytes())
            for number, (certificate, key) in enumerate(host.client_certs):
                _write(certificates / f"{number}.cert", Path(certificate).read_bytes())
                _write(certificates / f"{number}.key", Path(key).read_bytes())
            flags += ["--cert-dir", str(certificates)]
        credential = self._keyring.get(registry, reference.repository)
        if credential is not None:
            self._clients(registry).check_login()
            # Docker's files may name a credential store that these tools do not support.
            entry = {"auth": basic(credential.username, credential.password).removeprefix("Basic ")}
            if credential.identity_token:
                entry["identitytoken"] = credential.identity_token
            key = f"https://index.{HUB}/v1/" if registry == HUB else registry
            file = directory / "auth.json"
            _write(file, json.dumps({"auths": {key: entry}}).encode())
            flags += ["--authfile", str(file)]
        return flags


@contextmanager
def _private_directory() -> Iterator[Path]:
    """Create a directory that only this user can read, and remove it at the end of the ``with`` block.

    It holds a login. If this process is killed, the next command removes it.
    """
    place = spool_dir()
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(private_directory(place, "build-"))
        except OSError as error:
            raise StateError(
                f"cannot prepare a build in {place}: {error.strerror or error}",
                hint="free space there, or point XDG_CACHE_HOME to a directory with more space",
            ) from error
        yield directory


def _write(path: Path, data: bytes) -> None:
    """Write the new file *path*, which only this user can read, whatever the umask is."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _is_short(name: str) -> bool:
    """Tell whether *name* has no registry."""
    return Reference.parse(name).registry == HUB and not name.startswith((f"{HUB}/", f"index.{HUB}/"))
