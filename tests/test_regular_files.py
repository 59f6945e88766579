from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from topcoat.regular_files import open_regular, read_regular


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert read_regular(tmp_path / "a", 7) == b"content"


def test_a_larger_file_is_refused_and_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_regular(tmp_path / "a", 100)


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "directory"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        if kind == "socket":
            sock.bind(str(path))
        with pytest.raises(OSError, match=r"not a regular file|No such device"):
            open_regular(path)


def test_a_link_is_followed_only_if_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="link"):
        open_regular(tmp_path / "link", follow_links=False)
