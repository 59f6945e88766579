"""Fill a job directory with a snapshot: complete or absent, never a half.

The directory is made beside its final place and renamed into it. A small file in it says which snapshot it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from topcoat.destinations.copy import clone_file, copy_file
from topcoat.errors import DestinationError, JobDirConflict, TopcoatError
from topcoat.pack.layer_cache import read_entries, write_entries
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.state import cache_dir, make_private, state_dir

LinkPolicy = Literal["copy", "hard"]


class DirectoryDestination:
    """A directory on a file system that the job sees."""

    def __init__(self, job_dir: str, *, link: LinkPolicy = "copy") -> None:
        """Fill *job_dir* (``~`` is expanded); with *link* ``hard``, unchanged files are hard links to those of the
        context's previous job directory, so a job that writes in place changes both.
        """
        self.path = os.path.abspath(os.path.expanduser(job_dir))
        self._link = link

    def check(self, snapshot: str) -> bool:
        """Tell whether the directory holds the *snapshot* with this digest already.

        Raises:
            JobDirConflict: it holds something else.
        """
        try:
            held = json.loads(Path(self.path, MARKER).read_bytes())["snapshot"]
        except (FileNotFoundError, NotADirectoryError):
            held = None
        except (ValueError, KeyError, TypeError, OSError):
            held = "something unknown"
        if held == snapshot:
            return True
        if held is None and (not os.path.lexists(self.path) or self._is_empty()):
            return False
        what = "other files" if held is None else "another snapshot of the workspace"
        raise JobDirConflict(
            f"the job directory {self.path} already holds {what}",
            hint="name another one with -cfg job_dir=..., or remove it",
        )

    def _is_empty(self) -> bool:
        try:
            return os.path.isdir(self.path) and not os.listdir(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def deliver(self, scan: Scan, context: str) -> bool:
        """Fill the directory with the snapshot of *scan*; return False when it held it already.

        Raises:
            JobDirConflict: the directory holds something else.
            DestinationError: it cannot be written.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        if self.check(scan.snapshot.digest):
            return False
        if state_dir() in Path(self.path).parents:
            make_private(Path(self.path).parent)
        # An empty directory that is there may be there through a link.
        final = os.path.realpath(self.path)
        parent, name = os.path.split(final)
        try:
            os.makedirs(parent, exist_ok=True)
            beside = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            # First of all, so that a scan of a workspace around it knows from the start what this is.
            Path(beside, MARKER).write_text(json.dumps({"snapshot": scan.snapshot.digest}))
            _fill(beside, scan, _Previous.recall(context) if self._link == "hard" else None)
            os.chmod(beside, 0o755)
            if not self._rename(beside, final, scan.snapshot.digest):
                return False
        except TopcoatError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        _Previous.note(context, final, scan.snapshot.entries)
        return True

    def _rename(self, beside: str, final: str, snapshot: str) -> bool:
        """Put the directory in its place; return False where somebody else has put the same there meanwhile."""
        try:
            os.rename(beside, final)
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


class _Previous(NamedTuple):
    """The last job directory of a context, and what was put there."""

    directory: str
    entries: dict[bytes, Entry]

    @classmethod
    def recall(cls, context: str) -> _Previous | None:
        try:
            head, _, body = _note_file(context).read_bytes().partition(b"\n")
            return cls(os.fsdecode(head), {entry.path: entry for entry in read_entries(body)})
        except (OSError, ValueError):
            return None

    @staticmethod
    def note(context: str, directory: str, entries: tuple[Entry, ...]) -> None:
        write_entries(_note_file(context), os.fsencode(directory) + b"\n", entries)

    def find(self, entry: Entry) -> str | None:
        """Return the path of the file that still holds what *entry* is, if there is one."""
        if self.entries.get(entry.path) != entry:
            return None
        path = os.path.join(self.directory, os.fsdecode(entry.path))
        try:
            st = os.lstat(path)
        except OSError:
            return None
        # A job may have written to it since.
        same = st.st_size == entry.size and st.st_mtime_ns == entry.mtime and (st.st_mode & 0o7777) == entry.mode
        return path if same else None


def _note_file(context: str) -> Path:
    return cache_dir("jobdirs") / hashlib.sha256(os.fsencode(context)).hexdigest()[:32]


def _fill(root: str, scan: Scan, previous: _Previous | None) -> None:
    """Put the snapshot into the new directory *root*; every file is made anew, so none can take another's place."""
    directories = []
    for entry in scan.snapshot.entries:
        path = f"{root}/{os.fsdecode(entry.path)}"
        if entry.path == MARKER.encode():
            # The workspace was a job directory itself.
            continue
        try:
            _make(scan, entry, path, previous)
        except FileExistsError:
            raise _same_name(root, entry, scan.snapshot) from None
        if entry.kind == "dir":
            directories.append((path, entry))
    # Deepest first: filling a directory changes its time, and its mode may forbid filling it.
    for path, entry in reversed(directories):
        os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime, entry.mtime))


def _make(scan: Scan, entry: Entry, path: str, previous: _Previous | None) -> None:
    if entry.kind == "dir":
        os.mkdir(path, 0o700)
    elif entry.kind == "link":
        os.symlink(os.fsdecode(entry.content), path)
        if os.utime in os.supports_follow_symlinks:
            os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
    else:
        old = previous.find(entry) if previous else None
        if old is not None:
            # Too many links, another file system: then it is a copy.
            with contextlib.suppress(OSError):
                os.link(old, path)
                return
        if not clone_file(scan, entry, path):
            copy_file(scan, entry, path)


def _same_name(root: str, entry: Entry, snapshot: Snapshot) -> DestinationError:
    """Return the error for a path that the file system takes for one that is there already.

    Which names are one to it (``A`` and ``a``, two spellings of ``é``) is the file system's to say: it knows the file.
    """
    parent = entry.path.rpartition(b"/")[0]
    there = os.lstat(f"{root}/{os.fsdecode(entry.path)}")
    twin = MARKER.encode()
    for other in snapshot.entries:
        if other.path == entry.path:
            break
        if other.path.rpartition(b"/")[0] == parent:
            found = os.lstat(f"{root}/{os.fsdecode(other.path)}")
            if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):
                twin = other.path
    return DestinationError(
        f"the job directory's file system takes {os.fsdecode(twin)!r} and {os.fsdecode(entry.path)!r} for one name",
        hint="rename one of them, leave one out with a line in .torchxignore, or name a directory on a file system "
        "that tells them apart with -cfg job_dir=...",
    )
