"""Remove what a command that was killed has left behind.

Who fills a directory claims it first: a file in the state directory names it, and is locked as long as the process
lives. The next command removes every directory whose claim no process holds. Without a writable state directory, or on
a file system without locks, directories are not claimed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from topcoat.errors import StateError
from topcoat.state import make_private, state_dir

_CLAIMS = "claims"
_MAX_CLAIM = 1 << 16
_DIGEST_SIZE = 32
# Of this process: the open claim file of each path.
_held: dict[str, tuple[int, Path]] = {}


def claim(path: str | Path, *, unless: str | Path = "") -> None:
    """Have *path* removed by the next command if this process ends before ``release``; *path* need not exist yet.

    If the file *unless* exists by then, *path* is complete and is kept.
    """
    if sys.platform == "win32" or str(path) in _held:
        return
    import fcntl

    with suppress(OSError, StateError):
        directory = state_dir(_CLAIMS)
        make_private(directory)
        while True:
            file = directory / os.urandom(8).hex()
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                os.write(handle, _content(os.fsencode(os.path.abspath(path)), os.fsencode(unless)))
                # Another command may have removed the empty file before it was locked.
                if os.fstat(handle).st_nlink:
                    _held[str(path)] = handle, file
                    return
            except BaseException:
                file.unlink(missing_ok=True)
                os.close(handle)
                raise
            os.close(handle)


def release(path: str | Path) -> None:
    """Keep *path* from now on, or do nothing if it was not claimed."""
    handle, file = _held.pop(str(path), (-1, Path()))
    if handle >= 0:
        with suppress(OSError):
            file.unlink()
        os.close(handle)


@contextmanager
def claimed(path: str | Path) -> Iterator[None]:
    """Claim *path* while a ``with`` block runs, which removes it or gives it another name.

    If *path* still exists when the block fails, the claim stays for the next command.
    """
    claim(path)
    try:
        yield
    except BaseException:
        if not os.path.lexists(path):
            release(path)
        raise
    release(path)


@contextmanager
def private_directory(parent: str, prefix: str) -> Iterator[Path]:
    """Create a directory in *parent* that only this user can read; remove it at the end of the ``with`` block.

    Raises:
        OSError: it cannot be created.
    """
    import shutil

    path = Path(parent, prefix + os.urandom(8).hex())
    with claimed(path):
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove every claimed directory whose process has ended, with a notice for each."""
    directory = state_dir(_CLAIMS)
    try:
        names = os.listdir(directory)
    except OSError:
        return
    if names and sys.platform != "win32":
        import fcntl

        for name in names:
            with suppress(OSError):
                handle = os.open(directory / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(os.read(handle, _MAX_CLAIM))
                    (directory / name).unlink()
                finally:
                    os.close(handle)


def _content(path: bytes, unless: bytes) -> bytes:
    from hashlib import sha256

    record = path + b"\0" + unless
    return sha256(record).digest() + record


def _remove(content: bytes) -> None:
    """Remove the directory that the *content* of a claim names; raise OSError if a part of it remains."""
    import shutil

    from topcoat.foreign_text import escaped
    from topcoat.notices import notice

    path, _, unless = content[_DIGEST_SIZE:].partition(b"\0")
    # Half a path would name another directory.
    if content != _content(path, unless) or not os.path.lexists(path) or (unless and os.path.lexists(unless)):
        return
    if os.lstat(path).st_uid == os.getuid():
        shutil.rmtree(path)
        notice(f"removed {escaped(os.fsdecode(path))}: the command that made it did not finish")
