"""Start over when a file of the workspace changes meanwhile; then only that file is scanned again."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from topcoat.errors import WorkspaceChanged, WorkspaceError

T = TypeVar("T")

_MAX_ATTEMPTS = 3


class RepeatableScan(Protocol):
    """A scan that can be updated; see `scanner.Scan`."""

    def scan_again(self, tree: Any, path: str, options: Any) -> Any:
        """Return the scan with one file read again, None if that is not enough."""


S = TypeVar("S", bound=RepeatableScan)


class _Scans:
    """The scans of the attempts, by workspace and options."""

    def __init__(self) -> None:
        self.current: dict[Any, RepeatableScan] = {}
        # Each for one scan of the next attempt.
        self.kept: dict[Any, Any] = {}

    def scan_again(self, error: WorkspaceChanged) -> None:
        """Scan the file again that *error* is about; after any other change the next attempt scans everything."""
        self.kept = {}
        for key, scan in self.current.items():
            try:
                again = scan.scan_again(*error.file, key[1]) if error.file else None
            except WorkspaceError:
                again = None
            if again is not None:
                self.kept[key] = again
        self.current = {}


_scans: ContextVar[_Scans | None] = ContextVar("scans", default=None)


def kept_scan(key: Any) -> Any:
    """Return the last attempt's scan with this *key*, the changed file scanned again; None without one."""
    scans = _scans.get()
    scan = scans.kept.pop(key, None) if scans else None
    return keep_scan(key, scan) if scan else None


def has_kept_scan(key: Any) -> bool:
    """Tell whether `kept_scan` would return a scan."""
    scans = _scans.get()
    return scans is not None and key in scans.kept


def keep_scan(key: Any, scan: S) -> S:
    """Keep *scan* for the next attempt, if there is one, and return it."""
    scans = _scans.get()
    if scans:
        scans.current[key] = scan
    return scan


def retry_if_changed(attempt: Callable[[], T]) -> T:
    """Return what *attempt* returns; call it again if a file has changed, three times at most.

    Raises:
        WorkspaceChanged: a file has changed during the last attempt too.
    """
    scans = _Scans()
    token = _scans.set(scans)
    try:
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return attempt()
            except WorkspaceChanged as error:
                scans.scan_again(error)
        return attempt()
    finally:
        _scans.reset(token)
