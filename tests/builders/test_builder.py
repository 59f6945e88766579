"""The context that a builder gets, and its output."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from topcoat.builders.builder import (
    Builder,
    Recipe,
    build,
    context_tar,
)
from topcoat.errors import DaemonError, NeedsBuilder
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace

TEXT = b"FROM scratch\nRUN pip install torch\n"
REASON = NeedsBuilder("Dockerfile.torchx:2: RUN runs a command in the image", hint="do without")


def recipe(workspace: Path, text: bytes = TEXT) -> Recipe:
    scanned = scan(Workspace({str(workspace): ""}), ScanOptions(IMAGE_IGNORE_FILES))
    return Recipe(scanned, "Dockerfile.torchx", text, {}, reason=REASON.message)


class Failing:
    label = "a builder that fails"

    def build(self, recipe: Recipe, name: str, on_output: object) -> str:
        on_output("one")  # type: ignore[operator]
        return "it failed"


def test_the_error_of_a_quiet_build_has_all_output(tmp_path: Path) -> None:
    builder: Builder = Failing()  # type: ignore[assignment]
    begin = f"building Dockerfile.torchx with a builder that fails; {REASON.message}"
    with pytest.raises(DaemonError) as caught:
        build(builder, recipe(tmp_path), "x", None)
    assert caught.value.message == f"building Dockerfile.torchx failed:\n{begin}\none\nit failed"
    heard: list[str] = []
    with pytest.raises(DaemonError) as caught:
        build(builder, recipe(tmp_path), "x", heard.append)
    assert caught.value.message == "building Dockerfile.torchx failed:\nit failed"
    assert heard == [begin, "one"]


@pytest.mark.parametrize("ignored", [False, True])
def test_the_dockerfile_is_once_in_the_context_that_needs_it(tmp_path: Path, ignored: bool) -> None:
    (tmp_path / "Dockerfile.torchx").write_bytes(TEXT)
    (tmp_path / "a.py").write_text("a\n")
    (tmp_path / ".torchxignore").write_text("Dockerfile.torchx\n" if ignored else "nothing\n")
    for dockerfile in (True, False):
        with context_tar(recipe(tmp_path), dockerfile=dockerfile) as packed, tarfile.open(fileobj=packed) as archive:
            names = archive.getnames()
            expected_names = [".torchxignore"] + ["Dockerfile.torchx"] * (dockerfile or not ignored) + ["a.py"]
            assert sorted(names) == expected_names
            if "Dockerfile.torchx" in names:
                source = archive.extractfile("Dockerfile.torchx")
                assert source is not None
                assert source.read() == TEXT
