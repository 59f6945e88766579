"""Build a Dockerfile with the container engine: by BuildKit where there is one, else by its classic builder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from topcoat.destinations.engine import engine_errors
from topcoat.errors import DaemonError
from topcoat.pack.cut import Chunk
from topcoat.pack.layer import PackOptions, pack
from topcoat.pack.tar import END, Ownership, derived_mtime, header, padding
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.tasks import Task

if TYPE_CHECKING:
    from docker import DockerClient

_BLOCK = 1 << 20


class Recipe(NamedTuple):
    """What is built: the context, and the Dockerfile by its name there and its text, with build arguments."""

    scan: Scan
    dockerfile: str
    text: bytes
    args: Mapping[str, str]
    platform: str = ""


def build_with_engine(
    client: DockerClient, recipe: Recipe, name: str, say: Callable[[str], None] | None, *, command_line: bool = True
) -> None:
    """Build *recipe* and leave the image in the engine as *name*.

    Every line of output goes to *say*; where that is None, all of it is kept for the error of a build that fails.
    BuildKit's client is the docker command line, which finds the engine by itself: pass *command_line* False where
    *client* may be of another engine.

    Raises:
        DaemonError: the build failed.
        WorkspaceChanged: a file is no longer what the snapshot says.
    """
    output: list[str] = []

    def line(text: str) -> None:
        if say is None:
            output.append(text)
        else:
            say(text)

    command = _buildkit_command() if command_line else None
    with _context(recipe) as context:
        if command is None:
            failure = _build_classic(client, recipe, name, context, line)
        else:
            failure = _build_command(command, recipe, name, context, line)
    if failure:
        shown = "\n".join([*output, failure])
        raise DaemonError(
            f"building {recipe.dockerfile} failed:\n{shown}",
            hint=f"correct {recipe.dockerfile}, or what it copies and runs",
        )


def _context(recipe: Recipe) -> BinaryIO:
    """Return the build context as a tar: the snapshot, and the Dockerfile even where the snapshot leaves it out."""
    entries = recipe.scan.snapshot.entries
    packed = pack(Chunk(entries, ()), recipe.scan, PackOptions(b"", (), compression="none"))
    name = recipe.dockerfile.encode()
    if not any(entry.path == name for entry in entries):
        entry = Entry(name, "file", 0o644, len(recipe.text), hashlib.sha256(recipe.text).digest(), 0)
        packed.blob.seek(-len(END), 2)
        head = header(name, entry, Ownership(), derived_mtime(entry))
        packed.blob.write(head + recipe.text + padding(len(recipe.text)) + END)
        packed.blob.seek(0)
    return packed.blob


def _buildkit_command() -> list[str] | None:
    """Return the start of a command that builds with BuildKit and loads the result, None where there is none."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    probe = subprocess.run([docker, "buildx", "version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return [docker, "buildx", "build", "--load"]
    # The command line of Docker 20.10 brings BuildKit's client along; later ones need buildx.
    version = subprocess.run([docker, "--version"], capture_output=True, text=True, check=False).stdout
    return [docker, "build"] if version.startswith("Docker version 20.") else None


def _build_command(
    command: list[str], recipe: Recipe, name: str, context: BinaryIO, line: Callable[[str], None]
) -> str:
    """Build with the docker command line; return what went wrong, or nothing."""
    flags = ["--progress", "plain", "--file", recipe.dockerfile, "--tag", name]
    flags += ["--platform", recipe.platform] if recipe.platform else []
    for key, value in recipe.args.items():
        flags += ["--build-arg", f"{key}={value}"]
    process = subprocess.Popen(
        [*command, *flags, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )

    def feed() -> None:
        assert process.stdin is not None
        # A builder that fails stops reading.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            shutil.copyfileobj(context, process.stdin, _BLOCK)

    # It writes while it reads, so it is fed from a thread.
    feeding = Task(feed)
    with process:
        assert process.stdout is not None
        for raw in process.stdout:
            line(raw.decode("utf-8", "backslashreplace").rstrip())
        feeding.wait()
    return f"docker build ended with exit code {process.returncode}" if process.returncode else ""


def _build_classic(
    client: DockerClient, recipe: Recipe, name: str, context: BinaryIO, line: Callable[[str], None]
) -> str:
    """Build through the engine's API; return what went wrong, or nothing."""
    with engine_errors(f"building {recipe.dockerfile}"):
        events: Iterator[dict[str, object]] = client.api.build(
            fileobj=context,
            custom_context=True,
            dockerfile=recipe.dockerfile,
            tag=name,
            buildargs=dict(recipe.args),
            platform=recipe.platform or None,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in events:
            if event.get("error"):
                return str(event["error"]).rstrip()
            for text in str(event.get("stream") or event.get("status") or "").splitlines():
                if text.strip():
                    line(text)
    return ""
