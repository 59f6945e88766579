"""What this machine offers: the real environment, the cache, scratch space, tools and engines."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

# Tests run with HOME and the XDG directories redirected; components need the real ones.
ENVIRON: Mapping[str, str] = dict(os.environ)
CACHE = Path(ENVIRON.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "topcoat"
POLICY = ENVIRON.get("TOPCOAT_COMPONENTS", "auto")

_ENGINES_SCRIPT = Path(__file__).with_name("engines.sh")
_SCRATCH_PREFIX = "topcoat-tests-"
_SCRATCH_ROOM = 2 << 30
# Debian keeps dockerd, runc and iptables where a user's PATH need not look.
_PATH = ENVIRON.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


class ComponentError(Exception):
    """A component did not start, or one of its commands failed."""


def unavailable(component: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where every component is required (``TOPCOAT_COMPONENTS=require``)."""
    message = f"{component} cannot be had: {reason}"
    if POLICY == "require":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def tool(name: str, component: str) -> Path:
    """Find a program that a Debian package installs; skip without it."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        unavailable(component, f"no {name} on this machine (scripts/setup installs it)")
    return Path(program)


@functools.cache
def _engines() -> dict[str, tuple[str, Path]]:
    listed = run_tool([_ENGINES_SCRIPT, "--list"], env=ENVIRON)
    return {name: (version, Path(place) / "bin") for name, version, place in map(str.split, listed.splitlines())}


def engine(name: str) -> Path:
    """Return the directory with the programs of an engine built by ``engines.sh``; skip without it."""
    version, directory = _engines()[name]
    if not directory.is_dir():
        unavailable(f"{name} {version}", "it is not built (scripts/setup builds it, with Go)")
    return directory


def need_root(component: str) -> None:
    """Skip unless this process may start a container daemon."""
    if os.geteuid() != 0:
        unavailable(component, "starting it needs root")


def run_tool(
    command: list[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> str:
    """Run a program and return its stdout without the last newline; raise ComponentError with its stderr."""
    done = call_tool(command, env=env, stdin=stdin, cwd=cwd, timeout=timeout)
    if done.returncode:
        words = " ".join(map(str, command))
        raise ComponentError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.removesuffix("\n")


def call_tool(
    command: list[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program without looking at its exit code; output that is not UTF-8 is escaped."""
    done = subprocess.run(
        [str(word) for word in command],
        env=dict(ENVIRON if env is None else env),
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        check=False,
        input=b"" if stdin is None else stdin,
    )
    stdout, stderr = (out.decode("utf-8", "backslashreplace") for out in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


class Tool:
    """A program with its environment and first arguments; calling it returns its stdout."""

    def __init__(self, program: str | Path, env: Mapping[str, str], *first: str | Path) -> None:
        self.command: list[str | Path] = [program, *first]
        self.env = env

    def __call__(self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120) -> str:
        return run_tool([*self.command, *args], env=self.env, stdin=stdin, timeout=timeout)

    def call(
        self, *args: str | Path, stdin: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run it without raising on a failure."""
        return call_tool([*self.command, *args], env=self.env, stdin=stdin, timeout=timeout)


def environment(*path: Path, **extra: str) -> dict[str, str]:
    """Return an environment for a component: the system's PATH behind ``path``, nothing of the user's configuration."""
    kept = {name: ENVIRON[name] for name in ("LANG", "TMPDIR", "TZ") if name in ENVIRON}
    return {**kept, "HOME": "/nonexistent", "PATH": ":".join([*map(str, path), _PATH]), **extra}


def scratch_root() -> Path:
    """Choose where scratch lies: in memory where there is room and programs may run."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        stat = os.statvfs(memory)
        if stat.f_bavail * stat.f_frsize >= _SCRATCH_ROOM and not stat.f_flag & os.ST_NOEXEC:
            return memory
    disk = Path("/var/tmp")
    return disk if disk.is_dir() else Path(tempfile.gettempdir())


def make_scratch() -> Path:
    """Make the directory for the data of all components, with a short path: sockets lie in it.

    What killed runs left is removed first.
    """
    root = scratch_root()
    for old in root.glob(_SCRATCH_PREFIX + "*"):
        if not _alive(old):
            end_processes(old)
            remove_scratch(old)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-", dir=root))


def _alive(scratch: Path) -> bool:
    pid = scratch.name.removeprefix(_SCRATCH_PREFIX).partition("-")[0]
    return pid.isdecimal() and os.path.exists(f"/proc/{pid}")


def end_processes(scratch: Path) -> None:
    """Kill what outlives a component or a killed run: processes with ``scratch`` in an argument, and their children."""
    children: dict[int, list[int]] = {}
    collected = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (process / "cmdline").read_bytes(), (process / "stat").read_text()
        except OSError:
            continue
        pid, parent = int(process.name), int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(pid)
        if str(scratch).encode() in command:
            collected.append(pid)
    for pid in collected:
        collected += children.get(pid, [])
    for pid in set(collected):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove_scratch(scratch: Path) -> None:
    """Unmount whatever is mounted below ``scratch``, then remove it."""
    for mount in reversed(mounts_below(scratch)):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    shutil.rmtree(scratch, ignore_errors=True)


def mounts_below(directory: Path) -> list[str]:
    """Return the mount points below ``directory``, in the order in which they were mounted."""
    table = Path("/proc/self/mounts")
    if not table.exists():
        return []
    points = [
        re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split()[1])
        for line in table.read_text().splitlines()
    ]
    return [point for point in points if point.startswith(f"{directory}/")]
