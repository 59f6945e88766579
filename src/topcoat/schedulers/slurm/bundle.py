"""Bundles for Slurm's own containers (``--container``): the base's, with the snapshot mounted. No side effects.

The image of a role is a directory with ``config.json`` and ``rootfs`` (OCI runtime specification). The job gets a
bundle of its own, whose root has the directories of the base mounted into it: runc accepts no link as a root.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from topcoat.errors import InvalidApp
from topcoat.foreign_text import parse_json
from topcoat.schedulers.slurm.containers import DEFAULT_WORKDIR
from topcoat.system_text import system_bytes

ROOT = "rootfs"
# What config.json mounts anew, and what a container writes to.
_NOT_MOUNTED = ("dev", "proc", "sys")
_WRITABLE = ("tmp", "run", "var/tmp")


class BaseBundle(NamedTuple):
    """A bundle that is the image of a role.

    Attributes:
        path: its directory.
        config: the content of ``config.json``.
        directories: the names of the directories in its root.
        links: the links in its root, with their targets.
    """

    path: str
    config: Mapping[str, Any]
    directories: Sequence[str]
    links: Mapping[str, str]

    @property
    def root(self) -> str:
        """The directory of the base's root."""
        root = self.config.get("root")
        path = str(root.get("path") or ROOT) if isinstance(root, dict) else ROOT
        return posixpath.normpath(posixpath.join(self.path, path))

    @property
    def workdir(self) -> str:
        """The working directory that the bundle names, unless that is ``/``."""
        cwd = posixpath.normpath(str(self._process().get("cwd") or "/"))
        return DEFAULT_WORKDIR if cwd == "/" else cwd

    @property
    def env(self) -> dict[str, str]:
        """The variables that the bundle sets: Slurm replaces some of them by those of the job."""
        pairs = (str(item).partition("=") for item in self._process().get("env") or ())
        return {name: value for name, _, value in pairs if name}

    def _process(self) -> Mapping[str, Any]:
        process = self.config.get("process")
        return process if isinstance(process, dict) else {}


class JobBundle(NamedTuple):
    """The bundle of a role in a job: its directory, ``config.json``, and what is in its root."""

    path: str
    config: bytes
    directories: Sequence[str]
    links: Mapping[str, str]


def parse_bundle(path: str, config: bytes, directories: Sequence[str], links: Mapping[str, str]) -> BaseBundle:
    """Return the bundle at *path*.

    Raises:
        InvalidApp: ``config.json`` is not one.
    """
    try:
        document = parse_json(config)
    except ValueError as error:
        raise InvalidApp(f"invalid bundle {path}: config.json: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("process"), dict):
        raise InvalidApp(f"invalid bundle {path}: config.json has no process", hint="runc spec writes one")
    return BaseBundle(path, document, directories, links)


def job_config(base: BaseBundle, mounts: Sequence[tuple[str, str, bool]], workdir: str) -> bytes:
    """Return ``config.json`` of the job's bundle: that of *base*, with *mounts* and the working directory."""
    own = [mount for mount in base.config.get("mounts") or [] if isinstance(mount, dict)]
    taken = {posixpath.normpath(str(mount.get("destination"))) for mount in own}
    inner = [_bind(f"{base.root}/{name}", f"/{name}", True) for name in base.directories if name not in _NOT_MOUNTED]
    writable = [
        {"destination": f"/{name}", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
        for name in _WRITABLE
        if f"/{name}" not in taken and name.split("/")[0] in base.directories
    ]
    # The node's network: replicas reach each other by its address.
    linux = dict(base.config.get("linux") or {})
    linux["namespaces"] = [part for part in linux.get("namespaces") or [] if part.get("type") != "network"]
    document = {
        **base.config,
        "process": {**base.config["process"], "cwd": workdir, "terminal": False},
        "root": {"path": ROOT, "readonly": False},
        "mounts": [*inner, *own, *writable, *(_bind(*mount) for mount in mounts)],
        "linux": linux,
    }
    return system_bytes(json.dumps(document, indent=1, ensure_ascii=False))


def _bind(source: str, destination: str, read_only: bool) -> dict[str, object]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["rbind", "ro" if read_only else "rw"],
    }
