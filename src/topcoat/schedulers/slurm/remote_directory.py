"""A directory on a login node: the snapshot travels as one archive of the files that an earlier snapshot there lacks.

One script (`remote_scripts`) receives the archive beside its final place, checks its digest, takes the unchanged files
from the earlier snapshot, checks every path of the result, and renames it. Modification times are kept to the second.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import zlib
from collections.abc import Iterator, Set
from contextlib import closing
from typing import Literal, NamedTuple

from topcoat.destinations.directory import changed_files, conflict, unwritable
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.destinations.last_snapshot import LastSnapshot
from topcoat.errors import DestinationError, JobDirConflict
from topcoat.foreign_text import parse_json
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Snapshot
from topcoat.schedulers.slurm import remote_scripts as scripts
from topcoat.schedulers.slurm.remote_shell import os_error
from topcoat.schedulers.slurm.session import Output
from topcoat.schedulers.slurm.shipment import Archive, Shipment
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.tasks import Task

_CHECK_TIMEOUT_S = 120.0
# To take the other files from an earlier snapshot, on a slow file system.
_DELIVER_TIMEOUT_S = 3600.0
_MAX_ATTEMPTS = 3


class _Place(NamedTuple):
    """What is where the snapshot goes.

    Attributes:
        output: of the script; its exit code says whether something is there.
        earlier: path of the newest snapshot beside it, if it was asked for; empty without one.
        marker: of a snapshot that is there.
        records: of the paths that are there.
    """

    output: Output
    earlier: str
    marker: bytes
    records: Set[bytes]


class RemoteDirectory:
    """A directory on the file system that the nodes share, reached through a login node."""

    def __init__(self, site: SshSite, path: str, *, link: LinkPolicy, last: LastSnapshot | None) -> None:
        """Take a place.

        Args:
            site: the login node.
            path: absolute path there.
            link: how unchanged files are taken from an earlier snapshot.
            last: the last snapshot of the workspace there, if it is known.
        """
        self.path = path
        self._site = site
        self._link = link
        self._last = last
        self._shipment: Shipment | None = None
        self._archive: Archive | None = None
        self._earlier: str | None = None
        # Meanwhile, the workspace is scanned.
        self._look: Task[_Place] | None = Task(self._look_there)

    def check(self, snapshot: Snapshot) -> bool:
        """Tell whether the directory has *snapshot* already; other files may have been added, as a job's output.

        Raises:
            JobDirConflict: it has other content, or files of the snapshot have been changed or removed.
            SchedulerError: the login node cannot be reached.
        """
        shipment = self._prepare(snapshot)
        place = self._looked()
        if place.output.exit_code == scripts.SAME:
            if _snapshot_in(place.marker) != snapshot.digest:
                raise self._conflict()
            if changed := shipment.missing(place.records):
                raise conflict(self._place, changed_files(changed))
            return True
        if place.output.exit_code == scripts.OTHER:
            raise self._conflict()
        if place.output.exit_code:
            raise self._unwritable(place.output)
        return False

    def deliver(self, scan: Scan, workspace_key: str) -> bool:
        """Fill the directory with the snapshot of *scan*; return False if it has that snapshot already.

        Raises:
            JobDirConflict: the directory has other content.
            DestinationError: it cannot be written.
            SchedulerError: the login node cannot be reached.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        shipment = self._prepare(scan.snapshot)
        base, archive = self._archive_for(shipment)
        done = Output(0, b"", b"")
        for _ in range(_MAX_ATTEMPTS):
            done = self._send(scan, shipment, archive, base if archive.unchanged else "")
            if done.exit_code == scripts.DIFFERENT:
                # A job has written to the earlier snapshot.
                written = {entry.path for entry in shipment.missing(set(_unpacked(done)))}
                archive = shipment.archive(archive.unchanged - written)
            elif done.exit_code == scripts.NO_BASE:
                self._last = self._archive = self._earlier = None
                base, archive = self._archive_for(shipment)
            elif done.exit_code != scripts.DAMAGED:
                break
        if done.exit_code == scripts.SAME:
            return self.check(scan.snapshot) is False
        if done.exit_code == scripts.OTHER:
            raise self._conflict()
        if done.exit_code:
            raise self._unwritable(done)
        LastSnapshot.write(self.path, shipment.files, self._site.host, workspace_key)
        return True

    def _prepare(self, snapshot: Snapshot) -> Shipment:
        """Do what needs no answer of the login node."""
        if self._shipment is None or self._shipment.snapshot is not snapshot:
            self._shipment = Shipment(snapshot)
            self._archive = self._shipment.archive(self._shipment.same_files(self._last)) if self._last else None
        return self._shipment

    def _archive_for(self, shipment: Shipment) -> tuple[str, Archive]:
        """Return an earlier snapshot there, and the archive of what it lacks."""
        if self._last and self._archive:
            return self._last.directory, self._archive
        earlier = self._looked().earlier if self._earlier is None else self._earlier
        if not earlier:
            return "", shipment.archive(frozenset())
        done = self._run(scripts.CONTENTS, earlier, stdin=shipment.file_names(), timeout_s=_CHECK_TIMEOUT_S)
        return earlier, shipment.archive(shipment.same_contents(set(done.stdout.split(b"\0"))))

    def _looked(self) -> _Place:
        """Wait for the look at the place that has begun; a second look is a new one."""
        look, self._look = self._look or Task(self._look_there), None
        place = look.result()
        self._earlier = place.earlier
        return place

    def _look_there(self) -> _Place:
        done = self._run(scripts.LOOK, self.path, "" if self._last else "find", timeout_s=_CHECK_TIMEOUT_S)
        earlier, *rest = _unpacked(done)
        return _Place(done, os.fsdecode(earlier), rest[0] if rest else b"", set(rest[1:]))

    def _send(self, scan: Scan, shipment: Shipment, archive: Archive, base: str) -> Output:
        has_zstd = self._site.has_program("zstd") and importlib.util.find_spec("zstandard") is not None
        compression: Literal["gzip", "zstd"] = "zstd" if has_zstd else "gzip"
        names, folders, directories = (str(len(part)) for part in archive.head)
        with closing(archive.blocks(scan, compression)) as blocks:
            return self._run(
                scripts.DELIVER,
                self.path,
                scan.snapshot.digest,
                base,
                "-l" if self._link == "hard" else "--reflink=auto",
                names,
                folders,
                directories,
                f"{compression} -dc",
                shipment.record_digest,
                json.dumps({"snapshot": scan.snapshot.digest}),
                stdin=blocks,
                timeout_s=_DELIVER_TIMEOUT_S,
            )

    @property
    def _place(self) -> str:
        return f"{self.path} on {self._site.host}"

    def _run(self, script: str, *args: str, stdin: bytes | Iterator[bytes] = b"", timeout_s: float) -> Output:
        return self._site.output(["/bin/sh", "-c", script, "sh", *args], stdin=stdin, timeout_s=timeout_s)

    def _conflict(self) -> JobDirConflict:
        return conflict(self._place, "other files, or another snapshot of the workspace")

    def _unwritable(self, done: Output) -> DestinationError:
        text = str(os_error(done.stderr, self.path).strerror)
        if done.exit_code == scripts.NO_TOOL:
            return DestinationError(
                f"cannot fill the job directory {self._place}: that machine has no program {text!r}",
                hint="topcoat needs GNU coreutils, findutils, tar and gzip there",
            )
        what = {
            scripts.DAMAGED: "the archive arrived damaged",
            scripts.DIFFERENT: "the unpacked files differ from the snapshot",
        }.get(done.exit_code, text)
        return unwritable(self._place, what)


def _unpacked(done: Output) -> list[bytes]:
    try:
        return gzip.decompress(done.stdout).split(b"\0")
    except (OSError, EOFError, zlib.error):
        return [b""]


def _snapshot_in(marker: bytes) -> object:
    try:
        return parse_json(marker)["snapshot"]
    except (ValueError, KeyError, TypeError):
        return None
