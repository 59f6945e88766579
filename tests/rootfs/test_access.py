"""A job that cannot enter the directory of its code is announced when the image is planned."""

from __future__ import annotations

import pytest

from tests.support.notices import recorded_notices
from topcoat.pack.layer import Directory
from topcoat.pack.tar import Ownership
from topcoat.rootfs.access import warn_of_closed_directories

ROOT_HOME = Directory(b"root", 0o700)
HOME = Directory(b"home/user", 0o750, Ownership(1000, 100))


@pytest.mark.parametrize(
    ("user", "directory", "is_closed"),
    [
        ("1000", ROOT_HOME, True),
        ("1000:0", ROOT_HOME, True),
        ("", ROOT_HOME, False),
        ("0", ROOT_HOME, False),
        ("0:5", ROOT_HOME, False),
        ("somebody", ROOT_HOME, False),
        ("1000", HOME, False),
        ("2000:100", HOME, False),
        ("2000:101", HOME, True),
        ("2000", HOME, False),
        ("2000", Directory(b"app"), False),
        ("2000:3", Directory(b"app", 0o1777), False),
        ("1000", Directory(b"home/user", 0o077, Ownership(1000, 100)), True),
    ],
)
def test_a_directory_that_the_user_cannot_enter_is_announced(user: str, directory: Directory, is_closed: bool) -> None:
    with recorded_notices() as notices:
        warn_of_closed_directories([Directory(b"home"), directory], user, "/work")
    assert len(notices) == is_closed
    assert all(f"USER {user} cannot enter /{directory.path.decode()}" in text for text in notices)
