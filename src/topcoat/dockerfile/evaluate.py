"""Carry out a Dockerfile without a builder: what it would put into an image, and what it makes of the settings.

Everything here follows BuildKit's own frontend. What would run in the image, or come from elsewhere, is left to a
builder: then `NeedsBuilder` says which line asks for that.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from topcoat.dockerfile.check import Flags, Stage, check, check_instruction
from topcoat.dockerfile.context import Context
from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.image_filesystem import ImageFilesystem
from topcoat.dockerfile.parse import Dockerfile, Instruction, find_syntax, parse, wrong
from topcoat.dockerfile.paths import decode
from topcoat.dockerfile.scope import global_arguments, native_platform, platform_arguments
from topcoat.dockerfile.settings import Settings
from topcoat.dockerfile.stage_executor import StageExecutor
from topcoat.errors import (
    DaemonError,
    ImageError,
    InvalidDockerfile,
    InvalidReference,
    NeedsBuilder,
    NoSuchPlatform,
    RegistryError,
    TopcoatError,
    UsageError,
)
from topcoat.oci.config import ImageConfig
from topcoat.oci.platform import Platform
from topcoat.rootfs.nodes import BaseTree
from topcoat.scan.scanner import Scan
from topcoat.suggest import did_you_mean

# The frontends that these rules are those of.
_OWN_SYNTAX = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::(?:1(?:\.\d+){0,2}(?:-labs)?|latest|labs|stable))?(?:@sha256:\w+)?"
)


class StageBase(NamedTuple):
    """The image that a Dockerfile starts from: its config, and its file system."""

    config: ImageConfig
    tree: BaseTree


class Evaluated(NamedTuple):
    """What a Dockerfile comes to.

    Attributes:
        scan: what it puts into the image, as a snapshot of the root.
        settings: keys of the config that change, None for one that goes away.
        author: what ``MAINTAINER`` says; None where nothing does.
        working_dir: of the image that it makes.
    """

    scan: Scan
    settings: Mapping[str, Any]
    author: str | None
    working_dir: str


def evaluate(
    text: bytes,
    name: str,
    scan: Scan,
    given: Mapping[str, str],
    find: Callable[[str, str], StageBase],
    *,
    platform: str = "",
) -> Evaluated:
    """Carry out the Dockerfile *text*.

    Args:
        text: the Dockerfile.
        name: for messages.
        scan: the context.
        given: build arguments.
        find: looks up an image by its name, for a platform or, where that is empty, for the usual one.
        platform: that the image is wanted for; empty for the usual one.

    Raises:
        InvalidDockerfile: it cannot be understood, or asks for what is not there; with file and line.
        NeedsBuilder: only a builder can carry it out; with file and line.
        ImageError, RegistryError, DaemonError: the image that it starts from cannot be had; with file and line.
    """
    # All that is written wrong is said before a builder is asked for.
    syntax = given.get("BUILDKIT_SYNTAX") or find_syntax(text)
    if syntax and not _OWN_SYNTAX.fullmatch(syntax):
        raise NeedsBuilder(f"{name}:1: the syntax is that of {syntax}")
    dockerfile = parse(text, name)
    try:
        parts = check(dockerfile)
    except InvalidDockerfile as error:
        if not syntax:
            raise
        # Whoever names a version of the syntax may mean one that knows more.
        raise NeedsBuilder(error.message) from error
    return _Evaluation(dockerfile, scan, given, find, platform).run(*parts)


class _Evaluation:
    def __init__(
        self,
        dockerfile: Dockerfile,
        scan: Scan,
        given: Mapping[str, str],
        find: Callable[[str, str], StageBase],
        platform: str,
    ) -> None:
        self._file = dockerfile
        self._scan = scan
        self._given = given
        self._find = find
        self._platform = platform
        self._globals: dict[str, str] = {}
        self._declared: set[str] = set()

    def run(self, arguments: tuple[Instruction, ...], stages: tuple[Stage, ...]) -> Evaluated:
        self._declared = {word.partition("=")[0] for argument in arguments for word in argument.words}
        target = Platform.parse(self._platform) if self._platform else native_platform()
        self._globals = platform_arguments(target, stages[-1].name, self._given)
        for argument in arguments:
            with self._at(argument):
                self._globals = global_arguments((argument,), self._globals, self._given, self._file.escape)
        chain = self._chain(stages)
        first, base = chain[0]
        with self._at(first.start):
            wanted = self._platform_of(first)
        for stage, _ in chain:
            for instruction in stage.instructions:
                with self._at(instruction):
                    _leave_to_builder(instruction, check_instruction(instruction))
        with self._at(first.start):
            origin = self._look_up(first, base, wanted, [stage.name for stage in stages if stage.name])
        if not wanted:
            actual = platform_arguments(origin.config.platform, stages[-1].name, self._given)
            chosen = {word.partition("=")[0] for argument in arguments for word in argument.words if "=" in word}
            self._globals.update({key: value for key, value in actual.items() if key not in chosen})
        context, settings, overlay = Context(self._scan), Settings(origin.config), ImageFilesystem(origin.tree)
        work = StageExecutor(self._file.escape, context, overlay, settings, self._globals, self._given)
        for number, (stage, _) in enumerate(chain):
            if number:
                settings.next_stage()
            for trigger in settings.triggers:
                self._carry_out_trigger(work, trigger, stage.start)
            for instruction in stage.instructions:
                with self._at(instruction):
                    work.carry_out(instruction, check_instruction(instruction))
        for instruction, directory in work.unmatched:
            if directory and not context.is_sent(directory):
                with self._at(instruction):
                    raise ValueError(f"nothing in /{decode(directory)} of the workspace matches")
        result = overlay.scan(preserve_mtimes=self._scan.snapshot.preserve_mtimes)
        return Evaluated(result, settings.changes(), settings.author, settings.working_dir)

    def _look_up(self, stage: Stage, image: str, platform: str, stages: list[str]) -> StageBase:
        """Look up what a stage starts from; what goes wrong keeps its class, and names file, line and image."""
        try:
            return self._find(image, platform)
        except NeedsBuilder:
            raise
        except InvalidReference as error:
            hint = self._undeclared(stage) or error.hint
            raise wrong(self._file.name, stage.start.line, error.message, hint) from error
        except (ImageError, RegistryError, DaemonError) as error:
            named = copy.copy(error)  # the same one may be raised for other callers
            named.message = f"{self._file.name}:{stage.start.line}: FROM {image}: {error.message}"
            named.args = (named.message,)
            if isinstance(error, NoSuchPlatform) and stage.platform:
                named.hint = f"name another platform in FROM --platform={stage.platform}, or leave the flag out"
            elif meant := did_you_mean(image.lower(), stages, prefix="the stage "):
                named.hint = "; or else ".join(filter(None, (meant, error.hint)))
            else:
                named.hint = self._undeclared(stage) or error.hint
            raise named from error

    def _undeclared(self, stage: Stage) -> str | None:
        """Return a hint for the variables without a value in what a stage starts from."""
        hints = []
        for name in dict.fromkeys(expand(stage.base, self._globals, self._file.escape).unset):
            if name in self._declared:
                hints.append(f"{name} has no value: give it one with build_args={name}:VALUE")
            else:
                # The role's image is given to whatever declares it.
                argument = f"ARG {name}" if name in ("IMAGE", *self._given) else f"ARG {name}=VALUE"
                hints.append(f"put {argument} ahead of the first FROM: {name} is not declared there")
        return "; ".join(hints) or None

    @contextmanager
    def _at(self, instruction: Instruction) -> Iterator[None]:
        """Name the line of *instruction* in what goes wrong."""
        try:
            yield
        except NeedsBuilder as error:
            raise NeedsBuilder(f"{self._file.name}:{instruction.line}: {error.message}", hint=error.hint) from None
        except TopcoatError as error:
            # What is written in the file is wrong, and not what was found on the way.
            if type(error) not in (InvalidReference, UsageError):
                raise
            raise wrong(self._file.name, instruction.line, error.message, error.hint) from error
        except ValueError as error:
            raise wrong(self._file.name, instruction.line, str(error)) from error

    def _chain(self, stages: tuple[Stage, ...]) -> list[tuple[Stage, str]]:
        """Return the last stage and those that it starts from, the first of them first, with what each starts from."""
        bases: list[str] = []
        named: dict[str, int] = {}
        origins: list[int | None] = []
        for number, stage in enumerate(stages):
            with self._at(stage.start):
                base = expand(stage.base, self._globals, self._file.escape).text
                if not base:
                    what = f"base name ({stage.base}) should not be blank"
                    raise wrong(self._file.name, stage.start.line, what, self._undeclared(stage))
            bases.append(base)
            origins.append(named.get(base))
            if stage.name:
                named[stage.name] = number
        chain: list[tuple[Stage, str]] = []
        at: int | None = len(stages) - 1
        while at is not None:
            chain.insert(0, (stages[at], bases[at]))
            at = origins[at]
        first, base = chain[0]
        if base == "scratch":
            with self._at(first.start):
                raise NeedsBuilder("FROM scratch starts from nothing")
        return chain

    def _platform_of(self, stage: Stage) -> str:
        """Return the platform that a stage asks its base for."""
        if not stage.platform:
            return self._platform
        text = expand(stage.platform, self._globals, self._file.escape).text
        if not text:
            raise ValueError(f"empty platform value from expression {stage.platform}")
        named = Platform.parse(text if "/" in text else f"linux/{text}")
        if self._platform and not Platform.parse(self._platform).matches(named):
            raise NeedsBuilder(f"an image for {self._platform} is built from one for {named}")
        return str(named)

    def _carry_out_trigger(self, work: StageExecutor, trigger: str, start: Instruction) -> None:
        """Carry out what the image that a stage starts from has left for it."""
        with self._at(start):
            try:
                found = parse(trigger.encode("utf-8", "surrogateescape"), "ONBUILD").instructions
            except InvalidDockerfile as error:
                raise ValueError(f"a trigger of the base image: {error.message}") from None
            if len(found) != 1:
                raise ValueError("a trigger of the base image is not a single instruction")
            instruction = found[0]._replace(line=start.line)
            whose = f"a trigger of the base image (ONBUILD {instruction.name})"
            try:
                flags = check_instruction(instruction)
                _leave_to_builder(instruction, flags)
                work.carry_out(instruction, flags)
            except NeedsBuilder as error:
                raise NeedsBuilder(f"{whose}: {error.message}", hint=error.hint) from None
            except ValueError as error:
                if isinstance(error, TopcoatError):
                    raise
                raise ValueError(f"{whose}: {error}") from error


def _leave_to_builder(instruction: Instruction, flags: Flags) -> None:
    """Refuse what takes a builder, before anything is looked up."""
    if instruction.name == "RUN":
        raise NeedsBuilder("RUN runs a command in the image")
    if instruction.name not in ("ADD", "COPY"):
        return
    for flag, why in (("from", "copies from another image"), ("link", "makes a layer of its own")):
        value = flags.get(flag, ("",))[0]
        if value not in ("", "false"):
            raise NeedsBuilder(f"{instruction.name} --{flag} {why}")
