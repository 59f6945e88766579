"""The context that a builder gets, and its output."""

from __future__ import annotations

import io
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.notices import recorded_notices
from topcoat.builders.builder import (
    Builder,
    Recipe,
    build,
    context_tar,
    run_quick,
    run_streaming,
)
from topcoat.errors import DaemonError, NeedsBuilder, TopcoatError
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


def test_lines_arrive_as_they_are_printed_and_input_of_any_size_is_fed() -> None:
    program = (
        "import sys; d = sys.stdin.buffer.read(); print(len(d)); sys.stdout.buffer.write(b'\\xff\\n'); sys.exit(3)"
    )
    lines: list[str] = []
    code = run_streaming([sys.executable, "-c", program], lines.append, env={}, stdin=io.BytesIO(b"x" * (5 << 20)))
    assert (code, lines) == (3, [str(5 << 20), "\\xff"])


def test_a_program_that_does_not_read_its_input_does_no_harm() -> None:
    lines: list[str] = []
    code = run_streaming(
        [sys.executable, "-c", "print('no')"], lines.append, env={}, stdin=io.BytesIO(b"x" * (5 << 20))
    )
    assert (code, lines) == (0, ["no"])


def test_a_build_ends_if_its_output_cannot_be_printed() -> None:
    def broken(line: str) -> None:
        raise TopcoatError("the output cannot be printed")

    program = "import sys, time; print('here', flush=True); time.sleep(600)"
    started = time.monotonic()
    with pytest.raises(TopcoatError, match="the output cannot be printed"):
        run_streaming([sys.executable, "-c", program], broken, env={})
    assert time.monotonic() - started < 300


def test_the_wait_for_a_silent_program_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.builders.builder.SLOW_S", 0.1)
    monkeypatch.setattr("topcoat.builders.builder._POLL_S", 0.05)
    lines: list[str] = []
    with recorded_notices() as notices:
        assert run_streaming(["sh", "-c", "sleep 0.6; echo done; sleep 0.4"], lines.append, env={}) == 0
    assert notices == ["waiting for sh"]
    assert lines == ["done"]


def test_a_program_that_is_silent_for_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.builders.builder._MAX_SILENCE_S", 0.3)
    monkeypatch.setattr("topcoat.builders.builder._POLL_S", 0.05)
    with pytest.raises(DaemonError, match="sleep printed nothing for"):
        run_streaming(["sleep", "600"], print, env={})


def test_a_query_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.builders.builder._QUICK_TIMEOUT_S", 0.2)
    with pytest.raises(DaemonError, match=r"sleep 600 did not end within 0\.2 s"):
        run_quick(["sleep", "600"])
