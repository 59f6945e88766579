"""What was put into an image, over what it has."""

from __future__ import annotations

import pytest

from tests.dockerfile.image import Image
from topcoat.dockerfile.image_filesystem import FIXED, ImageFilesystem
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.snapshot import Entry


@pytest.fixture
def overlay() -> ImageFilesystem:
    return ImageFilesystem(
        Image(
            {
                "app/old": ImageNode("file", 0o600, 1, 2),
                "link": ImageNode("link", link=b"app"),
                "x": ImageNode("dir", 0o700),
            }
        )
    )


def test_what_was_put_is_in_front_of_what_the_image_has(overlay: ImageFilesystem) -> None:
    assert overlay.find(b"app/old") == ImageNode("file", 0o600, 1, 2)
    overlay.put(Entry(b"app/old", "file", 0o640, 3, b"", 0, (3, 4)))
    overlay.put(Entry(b"app/up", "link", 0o777, 0, b"../x", 0, (0, 0)))
    assert overlay.find(b"app/old") == ImageNode("file", 0o640, 3, 4)
    assert overlay.find(b"app/up") == ImageNode("link", 0o777, 0, 0, b"../x")
    assert overlay.find(b"") == ImageNode("dir")
    assert overlay.find(b"missing/deep") is None
    assert overlay.below(b"app") == {
        b"old": ImageNode("file", 0o640, 3, 4),
        b"up": ImageNode("link", 0o777, 0, 0, b"../x"),
    }


def test_missing_directories_are_created(overlay: ImageFilesystem) -> None:
    assert overlay.make_directories(b"link/new/deep", 0o750, (5, 6)) == b"app/new/deep"
    assert overlay.find(b"app/new") == overlay.find(b"app/new/deep") == ImageNode("dir", 0o750, 5, 6)
    assert overlay.make_directories(b"x") == b"x"
    with pytest.raises(ValueError, match="/app/old is a file"):
        overlay.make_directories(b"link/old/z")


def test_the_snapshot_has_every_directory_above_as_the_image_has_it(overlay: ImageFilesystem) -> None:
    overlay.put(Entry(b"x/a/b", "file", 0o644, 4, bytes(32), FIXED))
    overlay.make_directories(b"x/a")
    scan = overlay.scan(preserve_mtimes=True)
    assert [(entry.path, entry.mode, entry.owner, entry.mtime) for entry in scan.snapshot] == [
        (b"x", 0o700, None, FIXED),
        (b"x/a", 0o755, None, FIXED),
        (b"x/a/b", 0o644, None, FIXED),
    ]
    assert scan.snapshot.preserve_mtimes


def test_what_is_known_is_reported_without_looking(overlay: ImageFilesystem) -> None:
    overlay.find(b"app")
    overlay.learn(b"app")
    assert overlay.known(b"app/old") == ImageNode("file", 0o600, 1, 2)
    assert overlay.known(b"x") is None, "it was not looked up"
