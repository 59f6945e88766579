"""The files, environment and working directory of a container."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.components.daemons import Containerd, Docker
from topcoat.scan.snapshot import Snapshot

# Runs in the container, with any Python 3.
_SCRIPT = """
import base64, hashlib, json, os, stat, sys
def text(data): return base64.b64encode(data).decode()
def walk(path):
    st = os.lstat(path)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(stat.S_IFMT(st.st_mode), "other")
    content = b""
    if kind == "file":
        with open(path, "rb") as file: content = hashlib.sha256(file.read()).digest()
    elif kind == "link": content = os.readlink(path)
    mode = 0o777 if kind == "link" else st.st_mode & 0o7777
    found.append((text(path), kind, mode, st.st_uid, st.st_gid, text(content), int(st.st_mtime)))
    if kind == "dir" and path not in skipped:
        for name in sorted(os.listdir(path)): walk(os.path.join(path, name))
found, skipped = [], {b"/proc", b"/sys", b"/dev", b"/run"}
for top in sys.argv[1:]: walk(os.fsencode(top))
print(json.dumps({"found": found, "env": dict(os.environ), "cwd": os.getcwd()}))
"""

# Files that engines add to every container.
_OF_THE_ENGINE = {b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf", b"/etc/mtab", b"/.dockerenv", b"/run"}
_OF_THE_ENGINE |= {b"/proc", b"/sys", b"/dev"}


_END = "the end of the output"


class Seen(NamedTuple):
    """One path in a container; *content* is a file's SHA-256 or a link's target."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes
    mtime: int = 0


class Inside(NamedTuple):
    """The files of a container by absolute path, its environment variables and its working directory."""

    files: dict[bytes, Seen]
    env: dict[str, str]
    cwd: str

    def below(self, directory: str) -> dict[bytes, Seen]:
        """Return the files below *directory* by relative path, without modification times."""
        prefix = os.fsencode(directory.rstrip("/")) + b"/"
        return {
            path[len(prefix) :]: seen._replace(mtime=0) for path, seen in self.files.items() if path.startswith(prefix)
        }

    def outside(self, directory: str) -> dict[bytes, Seen]:
        """Return the files outside of *directory* that do not come from the engine."""
        prefix = os.fsencode(directory.rstrip("/"))
        return {
            # The engine writes into directories and changes their times.
            path: seen if seen.kind != "dir" else seen._replace(mtime=0)
            for path, seen in self.files.items()
            if not (path + b"/").startswith(prefix + b"/") and path not in _OF_THE_ENGINE
        }


Run = Callable[[str, "list[str]"], str]
"""Run a command in a container of an image and return its stdout."""


def runner(engine: Docker | Containerd) -> Run:
    """Return a function that runs a command with *engine*."""
    if isinstance(engine, Docker):
        return lambda image, command: engine.run("run", "--rm", "--network", "none", image, *command)
    numbers = iter(range(1000))

    def run(image: str, command: list[str]) -> str:
        engine.run("images", "pull", "--plain-http", image)
        for _ in range(5):
            name = f"c{os.urandom(4).hex()}-{next(numbers)}"
            output = engine.run("run", "--rm", image, name, "sh", "-c", f'"$@" && echo {_END}', "sh", *command)
            # `ctr run` may end before it has copied all of the output.
            if output.endswith(_END):
                break
        return output.removesuffix(_END).rstrip("\n")

    return run


def look(engine: Docker | Containerd, image: str, *tops: str) -> Inside:
    """Run *image*, whose base has Python, and return the directories *tops* of it and their members."""
    run = runner(engine)
    return parse(run(image, ["python3", "-B", "-c", _SCRIPT, *tops]))


def parse(printed: str) -> Inside:
    """Parse the output of the script."""
    output = json.loads(printed)
    files = {}
    for path, kind, mode, uid, gid, content, mtime in output["found"]:
        files[base64.b64decode(path)] = Seen(kind, mode, uid, gid, base64.b64decode(content), mtime)
    return Inside(files, output["env"], output["cwd"])


def expected(snapshot: Snapshot, uid: int = 0, gid: int = 0) -> dict[bytes, Seen]:
    """Return the files of *snapshot* as a container must see them."""
    return {entry.path: Seen(entry.kind, entry.mode, uid, gid, entry.content) for entry in snapshot}


def on_disk(directory: str | Path) -> dict[bytes, Seen]:
    """Return the files below a local *directory*, without owners and modification times."""
    import hashlib
    import stat

    root = os.fsencode(directory)
    entries = {}
    for parent, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(parent, name)
            st = os.lstat(path)
            content, kind, mode = b"", "file", st.st_mode & 0o7777
            if stat.S_ISLNK(st.st_mode):
                kind, content, mode = "link", os.readlink(path), 0o777
            elif stat.S_ISDIR(st.st_mode):
                kind = "dir"
            else:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            entries[os.path.relpath(path, root)] = Seen(kind, mode, 0, 0, content)
    return entries
