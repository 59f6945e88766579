"""Build arguments: those that are there by themselves, those ahead of the first stage, those inside one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.parse import Instruction
from topcoat.oci.platform import Platform

# BuildKit keeps these to itself.
_NOT_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


def native_platform() -> Platform:
    """Return what containers on this machine run on."""
    import platform as host_platform

    return Platform.parse(f"linux/{host_platform.machine() or 'amd64'}")


def platform_arguments(target: Platform, stage: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments that every Dockerfile has: the platforms of builder and image, and the stage's name."""
    native = native_platform()
    found = {}
    for name, platform in (("BUILD", native), ("TARGET", target)):
        found[f"{name}PLATFORM"] = str(platform)
        found[f"{name}OS"] = platform.os
        found[f"{name}OSVERSION"] = ""
        found[f"{name}ARCH"] = platform.architecture
        found[f"{name}VARIANT"] = platform.variant
    found["TARGETSTAGE"] = stage or "default"
    return {name: given.get(name, value) for name, value in found.items()}


def global_arguments(
    instructions: Iterable[Instruction], built_in: Mapping[str, str], given: Mapping[str, str], escape: str
) -> dict[str, str]:
    """Return the arguments for ``FROM``: *built_in* ones, and those that *instructions* ahead of it declare.

    Raises:
        ValueError: a default that cannot be expanded.
    """
    known = dict(built_in)
    for instruction in instructions:
        for word in instruction.words:
            name, has_default, default = word.partition("=")
            if name in given:
                known[name] = given[name]
            elif has_default:
                known[name] = expand(default, known, escape).text
    return known


def declare(
    instruction: Instruction,
    scope: dict[str, str],
    outside: Mapping[str, str],
    given: Mapping[str, str],
    escape: str,
) -> None:
    """Add to *scope* what an ``ARG`` inside a stage declares: as *given*, else its default, else as *outside*.

    Raises:
        ValueError: a default that cannot be expanded.
    """
    for word in instruction.words:
        name, has_default, default = word.partition("=")
        value = given.get(name)
        if value is None:
            value = expand(default, scope, escape).text if has_default else outside.get(name)
        if value is not None and name not in _NOT_VARIABLES:
            scope[name] = value
