"""Have a Dockerfile built by whatever this machine has to build it: the choice, and the build itself.

In this order: BuildKit, which builds stages side by side and knows every instruction of today; the container engine's
own builder, which needs no docker command line; Podman or Buildah on this machine, where no engine answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from topcoat.errors import DaemonError, DaemonUnavailable, MissingDependency, NeedsBuilder
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import PackOptions, pack
from topcoat.pack.tar import END, Ownership, derived_mtime, header, padding
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.tasks import Task

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.oci.reference import Reference
    from topcoat.registry.clients import Clients

_BLOCK = 1 << 20

OnOutput = Callable[[str], None]
"""Takes a line of a build's output."""


class Recipe(NamedTuple):
    """What is built.

    Attributes:
        scan: the context.
        dockerfile: the Dockerfile's name in the context.
        text: its text, whether the context holds it or not.
        args: build arguments.
        platform: for which it is built; empty for the builder's own.
        origins: the images that it starts or copies from, as far as they are known.
        reason: why it takes a builder.
        fresh: nothing of an earlier build is used again.
    """

    scan: Scan
    dockerfile: str
    text: bytes
    args: Mapping[str, str]
    platform: str = ""
    origins: tuple[str, ...] = ()
    reason: str = ""
    fresh: bool = False


class Builder(Protocol):
    """Something that builds Dockerfiles and keeps the images."""

    @property
    def label(self) -> str:
        """What the user is told it is."""

    def base_identity(self, name: str, platform: str) -> str:
        """Return what stands for the content of the image *name*, which a build would start from.

        Raises:
            ImageNotFound: there is no such image.
        """

    def image_name(self, tag: str) -> str:
        """Return the name under which it keeps the image with *tag*."""

    def image_id(self, name: str) -> str | None:
        """Return the id, ``sha256:...``, of the image that it keeps as *name*, None where it has none."""

    def build(self, recipe: Recipe, name: str, line: OnOutput) -> str:
        """Build *recipe* and keep the image as *name*; return what went wrong, or nothing."""

    def push(self, image: str, target: Reference, line: OnOutput) -> None:
        """Push an image that it keeps, by its id or name, as *target*."""


def build(builder: Builder, recipe: Recipe, name: str, say: OnOutput | None) -> None:
    """Build *recipe* with *builder*, which keeps the image as *name*.

    Every line of output goes to *say*; where that is None, all of it is kept for the error of a build that fails.

    Raises:
        DaemonError: the build failed.
        WorkspaceChanged: a file is no longer what the snapshot says.
    """
    output: list[str] = []
    line = say or output.append
    why = f"; {recipe.reason}" if recipe.reason else ""
    line(f"building {recipe.dockerfile} with {builder.label}{why}")
    if failure := builder.build(recipe, name, line):
        shown = "\n".join([*output, failure])
        raise DaemonError(
            f"building {recipe.dockerfile} failed:\n{shown}",
            hint=f"correct {recipe.dockerfile}, or what it copies and runs",
        )


def find_builder(
    connect: Callable[[], DockerClient], clients: Clients, reason: NeedsBuilder, *, command_line: bool, pushed: bool
) -> Builder:
    """Return the first builder that this machine has.

    Args:
        connect: gives the container engine, or raises.
        clients: of registries, which hold what a Dockerfile starts from.
        reason: why one is needed.
        command_line: the docker command line finds the same engine.
        pushed: the image goes to a repository, so it need not be in the engine.

    Raises:
        DaemonUnavailable: there is none, or the image has to go into an engine and none answers.
    """
    from topcoat.builders.engine_builder import engine_builder
    from topcoat.builders.tool_builder import tool_builder

    try:
        client = connect()
    except (DaemonUnavailable, MissingDependency) as error:
        tool = tool_builder(clients) if pushed else None
        if tool is None:
            raise _no_builder(reason, error, pushed=pushed) from error
        return tool
    return engine_builder(client, clients, command_line=command_line)


def _no_builder(
    reason: NeedsBuilder, error: DaemonUnavailable | MissingDependency, *, pushed: bool
) -> DaemonUnavailable:
    if pushed:
        lacks = f"that takes a builder, and there is none: {error.message}; neither podman nor buildah is installed"
        remedies = [reason.hint, "start Docker, or install podman or buildah"]
    else:
        lacks = f"that takes a container engine, which then has the image: {error.message}"
        remedies = [reason.hint, error.hint, "push the image with -cfg image_repo=REGISTRY/REPOSITORY"]
    return DaemonUnavailable(f"{reason.message}; {lacks}", hint="; or ".join(filter(None, remedies)))


def context_tar(recipe: Recipe, *, dockerfile: bool) -> BinaryIO:
    """Return the build context as a tar: the snapshot, with *dockerfile* that file even where the snapshot lacks it.

    Raises:
        WorkspaceChanged: a file is no longer what the snapshot says.
    """
    snapshot = recipe.scan.snapshot
    options = PackOptions(b"", (), preserve_mtimes=snapshot.preserve_mtimes, compression="none")
    packed = pack(EntryGroup(snapshot.entries, ()), recipe.scan, options)
    name = recipe.dockerfile.encode()
    if dockerfile and snapshot.find(name) is None:
        entry = Entry(name, "file", 0o644, len(recipe.text), hashlib.sha256(recipe.text).digest(), 0)
        packed.blob.seek(-len(END), 2)
        head = header(name, entry, Ownership(), derived_mtime(entry))
        packed.blob.write(head + recipe.text + padding(len(recipe.text)) + END)
        packed.blob.seek(0)
    return packed.blob


def run_streaming(
    command: Sequence[str], line: OnOutput, *, env: Mapping[str, str], stdin: BinaryIO | None = None
) -> int:
    """Run *command* and return its exit code; each line that it prints goes to *line* at once.

    Args:
        command: program and arguments.
        line: takes stdout and stderr, line by line.
        env: variables on top of this process's.
        stdin: what it is fed with; nothing by default.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **env},
    )

    def feed() -> None:
        assert process.stdin is not None
        # A builder that fails stops reading.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            if stdin is not None:
                shutil.copyfileobj(stdin, process.stdin, _BLOCK)

    # It writes while it reads, so it is fed from a thread.
    feeding = Task(feed)
    with process:
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line(raw.decode("utf-8", "backslashreplace").rstrip())
        except BaseException:
            # Nobody listens any more; without this, leaving the block would wait for the whole build.
            process.kill()
            raise
        finally:
            feeding.wait()
    return process.returncode
