"""Shell scripts in namespaces of their own: small disks, other process numbers, other clocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# A user needs a user namespace for the others.
_USER = () if hasattr(os, "geteuid") and os.geteuid() == 0 else ("--user", "--map-root-user")


def in_namespaces(*kinds: str) -> tuple[str, ...]:
    """Return the start of a command that runs in new namespaces of *kinds*; skip the test where that is impossible."""
    command = ("unshare", *_USER, *(f"--{kind}" for kind in kinds))
    probe = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    if not probe or probe.returncode:
        pytest.skip(f"no {' and '.join(kinds)} namespaces can be made here (unshare)")
    return command


def script(text: str, *kinds: str, directory: Path) -> str:
    """Run a shell script in namespaces of *kinds*, with ``topcoat`` as a command, and return what it prints."""
    prelude = f"topcoat() {{ '{sys.executable}' -m topcoat \"$@\"; }}\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*in_namespaces(*kinds), "sh", "-c", prelude + text],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout
