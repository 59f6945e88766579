"""Copy a snapshot to a job directory, which is complete or absent.

The directory is created beside its final place and renamed. A small file in it names its snapshot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple

from topcoat.destinations.copy import clone_file, copy_file
from topcoat.errors import DestinationError, JobDirConflict, TopcoatError
from topcoat.foreign_text import parse_json
from topcoat.leftovers import private_directory
from topcoat.pack.layer_cache import format_entries, parse_entries
from topcoat.records import Cache
from topcoat.regular_files import read_regular
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.names import decode
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.state import make_directories, make_private, state_dir

LinkPolicy = Literal["copy", "hard"]

_LAST_JOB_DIRS = Cache("jobdirs", 2)

# A file system that does not keep permission bits shows another mode.
_MARKER_MODE = 0o444
_MAX_SHOWN = 3
_MAX_MARKER = 1 << 16
_BLOCK = 1 << 20


class DirectoryDestination:
    """A directory on a file system that the job sees."""

    def __init__(self, job_dir: str, *, link: LinkPolicy = "copy") -> None:
        """Fill *job_dir* (``~`` is expanded); with *link* ``hard``, unchanged files are hard links to those of the
        workspace's last job directory, so a job that writes in place changes both.
        """
        self.path = os.path.abspath(os.path.expanduser(job_dir))
        self._link = link

    def check(self, snapshot: Snapshot) -> bool:
        """Tell whether the directory has *snapshot* already; other files may have been added, as a job's output.

        Raises:
            JobDirConflict: it has other content, or files of the snapshot have been changed or removed.
        """
        try:
            existing = parse_json(read_regular(Path(self.path, MARKER), _MAX_MARKER))["snapshot"]
        except OSError:  # missing, or below a directory that this user cannot enter
            existing = None
        except (ValueError, KeyError, TypeError):
            existing = "something unknown"
        if existing is None and (not os.path.lexists(self.path) or self._is_empty()):
            return False
        what = "other files" if existing is None else "another snapshot of the workspace"
        if existing == snapshot.digest:
            changed = _find_changed(self.path, snapshot)
            if not changed:
                return True
            shown = ", ".join(map(decode, changed[:_MAX_SHOWN]))
            more = f" and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
            what = f"this snapshot, but a job has changed or removed files of it: {shown}{more}"
        raise JobDirConflict(
            f"the job directory {self.path} already holds {what}",
            hint="name another one with -cfg job_dir=..., or remove it",
        )

    def _is_empty(self) -> bool:
        try:
            return os.path.isdir(self.path) and not os.listdir(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def deliver(self, scan: Scan, workspace_key: str) -> bool:
        """Fill the directory with the snapshot of *scan*; return False if it has that snapshot already.

        Raises:
            JobDirConflict: the directory has other content.
            DestinationError: it cannot be written.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        if self.check(scan.snapshot):
            return False
        if state_dir() in Path(self.path).parents:
            make_private(Path(self.path).parent)
        # The path of an existing empty directory may be a link.
        final = os.path.realpath(self.path)
        parent, name = os.path.split(final)
        try:
            make_directories(Path(parent), 0o755)
            with private_directory(parent, f".{name}.") as new_dir:
                # Written first: a scan of a workspace around it must recognize the job directory at any time.
                marker = os.open(new_dir / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MARKER_MODE)
                with os.fdopen(marker, "w") as file:
                    file.write(json.dumps({"snapshot": scan.snapshot.digest}))
                    os.fchmod(marker, _MARKER_MODE)
                _fill(str(new_dir), scan, _LastJobDir.read(workspace_key) if self._link == "hard" else None)
                os.chmod(new_dir, 0o755)
                if not self._rename(str(new_dir), final, scan.snapshot):
                    return False
        except TopcoatError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error
        _LastJobDir.write(workspace_key, final, scan.snapshot.entries)
        return True

    def _rename(self, new_dir: str, final: str, snapshot: Snapshot) -> bool:
        """Put the directory in its place; return False if another process has put the same snapshot there."""
        try:
            os.rename(new_dir, final)
        except OSError:
            if self.check(snapshot):
                return False
            raise
        return True

    def _unwritable(self, error: OSError) -> DestinationError:
        return DestinationError(
            f"cannot fill the job directory {self.path}: {error.strerror or error}",
            hint="name a directory that you can write with -cfg job_dir=...",
        )


class _LastJobDir(NamedTuple):
    """The last job directory of a workspace, and the entries that were copied there."""

    directory: str
    entries: dict[bytes, Entry]

    @classmethod
    def read(cls, workspace_key: str) -> _LastJobDir | None:
        return _LAST_JOB_DIRS.read(workspace_key, cls._parse)

    @classmethod
    def _parse(cls, body: bytes) -> _LastJobDir:
        directory, _, entries = body.partition(b"\0")
        return cls(os.fsdecode(directory), {entry.path: entry for entry in parse_entries(entries)})

    @staticmethod
    def write(workspace_key: str, directory: str, entries: tuple[Entry, ...]) -> None:
        _LAST_JOB_DIRS.write(workspace_key, os.fsencode(directory) + b"\0" + format_entries(entries))

    def find(self, entry: Entry) -> str | None:
        """Return the path of the file if it is still what *entry* says, else None."""
        if self.entries.get(entry.path) != entry:
            return None
        path = os.path.join(self.directory, os.fsdecode(entry.path))
        # A job may have written to it since.
        return path if _is_unchanged(path, entry) else None


def _is_unchanged(path: str, entry: Entry, *, modes: bool = True, content: bool = False) -> bool:
    """Tell from the stat data whether *path* is what was made of *entry*; with *content*, read a file in doubt."""
    try:
        st = os.lstat(path)
        if entry.kind == "dir":
            return stat.S_ISDIR(st.st_mode)
        if entry.kind == "link":
            return stat.S_ISLNK(st.st_mode) and os.fsencode(os.readlink(path)) == entry.content
        if not stat.S_ISREG(st.st_mode) or st.st_size != entry.size or (modes and st.st_mode & 0o7777 != entry.mode):
            return False
        if st.st_mtime_ns == entry.mtime or not content:
            return st.st_mtime_ns == entry.mtime
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.digest() == entry.content
    except OSError:
        return False


def _find_changed(root: str, snapshot: Snapshot) -> list[bytes]:
    """Return the paths of *snapshot* that are no longer what they were made as in the job directory *root*."""
    modes = os.stat(f"{root}/{MARKER}").st_mode & 0o7777 == _MARKER_MODE
    return [
        entry.path
        for entry in snapshot
        if entry.path != MARKER.encode()
        and not _is_unchanged(f"{root}/{os.fsdecode(entry.path)}", entry, modes=modes, content=True)
    ]


def _fill(root: str, scan: Scan, last: _LastJobDir | None) -> None:
    """Put the snapshot into the new directory *root*; every file must be new, so no file replaces another."""
    directories = []
    for entry in scan.snapshot.entries:
        path = f"{root}/{os.fsdecode(entry.path)}"
        if entry.path == MARKER.encode():
            # The workspace is a job directory itself.
            continue
        try:
            _make(scan, entry, path, last)
        except FileExistsError:
            raise _name_conflict(root, entry, scan.snapshot) from None
        if entry.kind == "dir":
            directories.append((path, entry))
    # Deepest first: adding a file to a directory changes its time, and its mode may forbid it.
    for path, entry in reversed(directories):
        os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime, entry.mtime))


def _make(scan: Scan, entry: Entry, path: str, last: _LastJobDir | None) -> None:
    if entry.kind == "dir":
        os.mkdir(path, 0o700)
    elif entry.kind == "link":
        os.symlink(os.fsdecode(entry.content), path)
        if os.utime in os.supports_follow_symlinks:
            os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
    else:
        old = last.find(entry) if last else None
        if old is not None:
            # Copy if the link fails: too many links, another file system.
            with contextlib.suppress(OSError):
                os.link(old, path)
                return
        if not clone_file(scan, entry, path):
            copy_file(scan, entry, path)


def _name_conflict(root: str, entry: Entry, snapshot: Snapshot) -> DestinationError:
    """Return the error for a path that the file system treats as one that exists already.

    The file system decides which names are equal (``A`` and ``a``, two encodings of ``é``): they are the same file.
    """
    parent = entry.path.rpartition(b"/")[0]
    existing = os.lstat(f"{root}/{os.fsdecode(entry.path)}")
    twin = MARKER.encode()
    for other in snapshot.entries:
        if other.path == entry.path:
            break
        if other.path.rpartition(b"/")[0] == parent:
            st = os.lstat(f"{root}/{os.fsdecode(other.path)}")
            if (st.st_dev, st.st_ino) == (existing.st_dev, existing.st_ino):
                twin = other.path
    return DestinationError(
        f"the job directory's file system treats {decode(twin)!r} and {decode(entry.path)!r} as one name",
        hint="rename one of them, leave one out with a line in .torchxignore, or choose a directory on a file system "
        "that distinguishes them with -cfg job_dir=...",
    )
