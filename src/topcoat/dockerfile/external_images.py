"""Which images a Dockerfile that a builder carries out builds on."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.dockerfile.check import check
from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.parse import parse
from topcoat.dockerfile.scope import global_arguments, native_platform, platform_arguments
from topcoat.errors import InvalidDockerfile, NeedsBuilder
from topcoat.oci.platform import Platform


def external_images(text: bytes, args: Mapping[str, str], platform: str = "") -> tuple[str, ...] | None:
    """Return the images outside the Dockerfile that its stages start from or copy from, each once.

    Args:
        text: the Dockerfile.
        args: build arguments.
        platform: that is built for; empty for this machine's.

    Returns:
        None where that cannot be told: a variable without a value, or a Dockerfile that nobody understands.
    """
    try:
        dockerfile = parse(text, "Dockerfile")
        arguments, stages = check(dockerfile)
        target = Platform.parse(platform) if platform else native_platform()
        built_in = platform_arguments(target, stages[-1].name, args)
        known = global_arguments(arguments, built_in, args, dockerfile.escape)
        names: set[str] = set()
        found: dict[str, None] = {}
        for stage in stages:
            base = expand(stage.base, known, dockerfile.escape)
            if base.unset or not base.text:
                return None
            if base.text not in names and base.text != "scratch":
                found[base.text] = None
            names.add(stage.name)
            for instruction in stage.instructions:
                for source in _sources(instruction.flags):
                    if "$" in source:
                        return None
                    if source.lower() not in names and not source.isdecimal():
                        found[source] = None
    except (InvalidDockerfile, NeedsBuilder, ValueError):
        return None
    return tuple(found)


def declared_arguments(text: bytes) -> frozenset[str]:
    """Return the names of all build arguments that a Dockerfile declares; none where nobody understands it."""
    try:
        found = parse(text, "Dockerfile").instructions
    except InvalidDockerfile:
        return frozenset()
    return frozenset(word.partition("=")[0] for one in found if one.name == "ARG" for word in one.words)


def _sources(flags: tuple[str, ...]) -> list[str]:
    """Return what ``--from`` and ``--mount=from=`` name."""
    words = [word for flag in flags for word in flag.removeprefix("--mount=").removeprefix("--").split(",")]
    return [source for word in words if (source := word.removeprefix("from=")) != word and source]
