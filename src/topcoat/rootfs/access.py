"""Whether the user of an image can enter the directory of the code."""

from __future__ import annotations

from collections.abc import Iterable

from topcoat.notices import notice
from topcoat.pack.layer import Directory
from topcoat.scan.names import decode


def numeric_user(text: str) -> tuple[int, int | None] | None:
    """Read an image's ``USER`` as uid and gid; None for root, and for names, whose numbers only the image has."""
    user, _, group = text.partition(":")
    if not (user.isascii() and user.isdecimal()) or int(user) == 0:
        return None
    return int(user), int(group) if group.isascii() and group.isdecimal() else None


def warn_of_closed_directories(directories: Iterable[Directory], user: str, working_dir: str) -> None:
    """Print a notice if *user* cannot enter one of *directories*, those on the way to *working_dir* and itself."""
    numbers = numeric_user(user)
    if numbers is None:
        return
    uid, gid = numbers
    for path, mode, owner in directories:
        if owner.uid == uid:
            allowed = mode & 0o100
        elif gid is None:
            # The group is the one that the image has for the user.
            allowed = mode & 0o011
        else:
            allowed = mode & (0o010 if owner.gid == gid else 0o001)
        if not allowed:
            notice(
                f"the image's USER {user} cannot enter /{decode(path)}, which belongs to {owner.uid}:{owner.gid} with "
                f"mode {mode:04o}, so a job cannot start in {working_dir}: choose another directory for the code with "
                "-cfg workspace_dir=/app"
            )
            return
