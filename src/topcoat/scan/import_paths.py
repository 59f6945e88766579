"""The directories of a workspace that jobs import from."""

from __future__ import annotations

import sys

from topcoat.notices import notice
from topcoat.scan.snapshot import Snapshot


def import_paths(snapshot: Snapshot, directory: str) -> tuple[str, ...]:
    """Return what goes on PYTHONPATH where *snapshot* lies in *directory*: that, and ``src/`` unless it is a package.

    Modules of ``src/`` that would hide Python's own keep it off the path, and so does a colon in the directory's name:
    a notice says so.
    """
    if ":" in directory:
        notice(
            f"the code is not on PYTHONPATH: its directory {directory} has a colon in its name, which separates "
            "directories there"
        )
        return ()
    has_src = snapshot.has_directory(b"src") and snapshot.find(b"src/__init__.py") is None
    for module in sorted(sys.stdlib_module_names) if has_src else ():
        if snapshot.find(f"src/{module}.py".encode()):
            notice(f"src/ is not on PYTHONPATH: src/{module}.py would hide Python's own module")
            has_src = False
    return (directory, f"{directory.rstrip('/')}/src") if has_src else (directory,)
