"""Where topcoat keeps what it remembers: caches, and the jobs of the local scheduler.

Deleting any of it costs time, never correctness. Directories are made with mode 0700; files are written beside
their final place and renamed into it, so that a reader sees an old file or a new one and never a half.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from topcoat.errors import StateError

_PLACES = "point XDG_CACHE_HOME and XDG_STATE_HOME to a directory that can be written"


_LINUX = sys.platform == "linux"


def cache_dir(*parts: str) -> Path:
    """Return a directory for data that can be made again, created on demand.

    Raises:
        StateError: the directory cannot be created or written.
    """
    return _make(_base("XDG_CACHE_HOME", ".cache"), parts)


def state_dir(*parts: str) -> Path:
    """Return a directory for facts that live nowhere else (local jobs), created on demand.

    Raises:
        StateError: the directory cannot be created or written.
    """
    return _make(_base("XDG_STATE_HOME", ".local/state"), parts)


def write_atomic(path: Path, data: bytes) -> None:
    """Write *data* to *path* so that a reader sees all of it or what was there before.

    Raises:
        StateError: the file cannot be written.
    """
    try:
        # tempfile is a module too many for the start of every command; eight random bytes do not collide either.
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise _unusable(path, error) from error


@contextmanager
def spooling(what: str) -> Iterator[None]:
    """Turn failures to write *what* to the spool into errors that say what to do.

    Raises:
        StateError: there is no room, or no permission.
    """
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot spool {what} in {cache_dir('spool')}: {error.strerror or error}",
            hint="make room there, or point XDG_CACHE_HOME to a directory that has it",
        ) from error


def spool_file(what: str) -> BinaryIO:
    """Return a nameless file for *what*, which is gone once it is closed.

    Raises:
        StateError: there is no place for it.
    """
    import tempfile

    with spooling(what):
        return cast(BinaryIO, tempfile.TemporaryFile(dir=cache_dir("spool")))


def _base(variable: str, fallback: str) -> Path:
    # The XDG rule is spelled out for Linux because importing platformdirs costs more than a whole warm scan.
    if _LINUX:
        given = os.environ.get(variable, "")
        return (Path(given) if os.path.isabs(given) else _home() / fallback) / "topcoat"
    import platformdirs

    find = platformdirs.user_cache_dir if variable == "XDG_CACHE_HOME" else platformdirs.user_state_dir
    return Path(find("topcoat", appauthor=False))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user that no user database knows
        raise StateError("there is no home directory for caches and jobs", hint=f"set HOME, or {_PLACES}") from None


def _make(base: Path, parts: tuple[str, ...]) -> Path:
    path = base.joinpath(*parts)
    try:
        _make_private(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return path


def _make_private(path: Path) -> None:
    # Path.mkdir(parents=True) would make the directories above with the default mode.
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make_private(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(f"cannot write to {path}: {error.strerror or error}", hint=f"make it writable, or {_PLACES}")
