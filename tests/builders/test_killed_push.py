"""A push by podman that is killed leaves a login on the disk until the next command, and no longer."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.faults.forked import Kill, run
from tests.support.waiting import eventually
from topcoat.builders.tool_builder import ToolBuilder
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.state import cache_dir

# Waits with the login in its hands.
PODMAN = """#!/bin/sh
printf '%s\\n' "$@" | grep -A1 -x -e --authfile | tail -1 > "$SEEN.new"
mv "$SEEN.new" "$SEEN"
exec sleep 60
"""


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A podman that never ends, and a login of its registry beside one of another."""
    program = tmp_path / "podman"
    program.write_text(PODMAN)
    program.chmod(0o755)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    logins = {
        "ghcr.io": {"username": "me", "password": "hunter2"},
        "quay.io": {"username": "other", "password": "hunter3"},
    }
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": logins}))
    return program


def push(podman: Path) -> None:
    ToolBuilder(str(podman), Clients()).push("sha256:1", Reference.parse("ghcr.io/me/app:1"), print)


def secrets_below(directory: Path) -> list[str]:
    return [
        str(path)
        for path in directory.rglob("*")
        if path.is_file() and path.parent.name != ".docker" and b"auths" in path.read_bytes()
    ]


def test_a_killed_push_leaves_its_login_until_the_next_command(podman: Path, home: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    child = os.fork()
    if not child:
        try:
            os.setsid()
            push(podman)
        finally:
            os._exit(0)
    os.umask(before)
    try:
        eventually((tmp_path / "seen").exists, "podman was not run")
        auth = Path((tmp_path / "seen").read_text().strip())
        assert list(json.loads(auth.read_text())["auths"]) == ["ghcr.io"]
        assert b"hunter3" not in auth.read_bytes()
        assert [path.stat().st_mode & 0o077 for path in (auth, *auth.parent.iterdir())] == [0, 0]
        assert auth.parent.stat().st_mode & 0o777 == 0o700
        # The push runs: the next command leaves its login alone.
        assert run(["list"], tmp_path / "output").code == 0
        assert auth.exists()
    finally:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert secrets_below(home) == [str(auth)]
    assert run(["list"], tmp_path / "output").code == 0
    assert secrets_below(home) == []
    assert os.listdir(cache_dir("spool")) == []


@pytest.mark.parametrize("event", range(1, 60, 4))
def test_no_moment_of_a_kill_leaves_a_login(podman: Path, home: Path, tmp_path: Path, event: int) -> None:
    podman.write_text("#!/bin/sh\nexit 0\n")
    run([], tmp_path / "output", Kill(event=event), lambda: push(podman))
    assert run(["ls"], tmp_path / "output").code == 0
    assert secrets_below(home) == []
    assert not cache_dir("spool").exists() or os.listdir(cache_dir("spool")) == []
