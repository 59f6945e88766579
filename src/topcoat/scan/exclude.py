"""Files that no scan ships, such as the ones that this command's own output is redirected to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# The files of each open ``with`` block, those of the blocks around it included.
_excluded: list[frozenset[tuple[int, int]]] = [frozenset()]


@contextmanager
def exclude_files(files: Iterable[tuple[int, int]]) -> Iterator[None]:
    """Leave *files*, as pairs of ``st_dev`` and ``st_ino``, out of every scan while a ``with`` block runs."""
    _excluded.append(_excluded[-1].union(files))
    try:
        yield
    finally:
        _excluded.pop()


def excluded_inodes() -> frozenset[int]:
    """Return the inodes of the excluded files: another device may have other files with these."""
    return frozenset(inode for _, inode in _excluded[-1])


def is_excluded(path: str | bytes) -> bool:
    """Tell whether the file at *path*, links not followed, is excluded."""
    try:
        st = os.lstat(path)
    except OSError:
        return False
    return (st.st_dev, st.st_ino) in _excluded[-1]
