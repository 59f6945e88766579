"""``COPY`` and ``ADD`` of local files: what lands where, over what the image has."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.dockerfile.image import Image, origin
from tests.support.notices import recorded_notices
from topcoat.dockerfile.evaluate import Evaluated, evaluate
from topcoat.dockerfile.parse import parse_dockerfile
from topcoat.errors import InvalidDockerfile, NeedsBuilder
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.scanner import Scan, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.testing.trees import Directory, File, Link, build_tree

CONTEXT = {
    ".torchxignore": "ignored\n",
    "a.py": "a",
    "b.txt": File("b", mode=0o600),
    "run": File("#!", mode=0o755),
    "ignored": "no",
    "dir": Directory({"c.py": "c", "sub": {"d.py": "d", "e.txt": "e"}, "up": Link("../a.py")}, mode=0o750),
    "link": Link("dir"),
    "hollow": {},
}
IMAGE = Image(
    {
        "bin": ImageNode("link", link=b"usr/bin"),
        "usr/bin": ImageNode("dir", 0o755),
        "app": ImageNode("dir", 0o700, 1000, 1000),
        "app/sub": ImageNode("dir", 0o711, 5, 6),
        "app/old.py": ImageNode("file"),
        "app/to": ImageNode("link", link=b"/data"),
        "data": ImageNode("dir"),
        "file": ImageNode("file"),
    }
)


@pytest.fixture
def context(tmp_path: Path) -> Scan:
    build_tree(tmp_path / "workspace", CONTEXT)
    return scan(Workspace({str(tmp_path / "workspace"): ""}), ScanOptions(modes="exact"))


def carried_out(context: Scan, text: str, image: Image = IMAGE) -> Evaluated:
    def find(name: str, platform: str) -> object:
        return origin(image, WorkingDir="/app", Env=["PATH=/bin", "N=value"])

    return evaluate(parse_dockerfile(f"FROM base\n{text}".encode(), "Dockerfile"), context, {}, find)  # type: ignore[arg-type]


def landed(context: Scan, text: str, image: Image = IMAGE) -> list[str]:
    """Return what *text* puts into the image, without the directories of the image above it."""
    paths = {entry.path for entry in carried_out(context, "", image).scan.snapshot}
    entries = carried_out(context, text, image).scan.snapshot
    return [
        entry.path.decode() + ("/" if entry.kind == "dir" else "")
        for entry in entries
        if entry.path not in paths and not (entry.kind == "dir" and image.find(entry.path) is not None)
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("COPY a.py .", ["app/a.py"]),
        ("COPY a.py new", ["app/new"]),
        ("COPY a.py new/", ["app/new/", "app/new/a.py"]),
        ("COPY a.py /x/y/z", ["x/", "x/y/", "x/y/z"]),
        ("COPY a.py /app", ["app/a.py"]),
        ("COPY a.py old.py", ["app/old.py"]),
        ("COPY a.py /bin/tool", ["usr/bin/tool"]),
        ("COPY a.py to", ["data/a.py"]),
        ("COPY /a.py ../../x", ["x"]),
        ("COPY dir n", ["app/n/", "app/n/c.py", "app/n/sub/", "app/n/sub/d.py", "app/n/sub/e.txt", "app/n/up"]),
        ("COPY dir/sub to", ["data/d.py", "data/e.txt"]),
        ("COPY link/sub /x", ["x/", "x/d.py", "x/e.txt"]),
        ("COPY dir/up .", ["app/up"]),
        ("COPY hollow /x/", ["x/"]),
        ("COPY *.py dir/*.py /x/", ["x/", "x/a.py", "x/c.py"]),
        ("COPY */sub/?.txt /x/", ["x/", "x/e.txt"]),
        ("COPY none* a.py /x/", ["x/", "x/a.py"]),
        ("COPY none* /x/", []),
        ('COPY ["a.py", "/with space/"]', ["with space/", "with space/a.py"]),
        ("ADD a.py ./", ["app/a.py"]),
        ("COPY $NONE* ${N:+a}.py /x/", None),
    ],
)  # fmt: skip
def test_a_copy_lands(context: Scan, text: str, paths: list[str] | None) -> None:
    entries = landed(context, text)
    if paths is None:
        # An empty pattern in front of a star is a star: everything of the workspace.
        assert "x/a.py" in entries
        assert "x/run" in entries
    else:
        assert entries == paths


def test_later_instructions_win_and_a_copied_directory_sets_modes_and_owners(context: Scan) -> None:
    text = "COPY --chown=7:8 dir /app\nCOPY b.txt c.py\nCOPY --chmod=744 a.py sub/d.py"
    entries = {entry.path: entry for entry in carried_out(context, text).scan.snapshot}
    assert (entries[b"app"].mode, entries[b"app"].owner) == (0o700, (1000, 1000))
    assert (entries[b"app/sub"].mode, entries[b"app/sub"].owner) == (0o755, (7, 8))
    assert (entries[b"app/sub/e.txt"].mode, entries[b"app/sub/e.txt"].owner) == (0o644, (7, 8))
    assert entries[b"app/up"].owner == (7, 8)
    assert entries[b"app/c.py"].content == hashlib.sha256(b"b").digest()
    assert (entries[b"app/c.py"].mode, entries[b"app/c.py"].owner) == (0o600, None)
    assert (entries[b"app/sub/d.py"].mode, entries[b"app/sub/d.py"].owner) == (0o744, None)


def test_modes_are_changed_but_for_links_and_reach_directories_made_on_the_way(context: Scan) -> None:
    entries = {entry.path: entry.mode for entry in carried_out(context, "COPY --chmod=2750 dir /x/y").scan.snapshot}
    assert entries[b"x"] == entries[b"x/y"] == 0o750
    assert entries[b"x/y/c.py"] == entries[b"x/y/sub"] == 0o2750
    assert entries[b"x/y/up"] == 0o777


def test_what_is_copied_is_read_from_the_workspace(context: Scan) -> None:
    result_scan = carried_out(context, "COPY dir/sub /x").scan
    assert {entry.path: result_scan.read(entry) for entry in result_scan.snapshot if entry.kind == "file"} == {
        b"x/d.py": b"d",
        b"x/e.txt": b"e",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY dir /file", "/file"),
        ("COPY a.py /file/", "/file"),
        ("COPY a.py /file/x", "/file"),
        ("COPY run /sub/run\nCOPY dir /sub/run", "/sub/run"),
        ("COPY dir/sub/d.py /x/sub\nCOPY dir /x", "non-directory: /x/sub"),
        ("COPY a.py /x/a.py/y\nCOPY a.py /x/", "directory /x/a.py"),
        ("COPY dir/sub /x/to\nCOPY dir /x/up/\nCOPY dir /x", "directory /x/up"),
        ("COPY missing/*.py /x", "/missing not found"),
    ],
)
def test_what_does_not_fit_is_refused(context: Scan, text: str, message: str) -> None:
    with pytest.raises(InvalidDockerfile, match=message):
        carried_out(context, text)


def test_a_directory_takes_the_place_of_no_link_of_the_image(context: Scan, tmp_path: Path) -> None:
    build_tree(tmp_path / "other", {"bin": {"x": ""}, "app": {"to": {"y": ""}}})
    other = scan(Workspace({str(tmp_path / "other"): ""}), ScanOptions())
    with pytest.raises(InvalidDockerfile, match=r"non-directory: /bin"):
        carried_out(other, "COPY bin /bin/\nCOPY . /")
    with pytest.raises(InvalidDockerfile, match=r"non-directory: /app/to"):
        carried_out(other, "COPY app /app")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x"])
def test_an_archive_that_add_unpacks_is_handed_to_a_builder(tmp_path: Path, name: str) -> None:
    modes = {"x.tar": "w", "x.tar.gz": "w:gz", "x.tar.bz2": "w:bz2", "x.tar.xz": "w:xz", "x": "w:gz"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=modes[name]) as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("member"))
    build_tree(tmp_path / "other", {name: packed.getvalue()})
    other = scan(Workspace({str(tmp_path / "other"): ""}), ScanOptions())
    with pytest.raises(NeedsBuilder, match=f"Dockerfile:2: ADD unpacks {name} if it is an archive"):
        carried_out(other, f"ADD {name} /x/")
    assert landed(other, f"COPY {name} /x/") == ["x/", f"x/{name}"]


@pytest.mark.parametrize("content", [b"", b"text", bytes(2048), b"text" * 512])
def test_what_is_no_archive_is_added_as_it_is(tmp_path: Path, content: bytes) -> None:
    build_tree(tmp_path / "other", {"x": content})
    other = scan(Workspace({str(tmp_path / "other"): ""}), ScanOptions())
    assert landed(other, "ADD x /y") == ["y"]


def test_files_of_a_copied_directory_are_not_looked_up_one_by_one(context: Scan) -> None:
    image = Image({"app": ImageNode("dir")})
    carried_out(context, "COPY . .\nCOPY . /new", image)
    assert set(image.asked) == {b"app", b"new"}


def test_a_default_for_a_directory_that_was_not_read_is_reported(context: Scan) -> None:
    image = Image({"app": ImageNode("dir", 0o700, 1, 1)}, unread=True)
    with recorded_notices() as notices:
        result_scan = carried_out(context, "COPY dir /opt/x/\nCOPY a.py a.py\nCOPY a.py other.py", image).scan
    assert [(entry.path, entry.mode) for entry in result_scan.snapshot if entry.path.startswith(b"opt")][:2] == [
        (b"opt", 0o755),
        (b"opt/x", 0o755),
    ]
    warning = notices[-1]
    assert "base_scan_limit" in warning
    for path in ("/opt", "/opt/x", "/app/a.py", "/app/other.py"):
        assert path in warning


@pytest.mark.parametrize("text", ["COPY a.py /opt/tool", "COPY . /"])
def test_an_unread_path_that_could_break_the_image_needs_a_builder(context: Scan, text: str) -> None:
    with pytest.raises(NeedsBuilder, match="not read far enough") as caught:
        carried_out(context, text, Image({}, unread=True))
    assert "base_scan_limit" in str(caught.value.hint)
