"""Copy a snapshot to a job directory, which is complete or absent.

The directory is created beside its final place and renamed. A small file in it names its snapshot.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from topcoat.destinations.copy import reflink
from topcoat.destinations.file_maker import FileMaker, LinkPolicy
from topcoat.destinations.last_snapshot import LastSnapshot, SnapshotFiles, is_unchanged
from topcoat.errors import DestinationError, JobDirConflict, TopcoatError
from topcoat.foreign_text import parse_json
from topcoat.helpers.pool import HelperPool
from topcoat.leftovers import private_directory
from topcoat.regular_files import read_regular
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.names import decode
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.state import make_directories, make_private, state_dir
from topcoat.system_text import system_text
from topcoat.transfers import expect

# A file system that does not keep permission bits shows another mode.
_MARKER_MODE = 0o444
_MARKER_PATH = MARKER.encode()
_MAX_SHOWN = 3
_MAX_MARKER = 1 << 16


class DirectoryDestination:
    """A directory on a file system that the job sees."""

    def __init__(self, job_dir: str, *, link: LinkPolicy = "copy") -> None:
        """Fill *job_dir* (``~`` is expanded); with *link* ``hard``, unchanged files are hard links to those of the
        workspace's last job directory, so a job that writes in place changes both.
        """
        self.path = os.path.abspath(os.path.expanduser(system_text(job_dir)))
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
            what = changed_files(changed)
        raise conflict(self.path, what)

    def _is_empty(self) -> bool:
        try:
            return os.path.isdir(self.path) and not os.listdir(self.path)
        except OSError as error:
            raise unwritable(self.path, error.strerror or str(error)) from error

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
            # The helpers start while the rest is made ready, and end before a directory that has failed is removed.
            with (
                HelperPool(len(scan.snapshot)) as pool,
                _parents(Path(parent)),
                private_directory(parent, f".{name}.") as new_dir,
                pool as helpers,
            ):
                # Written first: a scan of a workspace around it must recognize the job directory at any time.
                marker = os.open(new_dir / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MARKER_MODE)
                with os.fdopen(marker, "w") as file:
                    file.write(json.dumps({"snapshot": scan.snapshot.digest}))
                    os.fchmod(marker, _MARKER_MODE)
                can_clone = _supports_reflinks(str(new_dir))
                earlier = self._find_earlier(final, workspace_key) if can_clone or self._link == "hard" else None
                # The workspace may be a job directory itself.
                files = SnapshotFiles([entry for entry in scan.snapshot if entry.path != _MARKER_PATH])
                maker = FileMaker(str(new_dir), scan, files, earlier, self._link, can_clone=can_clone)
                _fill(str(new_dir), maker, helpers)
                _set_mode(str(new_dir), final)
                if not self._rename(str(new_dir), final, scan.snapshot):
                    return False
        except TopcoatError:
            raise
        except OSError as error:
            raise unwritable(self.path, error.strerror or str(error)) from error
        LastSnapshot.write(final, files, workspace_key)
        return True

    def _find_earlier(self, final: str, workspace_key: str) -> LastSnapshot | None:
        last = LastSnapshot.read(workspace_key)
        return last if last is not None and os.path.isdir(last.directory) else LastSnapshot.find_beside(final)

    def _rename(self, new_dir: str, final: str, snapshot: Snapshot) -> bool:
        """Put the directory in its place; return False if another process has put the same snapshot there."""
        try:
            os.rename(new_dir, final)
        except OSError:
            if self.check(snapshot):
                return False
            raise
        return True


def conflict(place: str, what: str) -> JobDirConflict:
    """Return the error for a job directory at *place* that already holds *what*."""
    return JobDirConflict(
        f"the job directory {place} already holds {what}",
        hint="name another one with -cfg job_dir=..., or remove it",
    )


def unwritable(place: str, why: str) -> DestinationError:
    """Return the error for a job directory at *place* that cannot be written."""
    hint = "name a directory that you can write and that has room: -cfg job_dir=DIR (slurm: or job_root=DIR)"
    if why == os.strerror(errno.EBUSY):
        hint = "it is a mount point, which cannot be replaced: name a new directory below it with -cfg job_dir=DIR"
    return DestinationError(f"cannot fill the job directory {place}: {why}", hint=hint)


def changed_files(entries: Sequence[Entry]) -> str:
    """Describe the snapshot of a job directory in which *entries* are no longer what was delivered."""
    shown = ", ".join([decode(entry.path) for entry in entries[:_MAX_SHOWN]])
    more = f" and {len(entries) - _MAX_SHOWN} more" if len(entries) > _MAX_SHOWN else ""
    return f"this snapshot, but a job has changed or removed files of it: {shown}{more}"


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the directory *path* and those above it; remove those again, if they are empty, when the block fails."""
    new = [directory for directory in (path, *path.parents) if not directory.exists()]
    make_directories(path, 0o755)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for directory in new:
                directory.rmdir()
        raise


def _set_mode(new_dir: str, final: str) -> None:
    """Make *new_dir* readable, or give it the group and mode of the empty directory *final* that it replaces."""
    mode = 0o755
    with contextlib.suppress(OSError):
        st = os.stat(final)
        mode = stat.S_IMODE(st.st_mode)
        if hasattr(os, "chown"):
            os.chown(new_dir, -1, st.st_gid)
    os.chmod(new_dir, mode)


def _find_changed(root: str, snapshot: Snapshot) -> list[Entry]:
    """Return the entries of *snapshot* that are no longer what they were made as in the job directory *root*."""
    modes = os.stat(f"{root}/{MARKER}").st_mode & 0o7777 == _MARKER_MODE
    return [
        entry
        for entry in snapshot
        if entry.path != _MARKER_PATH
        and not is_unchanged(f"{root}/{os.fsdecode(entry.path)}", entry, modes=modes, content=True)
    ]


def _supports_reflinks(directory: str) -> bool:
    """Tell whether the file system of *directory* can share blocks between files."""
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryFile(dir=directory) as out,
        open(f"{directory}/{MARKER}", "rb") as source,
    ):
        return reflink(source.fileno(), out.fileno())
    return False


def _fill(root: str, maker: FileMaker, helpers: HelperPool) -> None:
    """Put the snapshot into the new directory *root*; every file must be new, so no file replaces another."""
    snapshot = maker.scan.snapshot
    expect("copying", snapshot.size)
    directories: list[tuple[str, Entry]] = []
    frame = _make_frame(root, snapshot, directories)
    others = maker.make_plain(helpers, frame)
    deque(frame, 0)
    for entry in others:
        try:
            maker.make(entry, f"{root}/{os.fsdecode(entry.path)}")
        except FileExistsError:
            raise _name_conflict(root, entry, snapshot) from None
    # Deepest first: adding a file to a directory changes its time, and its mode may forbid it.
    made_mode = os.stat(directories[0][0]).st_mode & 0o7777 if directories else 0
    for path, entry in reversed(directories):
        if entry.mode != made_mode:
            os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime, entry.mtime))


def _make_frame(root: str, snapshot: Snapshot, directories: list[tuple[str, Entry]]) -> Iterator[bytes]:
    """Make the directories and links, parents first; yield the path of each, and put directories into *directories*."""
    for entry in snapshot.entries:
        if entry.kind == "file":
            continue
        path = f"{root}/{os.fsdecode(entry.path)}"
        try:
            if entry.kind == "dir":
                os.mkdir(path, 0o755)
                directories.append((path, entry))
            else:
                os.symlink(os.fsdecode(entry.content), path)
                if os.utime in os.supports_follow_symlinks:
                    os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
        except FileExistsError:
            raise _name_conflict(root, entry, snapshot) from None
        yield entry.path


def _name_conflict(root: str, entry: Entry, snapshot: Snapshot) -> DestinationError:
    """Return the error for a path that the file system treats as one that exists already.

    The file system decides which names are equal (``A`` and ``a``, two encodings of ``é``): they are the same file.
    """
    parent = entry.path.rpartition(b"/")[0]
    existing = os.lstat(f"{root}/{os.fsdecode(entry.path)}")
    names = [_MARKER_PATH, entry.path]
    for other in snapshot.entries:
        if other.path != entry.path and other.path.rpartition(b"/")[0] == parent:
            with contextlib.suppress(FileNotFoundError):  # not made yet
                st = os.lstat(f"{root}/{os.fsdecode(other.path)}")
                if (st.st_dev, st.st_ino) == (existing.st_dev, existing.st_ino):
                    # Files are made in any order.
                    names = sorted([other.path, entry.path])
    first, second = map(decode, names)
    return DestinationError(
        f"the job directory's file system treats {first!r} and {second!r} as one name",
        hint="rename one of them, leave one out with a line in .torchxignore, or choose a directory on a file system "
        "that distinguishes them with -cfg job_dir=...",
    )
