"""TorchX's directory for files of a user."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib


def TORCHX_HOME(*subdir_paths: str) -> pathlib.Path:  # noqa: N802  (TorchX's name)
    """Return ``$TORCHX_HOME``, by default ``~/.torchx``, or the sub-directory that *subdir_paths* name.

    It is created if missing. Components may keep files there; topcoat does not.
    """
    import pathlib

    from topcoat.state import make_directories

    home = pathlib.Path(os.environ.get("TORCHX_HOME") or pathlib.Path.home() / ".torchx")
    path = home.joinpath(*subdir_paths)
    make_directories(path, 0o755)
    return path
