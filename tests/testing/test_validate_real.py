"""What real builders make is clean, and what topcoat makes of it too."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.host import Tool
from tests.components.images import Flavour, Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.pushing import fresh, push
from tests.support.validated import validate_image, validated_pushes
from topcoat.errors import InvalidImage
from topcoat.oci.manifest import Manifest

_DOCKERFILE = """FROM {base}
ENV A=b
WORKDIR /made/here
COPY . .
RUN echo built > out && rm -f /bin/ash
LABEL team=vision
CMD ["cat", "out"]
"""

Build = Callable[[str, Path, str], None]
"""Builds over a base, from a context, and pushes as a reference."""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    # No names that are not UTF-8: BuildKit fails on them.
    files = {"with space/a b.txt": "space", "new\nline/x": "x", "empty": None, "deep/" * 40 + "file": "deep"}
    workspaces.write(tmp_path / "context", {**files, f"{'long' * 40}.txt": "long", "main.py": "print()"})
    (tmp_path / "context/link").symlink_to("with space")
    return tmp_path / "context"


@pytest.fixture(params=["buildkit", "classic", "buildah", "crane"])
def build(request: pytest.FixtureRequest) -> Build:
    """Each builder in turn."""
    make: Callable[[pytest.FixtureRequest], Build] = globals()[f"_{request.param}"]
    return make(request)


def _buildkit(request: pytest.FixtureRequest) -> Build:
    docker: Docker = request.getfixturevalue("docker_today")

    def build(base: str, context: Path, reference: str) -> None:
        text = _DOCKERFILE.format(base=base).encode()
        docker.run("buildx", "build", "--network", "none", "-f", "-", "-t", reference, "--push", context, stdin=text)

    return build


def _classic(request: pytest.FixtureRequest) -> Build:
    docker: Docker = request.getfixturevalue("docker20")

    def build(base: str, context: Path, reference: str) -> None:
        (context / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
        docker.run("build", "--network", "none", "-t", reference, context)
        docker.run("push", reference)

    return build


def _buildah(request: pytest.FixtureRequest) -> Build:
    buildah: Tool = request.getfixturevalue("buildah")

    def build(base: str, context: Path, reference: str) -> None:
        (context / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
        buildah("bud", "--isolation", "chroot", "-t", reference, context)
        buildah("push", reference)

    return build


def _crane(request: pytest.FixtureRequest) -> Build:
    crane: Tool = request.getfixturevalue("crane")

    def build(base: str, context: Path, reference: str) -> None:
        layer = context.parent / "layer.tar"
        with tarfile.open(layer, "w", encoding="utf-8", errors="surrogateescape") as archive:
            archive.add(context, "made", filter=lambda member: member)
        crane("append", "--insecure", "-b", base, "-f", layer, "-t", reference)

    return build


def test_what_a_builder_pushes_is_clean(
    build: Build, registry: Registry, busybox_image: Image, context: Path, tmp_path: Path
) -> None:
    base = busybox_image.push(registry, registry.unique("base"), "1")
    repository = registry.unique("built")
    build(base.reference, context, f"{registry.host}/{repository}:1")
    validate_image(registry, repository, "1")

    over = workspaces.write(tmp_path / "w", {"own": str(tmp_path)})
    image = push(over, f"{registry.host}/{repository}:1", fresh(registry)).image
    repository, _, tag = image.partition("/")[2].rpartition(":")
    validate_image(registry, repository, tag)


@pytest.mark.parametrize("flavour", ["docker", "oci"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_topcoat_pushes_is_clean(
    registry: Registry, python_image: Image, tmp_path: Path, flavour: Flavour, compression: str
) -> None:
    base = python_image.push(registry, registry.unique("base"), "1", flavour=flavour)
    validate_image(registry, base.repository, "1")
    workspace = workspaces.odd(tmp_path / "w")
    for edit in (b"print", b"PRINT"):
        workspaces.edit(workspace, "main.py", b"print", edit)
        image = push(workspace, base, fresh(registry), compression=compression).image
        repository, _, tag = image.partition("/")[2].rpartition(":")
        validate_image(registry, repository, tag)


def test_an_index_is_clean_with_all_its_images(registry: Registry, busybox_image: Image) -> None:
    base = busybox_image.push(registry, registry.unique("index"), "1", platforms=("linux/amd64", "linux/arm64/v8"))
    validate_image(registry, base.repository, "1")


def test_a_push_that_is_not_clean_fails_its_test(
    registry: Registry, busybox_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = busybox_image.push(registry, registry.unique("base"), "1")
    right = Manifest.build

    def wrong(**parts: object) -> bytes:
        return right(**parts).replace(b'"schemaVersion":2', b'"schemaVersion": 2,"annotations":{"a":1}')  # type: ignore[arg-type]

    workspace = workspaces.write(tmp_path / "w", {"own": str(tmp_path)})
    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "build", staticmethod(wrong))
        with pytest.raises(InvalidImage, match="annotations"), validated_pushes(patched):
            push(workspace, base, fresh(registry))
