"""Carry out a Dockerfile without a builder: what it would put into an image, and what it makes of the settings.

Everything here follows BuildKit's own frontend. What would run in the image, or come from elsewhere, is left to a
builder: then `NeedsBuilder` says which line asks for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from topcoat.dockerfile.check import Flags, Stage, check, check_instruction
from topcoat.dockerfile.context import Context
from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.overlay import Overlay
from topcoat.dockerfile.parse import Dockerfile, Instruction, find_syntax, parse, wrong
from topcoat.dockerfile.paths import decode
from topcoat.dockerfile.scope import global_arguments, native_platform, platform_arguments
from topcoat.dockerfile.settings import Settings
from topcoat.dockerfile.work import Work
from topcoat.errors import InvalidDockerfile, InvalidReference, NeedsBuilder, TopcoatError, UsageError
from topcoat.oci.config import ImageConfig
from topcoat.oci.platform import Platform
from topcoat.oci.rootfs import BaseTree
from topcoat.scan.scanner import Scan

# The frontends that these rules are those of.
_OWN_SYNTAX = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::(?:1(?:\.\d+){0,2}(?:-labs)?|latest|labs|stable))?(?:@sha256:\w+)?"
)


class Origin(NamedTuple):
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
    find: Callable[[str, str], Origin],
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
        ImageError: the image that it starts from cannot be had.
    """
    syntax = given.get("BUILDKIT_SYNTAX") or find_syntax(text)
    if syntax and not _OWN_SYNTAX.fullmatch(syntax):
        raise NeedsBuilder(f"{name}:1: the syntax is that of {syntax}")
    return _Evaluation(parse(text, name), scan, given, find, platform).run()


class _Evaluation:
    def __init__(
        self,
        dockerfile: Dockerfile,
        scan: Scan,
        given: Mapping[str, str],
        find: Callable[[str, str], Origin],
        platform: str,
    ) -> None:
        self._file = dockerfile
        self._scan = scan
        self._given = given
        self._find = find
        self._platform = platform
        self._globals: dict[str, str] = {}

    def run(self) -> Evaluated:
        arguments, stages = self._check()
        target = Platform.parse(self._platform) if self._platform else native_platform()
        self._globals = platform_arguments(target, stages[-1].name, self._given)
        for argument in arguments:
            with self._at(argument):
                self._globals = global_arguments((argument,), self._globals, self._given, self._file.escape)
        chain = self._chain(stages)
        for stage, _ in chain:
            for instruction in stage.instructions:
                self._leave_to_builder(instruction, check_instruction(instruction))
        first, base = chain[0]
        with self._at(first.start):
            wanted = self._platform_of(first)
            origin = self._find(base, wanted)
        if not wanted:
            actual = platform_arguments(origin.config.platform, stages[-1].name, self._given)
            chosen = {word.partition("=")[0] for argument in arguments for word in argument.words if "=" in word}
            self._globals.update({key: value for key, value in actual.items() if key not in chosen})
        context, settings, overlay = Context(self._scan), Settings(origin.config), Overlay(origin.tree)
        work = Work(self._file.escape, context, overlay, settings, self._globals, self._given)
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
        result = overlay.scan(times=self._scan.snapshot.times, warnings=self._scan.warnings)
        return Evaluated(result, settings.changes(), settings.author, settings.working_dir)

    def _check(self) -> tuple[tuple[Instruction, ...], tuple[Stage, ...]]:
        try:
            return check(self._file)
        except InvalidDockerfile:
            # What a builder takes on anyway is for the builder to judge: it may know more than this.
            for instruction in self._file.instructions:
                if instruction.name == "RUN":
                    self._leave_to_builder(instruction, {})
            raise

    @contextmanager
    def _at(self, instruction: Instruction) -> Iterator[None]:
        """Name the line of *instruction* in what goes wrong."""
        try:
            yield
        except NeedsBuilder as error:
            if error.message.startswith(f"{self._file.name}:"):
                raise
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
                    raise ValueError(f"base name ({stage.base}) should not be blank")
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

    def _leave_to_builder(self, instruction: Instruction, flags: Flags) -> None:
        """Refuse what takes a builder, before anything is looked up."""
        with self._at(instruction):
            if instruction.name == "RUN":
                raise NeedsBuilder("RUN runs a command in the image")
            if instruction.name not in ("ADD", "COPY"):
                return
            for flag, why in (("from", "copies from another image"), ("link", "makes a layer of its own")):
                value = flags.get(flag, ("",))[0]
                if value not in ("", "false"):
                    raise NeedsBuilder(f"{instruction.name} --{flag} {why}")

    def _carry_out_trigger(self, work: Work, trigger: str, start: Instruction) -> None:
        """Carry out what the image that a stage starts from has left for it."""
        with self._at(start):
            try:
                found = parse(trigger.encode("utf-8", "surrogateescape"), "ONBUILD").instructions
            except InvalidDockerfile as error:
                raise ValueError(f"a trigger of the base image: {error.message}") from None
            if len(found) != 1:
                raise ValueError("a trigger of the base image is not a single instruction")
            flags = check_instruction(found[0])
            instruction = found[0]._replace(line=start.line)
            self._leave_to_builder(instruction, flags)
            work.carry_out(instruction, flags)
