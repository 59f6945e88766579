"""Parsers of bytes that others wrote, for any bytes: the kept inputs, and a few seconds of fuzzing for each.

``TOPCOAT_FUZZ_SECONDS`` sets how long each target runs (default: 2); ``TOPCOAT_FUZZ_CORPUS`` keeps new inputs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.components.host import ENVIRON
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
_INPUTS = [(name, path) for name in TARGETS for path in sorted((CORPUS / name).iterdir())]
_SECONDS = int(ENVIRON.get("TOPCOAT_FUZZ_SECONDS") or 2)
_MAX_INPUT_S = 60


@contextmanager
def _time_limit() -> Iterator[None]:
    def fail(*_: object) -> None:
        pytest.fail(f"the input takes longer than {_MAX_INPUT_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_MAX_INPUT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_every_target_has_inputs() -> None:
    assert sorted(TARGETS) == sorted(path.name for path in CORPUS.iterdir())


@pytest.mark.parametrize(("name", "path"), _INPUTS, ids=[f"{name}-{path.name}" for name, path in _INPUTS])
def test_a_kept_input_gives_a_value_or_an_error(name: str, path: Path) -> None:
    with _time_limit():
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", list(TARGETS))
def test_new_inputs_give_values_or_errors(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the fuzzer is not installed for this Python")
    found = Path(ENVIRON.get("TOPCOAT_FUZZ_CORPUS") or tmp_path / "found") / name
    found.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_total_time={_SECONDS}",
        f"-timeout={_MAX_INPUT_S}",
        "-rss_limit_mb=2048",
        "-max_len=4096",
        "-verbosity=0",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, found, CORPUS / name, f"-artifact_prefix={tmp_path}/", *flags],
        cwd=CORPUS.parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS + 120,
        check=False,
    )
    failing = [path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    assert done.returncode == 0, f"{name} fails for {failing}\n{done.stderr[-3000:]}"
