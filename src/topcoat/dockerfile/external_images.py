"""Find the images that a Dockerfile builds on."""

from __future__ import annotations

from collections.abc import Mapping

from topcoat.dockerfile.expand import expand
from topcoat.dockerfile.parse import Dockerfile, Instruction
from topcoat.dockerfile.scope import global_arguments, native_platform, platform_arguments
from topcoat.errors import NeedsBuilder
from topcoat.oci.platform import Platform


def external_images(dockerfile: Dockerfile, args: Mapping[str, str], platform: str = "") -> tuple[str, ...] | None:
    """Return the images that the stages of *dockerfile* start from or copy from, each once.

    They depend on the build arguments *args* and the image's *platform*, empty for this machine's. None means that they
    are known only during the build: a variable without a value, or a mistake.
    """
    if dockerfile.error:
        return None
    target = Platform.parse(platform) if platform else native_platform()
    images: dict[str, None] = {}
    stage_names: set[str] = set()
    try:
        built_in = platform_arguments(target, dockerfile.stages[-1].name, args)
        variables = global_arguments(dockerfile.arguments, built_in, args, dockerfile.escape)
        for stage in dockerfile.stages:
            base = expand(stage.base, variables, dockerfile.escape)
            if base.unset or not base.text:
                return None
            if base.text not in stage_names and base.text != "scratch":
                images[base.text] = None
            stage_names.add(stage.name)
            for source in [source for instruction in stage.instructions for source in _sources(instruction)]:
                if "$" in source:
                    return None
                if source.lower() not in stage_names and not source.isdecimal():
                    images[source] = None
    except (NeedsBuilder, ValueError):
        return None
    return tuple(images)


def _sources(instruction: Instruction) -> list[str]:
    """Return what ``--from`` and ``--mount=from=`` name."""
    words = [word for mount in instruction.flags.get("mount", ()) for word in mount.split(",")]
    mounted = [word.removeprefix("from=") for word in words if word.startswith("from=")]
    return [source for source in (*instruction.flags.get("from", ()), *mounted) if source]
