"""Copy files of a local replica, and run commands beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.copying import move, split_path, temporary_beside


def copy_from(cwd: str, path: str, destination: str | os.PathLike[str]) -> None:
    """Copy *path*, relative to *cwd*, to *destination*, which appears whole or not at all."""
    _copy(os.path.join(cwd, path), destination, f"copy {path}")


def copy_to(cwd: str, source: str | os.PathLike[str], path: str) -> None:
    """Copy *source* to *path*, relative to *cwd*, or into it if it is a directory."""
    target = os.path.join(cwd, path)
    if os.path.isdir(target) or split_path(path)[1] == ".":
        target = os.path.join(target, os.path.basename(os.path.abspath(source)))
    _copy(os.fspath(source), target, f"copy to {path}")


def _copy(source: str, destination: str | os.PathLike[str], action: str) -> None:
    if not os.path.lexists(source):
        raise SchedulerError(f"cannot {action}: no such file or directory: {source}")
    with temporary_beside(destination) as temporary:
        copied = os.path.join(temporary, "copied")
        try:
            if os.path.isdir(source) and not os.path.islink(source):
                shutil.copytree(source, copied, symlinks=True, ignore=_skip_special)
            else:
                shutil.copy2(source, copied, follow_symlinks=False)
        except (OSError, shutil.Error) as error:
            raise SchedulerError(f"cannot {action}: {escaped(str(error))}") from error
        move(copied, destination)


def _skip_special(directory: str, names: list[str]) -> list[str]:
    """Name the sockets and FIFOs, which cannot be copied."""
    special = []
    for name in names:
        with contextlib.suppress(OSError):
            mode = os.lstat(os.path.join(directory, name)).st_mode
            special += [name] if (mode & 0o170000) in (0o010000, 0o140000) else []
    return special


def execute(replica: dict[str, Any], command: Sequence[str]) -> int:
    """Run *command* with the working directory and the variables of *replica*; return its exit code."""
    try:
        code = subprocess.call([*command], cwd=replica["cwd"], env={**os.environ, **replica["env"]})
    except OSError as error:
        raise SchedulerError(f"cannot run {escaped(command[0])}: {error.strerror}") from error
    return 128 - code if code < 0 else code
