"""Which images a Dockerfile builds on."""

from __future__ import annotations

import pytest

from topcoat.dockerfile.external_images import external_images
from topcoat.dockerfile.parse import parse_dockerfile


def images_of(text: str, args: dict[str, str], platform: str = "") -> tuple[str, ...] | None:
    return external_images(parse_dockerfile(text.encode(), "Dockerfile"), args, platform)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM a", ("a",)),
        ("from a as b\nFROM b", ("a",)),
        ("FROM a\nFROM A:1", ("a", "A:1")),
        ("FROM scratch\nCOPY x /x", ()),
        ("ARG IMAGE\nFROM $IMAGE", ("base",)),
        ("ARG IMAGE\nFROM ${IMAGE}:2", ("base:2",)),
        ("ARG V=3\nFROM python:${V}", ("python:3",)),
        ("ARG V='3'\nFROM python:${V}", ("python:3",)),
        ("ARG A=1\nARG V=$A.2\nFROM python:$V", ("python:1.2",)),
        ("FROM x:${V:-4}", ("x:4",)),
        ("FROM x${V:+-slim}", ("x",)),
        ("ARG IMAGE\nFROM x${IMAGE:+-slim}", ("x-slim",)),
        ("FROM --platform=$BUILDPLATFORM a", ("a",)),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /y\nCOPY --from=0 /x /y\nCOPY --from=c:1 /x /y", ("a", "b", "c:1")),
        ("FROM a\nRUN --mount=type=bind,from=c:1,target=/c true", ("a", "c:1")),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n  a", ("a",)),
        ("FROM \\\n# a comment inside\n\n  a", ("a",)),
        ("FROM a\nRUN <<EOF\nFROM nothing\nEOF\nFROM b", ("a", "b")),
        ("\ufeff# a comment\nFROM a", ("a",)),
        ("FROM a\nRUN echo FROM b", ("a",)),
    ],
)
def test_the_external_images_are_those_of_from_copy_and_mount(text: str, images: tuple[str, ...]) -> None:
    assert images_of(text, {"IMAGE": "base"}) == images


@pytest.mark.parametrize(
    "text",
    [
        "FROM $UNKNOWN",
        "FROM a\nARG IMAGE\nFROM $IMAGE",
        "FROM a\nCOPY --from=$X /a /b",
        "FROM x:${V}",
        "FRMO a",
        "",
        "ENV",
    ],
)
def test_an_image_that_is_known_only_during_the_build_is_unknown(text: str) -> None:
    assert images_of(text, {"IMAGE": "base"} if "UNKNOWN" in text else {}) is None


def test_an_argument_that_the_dockerfile_does_not_declare_is_not_filled_in() -> None:
    assert images_of("FROM $IMAGE", {"IMAGE": "base"}) is None


def test_the_platform_that_is_built_for_has_a_name() -> None:
    assert images_of("FROM base-$TARGETARCH", {}, "linux/arm64") == ("base-arm64",)
