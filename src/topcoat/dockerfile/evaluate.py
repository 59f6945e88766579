"""Evaluate a Dockerfile without a builder: the files that it puts into an image, and the image's settings.

The rules are those of BuildKit's frontend. If a line needs a builder, `NeedsBuilder` names it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from topcoat.dockerfile.context import Context
from topcoat.dockerfile.expand import Scope, expand
from topcoat.dockerfile.image_filesystem import ImageFilesystem
from topcoat.dockerfile.parse import Dockerfile, Instruction, Stage
from topcoat.dockerfile.paths import inside
from topcoat.dockerfile.scope import global_arguments, native_platform, platform_arguments
from topcoat.dockerfile.settings import Settings
from topcoat.dockerfile.stage_executor import StageExecutor, check_supported
from topcoat.errors import (
    DaemonError,
    ImageError,
    InvalidImage,
    InvalidReference,
    NeedsBuilder,
    NoSuchPlatform,
    RegistryError,
    TopcoatError,
    UsageError,
)
from topcoat.oci.config import ImageConfig
from topcoat.oci.platform import Platform
from topcoat.rootfs.access import numeric_user, warn_of_closed_directories
from topcoat.rootfs.nodes import BaseTree
from topcoat.rootfs.target import resolve_target
from topcoat.scan.scanner import Scan
from topcoat.suggest import did_you_mean

# The frontend that these rules are taken from.
_OWN_SYNTAX = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::(?:1(?:\.\d+){0,2}(?:-labs)?|latest|labs|stable))?(?:@sha256:\w+)?"
)


class StageBase(NamedTuple):
    """The image that a Dockerfile starts from: its config, and its file system."""

    config: ImageConfig
    tree: BaseTree


FindBase = Callable[[str, str], StageBase]
"""Looks up an image by its name, for a platform; an empty one means the default."""


class Evaluated(NamedTuple):
    """The result of a Dockerfile.

    Attributes:
        scan: the files that it puts into the image, as a snapshot of the root.
        settings: keys of the config that change, None for one that is removed.
        author: that ``MAINTAINER`` names; None without one.
    """

    scan: Scan
    settings: Mapping[str, Any]
    author: str | None
    working_dir: str


def evaluate(
    dockerfile: Dockerfile, scan: Scan, args: Mapping[str, str], find_base: FindBase, *, platform: str = ""
) -> Evaluated:
    """Evaluate *dockerfile* with the context *scan* and the build arguments *args*.

    *platform* is that of the image, empty for the default one; *find_base* looks up the image that it starts from.

    Raises:
        InvalidDockerfile: unknown, misplaced or malformed instruction, or a missing source; with file and line.
        NeedsBuilder: only a builder can carry it out; with file, line and instruction.
        ImageError, RegistryError, DaemonError: the base cannot be looked up; with file and line.
    """
    syntax = args.get("BUILDKIT_SYNTAX") or dockerfile.syntax
    if syntax and not _OWN_SYNTAX.fullmatch(syntax):
        raise NeedsBuilder(f"{dockerfile.name}:1: the syntax is that of {syntax}")
    # A mistake is reported before the need for a builder. But a file that names a syntax may use a newer one.
    if dockerfile.error and syntax:
        raise NeedsBuilder(dockerfile.error.message) from dockerfile.error
    if dockerfile.error:
        raise dockerfile.error
    return _Evaluation(dockerfile, args, platform).run(scan, find_base)


class _Evaluation:
    """The evaluation of the last stage of a Dockerfile."""

    def __init__(self, dockerfile: Dockerfile, args: Mapping[str, str], platform: str) -> None:
        self._file = dockerfile
        self._stage = dockerfile.stages[-1]
        self._args = args
        self._platform = platform
        target = Platform.parse(platform) if platform else native_platform()
        self._globals = Scope(platform_arguments(target, self._stage.name, args))

    def run(self, scan: Scan, find_base: FindBase) -> Evaluated:
        for argument in self._file.arguments:
            with self._at(argument):
                self._globals = global_arguments((argument,), self._globals, self._args, self._file.escape)
        image = self._base_name()
        with self._at(self._stage.start):
            platform = self._base_platform()
        for instruction in self._stage.instructions:
            with self._at(instruction):
                check_supported(instruction)
        with self._at(self._stage.start):
            base = self._look_up(find_base, image, platform)
            if triggers := base.config.settings.get("OnBuild"):
                raise NeedsBuilder(f"the base image has ONBUILD triggers: {'; '.join(map(str, triggers))}")
        if not platform:
            actual = platform_arguments(base.config.platform, self._stage.name, self._args)
            chosen = {word.partition("=")[0] for arg in self._file.arguments for word in arg.words if "=" in word}
            self._globals.update({name: value for name, value in actual.items() if name not in chosen})
        settings, filesystem = Settings(base.config), ImageFilesystem(base.tree)
        executor = StageExecutor(
            self._file.escape, Context(scan), filesystem, settings, global_args=self._globals, args=self._args
        )
        for instruction in self._stage.instructions:
            with self._at(instruction):
                executor.carry_out(instruction)
        if numeric_user(settings.user):
            with suppress(InvalidImage):
                way = resolve_target(filesystem, inside(settings.working_dir)).parents
                warn_of_closed_directories(way, settings.user, settings.working_dir)
        result = filesystem.scan(preserve_mtimes=scan.snapshot.preserve_mtimes)
        return Evaluated(result, settings.changes(), settings.author, settings.working_dir)

    def _base_name(self) -> str:
        """Return the image that the last stage starts from; the images of other stages must not be blank either."""
        names: set[str] = set()
        base = ""
        for stage in self._file.stages:
            with self._at(stage.start):
                base = expand(stage.base, self._globals, self._file.escape).text
                if not base:
                    raise self._file.wrong(
                        stage.start, f"base name ({stage.base}) should not be blank", self._undeclared(stage)
                    )
                if stage is self._stage and base == "scratch":
                    raise NeedsBuilder("the stage starts from nothing")
                if stage is self._stage and base in names:
                    raise NeedsBuilder("the stage starts from an earlier one")
            names.add(stage.name)
        return base

    def _base_platform(self) -> str:
        """Return the platform that the last stage asks its base for."""
        written = self._stage.platform
        if not written:
            return self._platform
        text = expand(written, self._globals, self._file.escape).text
        if not text:
            raise ValueError(f"empty platform value from expression {written}")
        platform = Platform.parse(text if "/" in text else f"linux/{text}")
        if self._platform and not Platform.parse(self._platform).matches(platform):
            raise NeedsBuilder(f"an image for {self._platform} is built from one for {platform}")
        return str(platform)

    def _look_up(self, find_base: FindBase, image: str, platform: str) -> StageBase:
        """Look up the base. An error keeps its class, and names file, line and image."""
        start = self._stage.start
        try:
            return find_base(image, platform)
        except NeedsBuilder:
            raise
        except InvalidReference as error:
            raise self._file.wrong(start, error.message, self._undeclared(self._stage) or error.hint) from error
        except (ImageError, RegistryError, DaemonError) as error:
            located = copy.copy(error)  # the same object may be raised for other callers
            located.message = f"{self._file.name}:{start.line}: FROM {image}: {error.message}"
            located.args = (located.message,)
            names = [stage.name for stage in self._file.stages if stage.name]
            if isinstance(error, NoSuchPlatform) and self._stage.platform:
                located.hint = f"name another platform in FROM --platform={self._stage.platform}, or leave the flag out"
            elif meant := did_you_mean(image.lower(), names, prefix="the stage "):
                located.hint = "; or else ".join(filter(None, (meant, error.hint)))
            else:
                located.hint = self._undeclared(self._stage) or error.hint
            raise located from error

    def _undeclared(self, stage: Stage) -> str | None:
        """Return a hint for the variables without a value in the base of a stage."""
        declared = {word.partition("=")[0] for argument in self._file.arguments for word in argument.words}
        hints = []
        for name in dict.fromkeys(expand(stage.base, self._globals, self._file.escape).unset):
            if name in declared:
                hints.append(f"{name} has no value: give it one with build_args={name}:VALUE")
            else:
                # The role's image is given to a Dockerfile that declares it.
                argument = f"ARG {name}" if name in ("IMAGE", *self._args) else f"ARG {name}=VALUE"
                hints.append(f"put {argument} before the first FROM: {name} is not declared there")
        return "; ".join(hints) or None

    @contextmanager
    def _at(self, instruction: Instruction) -> Iterator[None]:
        """Name *instruction* in the errors of a ``with`` block."""
        try:
            yield
        except NeedsBuilder as error:
            message = f"{self._file.name}:{instruction.line}: {error.message} ({instruction})"
            raise NeedsBuilder(message, hint=error.hint) from None
        except TopcoatError as error:
            # These two are mistakes in the file; the others are about what it refers to.
            if type(error) not in (InvalidReference, UsageError):
                raise
            raise self._file.wrong(instruction, error.message, error.hint) from error
        except ValueError as error:
            raise self._file.wrong(instruction, str(error)) from error
