"""The directories for caches and for the jobs of the local scheduler.

Deleting a cache costs time, never correctness: a cache that cannot be written is done without, with one notice.
Directories are created with mode 0700 when something is written. Files are written under a temporary name and renamed,
so a reader sees the old file or the new one and never a part.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from topcoat.errors import StateError
from topcoat.notices import notice

_HINT = "set XDG_CACHE_HOME and XDG_STATE_HOME to a writable directory"
# Nobody can create anything below a device, so every read misses and every write fails.
_NO_HOME = Path(os.devnull)
_LINUX = sys.platform == "linux"


def cache_dir(*parts: str) -> Path:
    """Return the directory for data that can be computed again; ``write_cache`` creates it."""
    return _base("XDG_CACHE_HOME", ".cache").joinpath(*parts)


def state_dir(*parts: str) -> Path:
    """Return the directory for data that exists nowhere else (local jobs); ``make_private`` creates it."""
    return _base("XDG_STATE_HOME", ".local/state").joinpath(*parts)


def write_cache(path: Path, data: bytes) -> None:
    """Write *data* to *path*, a file of the cache, as ``write_atomic`` does; if that fails, print a notice."""
    try:
        _make_private(path.parent)
        _write(path, data)
    except OSError as error:
        # It names the cache, not the file: a notice with the same text is shown once.
        problem = _unusable(cache_dir(), error)
        notice(f"working without a cache: {problem.message}; {problem.hint}")


def write_atomic(path: Path, data: bytes) -> None:
    """Write *data* to *path*; a reader sees the whole new file or the old one.

    Raises:
        StateError: the file cannot be written.
    """
    try:
        _write(path, data)
    except OSError as error:
        raise _unusable(path, error) from error


def _write(path: Path, data: bytes) -> None:
    # Importing tempfile would slow the start of every command; eight random bytes do not collide either.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


@contextmanager
def spooling(what: str) -> Iterator[None]:
    """Turn a failure to write *what* to the spool into a `StateError`.

    Raises:
        StateError: the disk is full, or permission is denied.
    """
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot spool {what} in {spool_dir()}: {error.strerror or error}",
            hint="free some space there, or set XDG_CACHE_HOME to a directory on a larger disk",
        ) from error


def spool_dir(size: int = 0) -> str:
    """Return the cache's directory for temporary files.

    If it cannot be written, or has no room for *size* bytes, return the system's.
    """
    spool = cache_dir("spool")
    with suppress(OSError):
        _make_private(spool)
        if os.access(spool, os.W_OK | os.X_OK) and _has_room(spool, size):
            return str(spool)
    import tempfile

    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # no directory can be written
        return str(spool)


def _has_room(directory: Path, size: int) -> bool:
    if not hasattr(os, "statvfs"):
        return True
    st = os.statvfs(directory)
    # Some file systems do not count files.
    return st.f_bavail * st.f_frsize > size and bool(st.f_favail or not st.f_files)


def spool_file(what: str, size: int = 0) -> BinaryIO:
    """Return an unnamed temporary file for *what*, of about *size* bytes.

    Raises:
        StateError: the file cannot be created.
    """
    import tempfile

    with suppress(OSError):
        return cast(BinaryIO, tempfile.TemporaryFile(dir=spool_dir(size)))
    with spooling(what):
        return cast(BinaryIO, tempfile.TemporaryFile())


def _base(variable: str, fallback: str) -> Path:
    # Spelled out for Linux, because importing platformdirs takes longer than a whole warm scan.
    if _LINUX:
        directory = os.environ.get(variable, "")
        # Normal, because the paths of jobs are compared with it.
        return (Path(os.path.normpath(directory)) if os.path.isabs(directory) else _home() / fallback) / "topcoat"
    import platformdirs

    find = platformdirs.user_cache_dir if variable == "XDG_CACHE_HOME" else platformdirs.user_state_dir
    return Path(find("topcoat", appauthor=False))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # the user is not in the user database, as in some containers
        return _NO_HOME


def make_private(path: Path) -> None:
    """Create the directory *path*, and those above it, with mode 0700; keep those that exist as they are.

    Raises:
        StateError: a directory cannot be created.
    """
    try:
        _make_private(path)
    except OSError as error:
        raise _unusable(path, error) from error


def _make_private(path: Path) -> None:
    make_directories(path, 0o700)


def make_directories(path: Path, mode: int) -> None:
    """Create the directory *path*, and those above it, with *mode* or what the umask leaves of it; raise OSError."""
    # Path.mkdir(parents=True) would create those above with the default mode: everybody's, if the umask is 0.
    try:
        path.mkdir(mode=mode, exist_ok=True)
    except FileNotFoundError:
        make_directories(path.parent, mode)
        path.mkdir(mode=mode, exist_ok=True)


def _unusable(path: Path, error: OSError) -> StateError:
    if _NO_HOME in path.parents:
        return StateError("cannot find a home directory for caches and jobs", hint=f"set HOME, or {_HINT}")
    remedy = "free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
    return StateError(f"cannot write to {path}: {error.strerror or error}", hint=f"{remedy}, or {_HINT}")
