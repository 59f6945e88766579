"""Build arguments: built-in ones, those ahead of the first stage, those inside one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from topcoat.dockerfile.expand import Scope, expand
from topcoat.dockerfile.parse import Instruction
from topcoat.oci.platform import Platform

# BuildKit keeps these to itself.
_NOT_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


def native_platform() -> Platform:
    """Return the platform of containers on this machine."""
    import platform as host_platform

    return Platform.parse(f"linux/{host_platform.machine() or 'amd64'}")


def platform_arguments(target: Platform, stage: str, args: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments that every Dockerfile has: the platforms of builder and image, and the stage's name."""
    built_in = {}
    for name, platform in (("BUILD", native_platform()), ("TARGET", target)):
        built_in[f"{name}PLATFORM"] = str(platform)
        built_in[f"{name}OS"] = platform.os
        built_in[f"{name}OSVERSION"] = ""
        built_in[f"{name}ARCH"] = platform.architecture
        built_in[f"{name}VARIANT"] = platform.variant
    built_in["TARGETSTAGE"] = stage or "default"
    return {name: args.get(name, value) for name, value in built_in.items()}


def global_arguments(
    instructions: Iterable[Instruction], built_in: Mapping[str, str], args: Mapping[str, str], escape: str
) -> Scope:
    """Return the arguments for ``FROM``: *built_in* ones, and those that *instructions* ahead of it declare."""
    scope = Scope(built_in)
    for word in [word for instruction in instructions for word in instruction.words]:
        name, has_default, default = word.partition("=")
        if name in args:
            scope[name] = args[name]
        elif has_default:
            scope[name] = expand(default, scope, escape).text
    return scope


def declare(
    instruction: Instruction,
    scope: Scope,
    global_args: Mapping[str, str],
    args: Mapping[str, str],
    escape: str,
) -> None:
    """Add to *scope* what an ``ARG`` inside a stage declares: its value in *args*, its default, or its global value."""
    for word in instruction.words:
        name, has_default, default = word.partition("=")
        value = args.get(name)
        if value is None:
            value = expand(default, scope, escape).text if has_default else global_args.get(name)
        if value is not None and name not in _NOT_VARIABLES:
            scope[name] = value
