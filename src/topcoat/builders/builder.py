"""Build a Dockerfile with a builder: the build, the context that a builder gets, and its output."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from topcoat.errors import DaemonError
from topcoat.notices import SLOW_S, notice, notice_if_slow
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import PackOptions, pack
from topcoat.pack.tar import END, Ownership, derived_mtime, header, padding
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry
from topcoat.tasks import Task

if TYPE_CHECKING:
    from topcoat.oci.reference import Reference

_BLOCK = 1 << 20
_QUICK_TIMEOUT_S = 60
_MAX_SILENCE_S = 3600
_POLL_S = 1.0

OnOutput = Callable[[str], None]
"""Called with each line of a build's output."""


class Recipe(NamedTuple):
    """What is built, with *scan* as the context.

    Attributes:
        dockerfile: the Dockerfile's name in the context.
        text: its text; the context may have the file or not.
        platform: the image's; empty for the builder's own.
        base_images: that it starts from or copies from, if they are known.
        reason: why it needs a builder.
        no_cache: build without the builder's cache.
        labels: of the image.
    """

    scan: Scan
    dockerfile: str
    text: bytes
    args: Mapping[str, str]
    platform: str = ""
    base_images: tuple[str, ...] = ()
    reason: str = ""
    no_cache: bool = False
    labels: Mapping[str, str] = MappingProxyType({})

    def flags(self) -> list[str]:
        """Return the flags that the command lines of all builders share."""
        flags = ["--platform", self.platform] if self.platform else []
        flags += ["--no-cache"] if self.no_cache else []
        for key, value in self.args.items():
            flags += ["--build-arg", f"{key}={value}"]
        for key, value in self.labels.items():
            flags += ["--label", f"{key}={value}"]
        return flags


class Builder(Protocol):
    """Something that builds Dockerfiles and keeps the images."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    def base_tag_inputs(self, name: str, platform: str) -> list[object]:
        """Return what the base image *name* adds to the inputs of a tag (`images.tag.base_tag_inputs`).

        Raises:
            ImageNotFound: there is no such image.
        """

    def image_name(self, tag: str) -> str:
        """Return the name under which it keeps the image with *tag*."""

    def image_id(self, name: str) -> str | None:
        """Return the id, ``sha256:...``, of the image that it keeps as *name*; None without one."""

    def has_labels(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether the image that it keeps as *name* has *labels*: somebody may have moved the name."""

    def build(self, recipe: Recipe, name: str, on_output: OnOutput) -> str:
        """Build *recipe* and keep the image as *name*; return an error message, empty after success."""

    def push(self, image: str, target: Reference, on_output: OnOutput) -> None:
        """Push an image that it keeps, by its id or name, as *target*."""


def build(builder: Builder, recipe: Recipe, name: str, on_output: OnOutput | None) -> None:
    """Build *recipe* with *builder*, which keeps the image as *name*.

    *on_output* gets every line of output. If it is None, the error of a failed build shows all of them.

    Raises:
        DaemonError: the build failed.
        WorkspaceChanged: a file differs from the snapshot.
    """
    output: list[str] = []
    on_output = on_output or output.append
    why = f"; {recipe.reason}" if recipe.reason else ""
    on_output(f"building {recipe.dockerfile} with {builder.label}{why}")
    if failure := builder.build(recipe, name, on_output):
        message = "\n".join([f"building {recipe.dockerfile} failed:", *output, failure])
        raise DaemonError(message, hint=f"correct {recipe.dockerfile}, or what it copies and runs")


def context_tar(recipe: Recipe, *, dockerfile: bool) -> BinaryIO:
    """Return the build context as a tar: the snapshot and, with *dockerfile*, always the Dockerfile."""
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


def run_quick(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run *command*, which has no reason to take long, and return its result.

    Raises:
        DaemonError: it did not end in time.
    """
    words = shlex.join(command)
    try:
        with notice_if_slow(f"waiting for: {words}"):
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_QUICK_TIMEOUT_S
            )
    except subprocess.TimeoutExpired:
        raise DaemonError(f"{words} did not end within {_QUICK_TIMEOUT_S} s", hint="see where it hangs") from None


def run_streaming(
    command: Sequence[str], on_output: OnOutput, *, env: Mapping[str, str], stdin: BinaryIO | None = None
) -> int:
    """Run *command* and return its exit code; *on_output* gets each line of stdout and stderr at once.

    *env* is added to this process's environment; without *stdin*, the input is empty.

    Raises:
        DaemonError: the command printed nothing for an hour.
    """
    pipe, environment = subprocess.PIPE, {**os.environ, **env}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, env=environment)

    def feed() -> None:
        assert process.stdin is not None
        # A builder that fails stops reading.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            if stdin is not None:
                shutil.copyfileobj(stdin, process.stdin, _BLOCK)

    # It writes while it reads, so a thread feeds it.
    feeding = Task(feed)
    silence = _SilenceWatch(process, Path(command[0]).name)
    with process:
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                silence.heard()
                on_output(raw.decode("utf-8", "backslashreplace").rstrip())
        except BaseException:
            # Without this, leaving the block would wait for the whole build.
            process.kill()
            raise
        finally:
            silence.end()
            feeding.wait()
    if silence.is_too_long:
        raise DaemonError(
            f"{command[0]} printed nothing for {_MAX_SILENCE_S} s and was ended", hint="see where it hangs"
        )
    return process.returncode


class _SilenceWatch:
    """Tell the user once that *process* has printed nothing for a few seconds; kill it after an hour without output."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.is_too_long = False
        self._process, self._name = process, name
        self._last_output = time.monotonic()
        self._ended = threading.Event()
        self._task = Task(self._watch)

    def heard(self) -> None:
        self._last_output = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self._task.wait()

    def _watch(self) -> None:
        is_noticed = False
        while not self._ended.wait(_POLL_S):
            silence = time.monotonic() - self._last_output
            if silence > SLOW_S and not is_noticed:
                is_noticed = True
                notice(f"waiting for {self._name}")
            if silence > _MAX_SILENCE_S:
                self.is_too_long = True
                self._process.kill()
                return
