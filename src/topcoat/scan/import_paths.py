"""The directories of a workspace that jobs import from."""

from __future__ import annotations

from topcoat.notices import notice
from topcoat.scan.snapshot import Snapshot


def import_paths(snapshot: Snapshot, directory: str) -> tuple[str, ...]:
    """Return what goes on PYTHONPATH where *snapshot* lies in *directory*: that, and ``src/`` unless it is a package.

    With a package on the path, its modules would be top-level ones: a ``src/types.py`` would hide Python's own.
    A directory with a colon in its name cannot be on PYTHONPATH: a notice says so.
    """
    if ":" in directory:
        notice(
            f"the code is not on PYTHONPATH: its directory {directory} has a colon in its name, which separates "
            "directories there"
        )
        return ()
    has_src = snapshot.has_directory(b"src") and snapshot.find(b"src/__init__.py") is None
    return (directory, f"{directory.rstrip('/')}/src") if has_src else (directory,)
