"""Build the oracle with Go, once per source and Go version, and talk to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.components import host

_SOURCES = [Path(__file__).with_name(name) for name in ("main.go", "go.mod", "go.sum")]


class Answer(NamedTuple):
    """What the container builders' code says; see ``main.go`` for the meaning of the fields."""

    error: str
    valid: bool
    patterns: list[bytes]
    whole: list[bool]
    walked: list[bool]
    emitted: list[bytes]


class Oracle:
    """The running program."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, file: bytes, paths: Iterable[bytes] = (), *, tree: Iterable[bytes] = (), root: str = "") -> Answer:
        """Ask about one ignore file: single *paths*, a *tree* (directories end with a slash) or a real one."""
        request = {
            "file": b64encode(file).decode(),
            "paths": [b64encode(path).decode() for path in paths],
            "tree": [b64encode(path).decode() for path in tree] or None,
            "root": root,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        return Answer(
            answer["error"],
            answer["valid"],
            [b64decode(pattern) for pattern in answer["patterns"] or []],
            answer["whole"] or [],
            answer["walked"] or [],
            [b64decode(path) for path in answer["emitted"] or []],
        )

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


def build() -> Path:
    """Return the program, built if need be; skip without Go."""
    go = shutil.which("go", path=host.ENVIRON.get("PATH"))
    if go is None:
        host.unavailable("Go", "no go on this machine")
    version = host.run_tool([go, "env", "GOVERSION"], env=host.ENVIRON)
    identity = hashlib.sha256(b"\0".join([version.encode(), *(path.read_bytes() for path in _SOURCES)]))
    program = host.CACHE / "engines" / f"ignore-oracle-{identity.hexdigest()[:16]}" / "ignore-oracle"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        made = program.with_name(f"{program.name}.{os.getpid()}")
        try:
            command: list[str | Path] = [go, "build", "-o", made, "."]
            host.run_tool(command, env=host.ENVIRON, cwd=Path(__file__).parent, timeout=600)
        except host.ComponentError as error:
            host.unavailable("Go", f"the ignore oracle does not build:\n{error}")
        made.replace(program)
    return program
