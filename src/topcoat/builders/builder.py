"""Build a Dockerfile with a builder: the build, and the context that a builder gets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from topcoat.builders.programs import OnOutput
from topcoat.errors import DaemonError
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import PackOptions, pack
from topcoat.pack.tar import END, Ownership, derived_mtime, header, padding
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry

if TYPE_CHECKING:
    from topcoat.oci.reference import Reference


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
