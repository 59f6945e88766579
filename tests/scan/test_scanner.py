"""A scan finds what a job would get: all of it, nothing else, nothing torn, and no unchanged file is opened."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.scan.strategies import names
from tests.support.notices import recorded_notices

from topcoat.errors import (
    InvalidIgnorePattern,
    InvalidWorkspace,
    WorkspaceChanged,
    WorkspaceError,
    WorkspaceNotFound,
)
from topcoat.scan import scanner
from topcoat.scan.content import Content
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan, ScanOptions, scan
from topcoat.scan.snapshot import Entry
from topcoat.scan.tree import LocalTree, SourceNode, Version
from topcoat.specs.workspace import Workspace
from topcoat.testing.trees import AnyPath, Directory, File, Link, Tree, build_tree, flatten

LONG_AGO = 1_600_000_000_000_000_000


@pytest.fixture
def memory() -> Iterator[AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened for their content, other than ignore files."""
    collected: list[str] = []
    digest_at_once = scanner.digest_at_once

    def noting(tree: Any, path: str) -> Content | None:
        collected.append(path)
        return digest_at_once(tree, path)

    monkeypatch.setattr(scanner, "digest_at_once", noting)
    return collected


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """The notices to the user during the test."""
    with recorded_notices() as texts:
        yield texts


def look(path: AnyPath, **options: Any) -> Scan:
    return scan(Workspace({os.fsdecode(path): ""}), ScanOptions(**options))


def as_tree(scanned: Scan) -> dict[bytes, object]:
    """Return the snapshot as a flat tree, the way `flatten` does."""
    collected: dict[bytes, object] = {}
    for entry in scanned.snapshot:
        if entry.kind == "file":
            collected[entry.path] = File(scanned.read(entry), entry.mode)
        else:
            collected[entry.path] = Link(entry.content) if entry.kind == "link" else Directory({}, entry.mode)
    return collected


def next_tick() -> None:
    """Let the kernel's clock for files move on: no more often than that does it turn up in a file's times."""
    time.sleep(0.02)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test writes is old enough for the index to take the file system's clock at its word."""
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 10_000_000_000)


# What is in a snapshot.


def test_files_links_and_empty_directories_are_in_the_snapshot(tmp_path: Path, notices: list[str]) -> None:
    tree: Tree = {
        ".torchxignore": "",
        "train.py": "print(1)\n",
        "run.sh": File("#!/bin/sh\n", mode=0o755),
        "empty": {},
        "nothing": b"",
        "src": {"latest": Link("../train.py"), "deep": {"er": {"x": "y"}}},
        "dangling": Link("no/such/file"),
        b"\xff\xfe\n": {b"caf\xe9 ": b"\x00\xff"},
    }
    build_tree(tmp_path, tree)
    scanned = look(tmp_path)
    assert as_tree(scanned) == flatten(tree)
    assert notices == []


@given(st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=8))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_names_and_content_are_any_bytes(tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, bytes]) -> None:
    root = tmp_path_factory.mktemp("ws")
    tree: Tree = {".torchxignore": b"", **files}
    build_tree(root, tree)
    assert as_tree(look(root)) == flatten(tree)


def test_two_checkouts_with_other_umasks_times_and_listing_orders_are_one_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(tmp_path / "one", {"a": File("1", mode=0o664), "run": File("2", mode=0o775), "d": Directory(mode=0o775)})
    build_tree(
        tmp_path / "two",
        {
            "d": Directory(mode=0o700, mtime=LONG_AGO),
            "run": File("2", mode=0o711, mtime=LONG_AGO),
            "a": File("1", mode=0o600),
        },
    )
    scanned = look(tmp_path / "one").snapshot
    list_directory = LocalTree.list
    monkeypatch.setattr(LocalTree, "list", lambda self, path: list_directory(self, path)[::-1])
    two = look(tmp_path / "two").snapshot
    assert scanned == two
    assert {entry.path: entry.mode for entry in two} == {b"a": 0o644, b"run": 0o755, b"d": 0o755}


def test_exact_modes_keep_every_permission_bit(tmp_path: Path) -> None:
    build_tree(
        tmp_path, {"a": File("", mode=0o640), "s": File("", mode=0o4711), "d": Directory({"x": ""}, mode=0o2770)}
    )
    modes = {entry.path: entry.mode for entry in look(tmp_path, modes="exact").snapshot}
    assert modes == {b"a": 0o640, b"s": 0o4711, b"d": 0o2770, b"d/x": 0o644}


def test_mtimes_count_only_if_they_are_preserved(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a": File("x", mtime=LONG_AGO)})
    before, exact = look(tmp_path).snapshot, look(tmp_path, mtimes="preserve").snapshot
    os.utime(tmp_path / "a", ns=(1, 1))
    assert look(tmp_path).snapshot == before
    assert look(tmp_path, mtimes="preserve").snapshot != exact
    assert exact.entries[0].mtime == LONG_AGO


def test_special_files_are_left_out_with_a_notice_and_never_opened(tmp_path: Path, notices: list[str]) -> None:
    build_tree(tmp_path, {".torchxignore": "", "d": {"a.py": ""}})
    os.mkfifo(tmp_path / "d/pipe")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "d/zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    scanned = look(tmp_path)
    assert [entry.path for entry in scanned.snapshot] == [b".torchxignore", b"d", b"d/a.py"]
    assert "d/pipe is a device, socket or FIFO: left out" in notices
    assert len(notices) == 1 + (os.geteuid() == 0)


@pytest.mark.parametrize(
    ("target", "leaves"),
    [
        ("../b", False),
        ("b/../../a", False),
        ("../../x", True),
        ("../..", True),
        ("..", False),
        ("/etc/passwd", True),
        ("..x", False),
        ("nowhere", False),
    ],
)
def test_a_link_out_of_the_workspace_is_kept_with_a_notice(
    tmp_path: Path, notices: list[str], target: str, leaves: bool
) -> None:
    build_tree(tmp_path, {".torchxignore": "", "d/link": Link(target)})
    scanned = look(tmp_path)
    assert scanned.snapshot.entries[-1][:2] == (b"d/link", "link")
    assert scanned.snapshot.entries[-1].content == target.encode()
    assert notices == [f"d/link links to {target}, outside the workspace: kept as a link"] * leaves


def test_cyclic_links_and_links_to_a_parent_are_kept_and_not_followed(tmp_path: Path) -> None:
    build_tree(tmp_path, {".torchxignore": "", "a": Link("b"), "b": Link("a"), "d/up": Link("..")})
    assert [entry.path for entry in look(tmp_path).snapshot] == [b".torchxignore", b"a", b"b", b"d", b"d/up"]


def test_a_workspace_that_is_a_link_is_the_directory_it_links_to(tmp_path: Path) -> None:
    build_tree(tmp_path, {"real/a.py": "x", "link": Link("real")})
    assert look(tmp_path / "link").snapshot == look(tmp_path / "real").snapshot


def test_a_deep_path_is_kept(tmp_path: Path) -> None:
    path = "/".join(["directory"] * 120)
    build_tree(tmp_path, {f"{path}/file": "deep"})
    assert look(tmp_path).snapshot.entries[-1].path == f"{path}/file".encode()


def test_a_path_that_is_too_long_to_open_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    with pytest.raises(WorkspaceError, match=r"^cannot read .{200}: the path is too long$") as caught:
        look(tmp_path)
    assert f"add the line {'d' * 200} to .torchxignore" in str(caught.value.hint)
    os.chdir(tmp_path)


# Ignore files.


def test_image_workspaces_read_both_ignore_files_as_one_list(tmp_path: Path) -> None:
    build_tree(tmp_path, {".dockerignore": "*.txt\n*.log\n", ".torchxignore": "!keep.txt\n*.bin\n"})
    build_tree(tmp_path, {"keep.txt": "", "drop.txt": "", "a.log": "", "b.bin": "", "c.py": ""})
    image = {entry.path for entry in look(tmp_path, ignore_files=IMAGE_IGNORE_FILES).snapshot}
    assert image == {b".dockerignore", b".torchxignore", b"keep.txt", b"c.py"}
    directory = {entry.path for entry in look(tmp_path).snapshot}
    assert directory == {b".dockerignore", b".torchxignore", b"keep.txt", b"drop.txt", b"a.log", b"c.py"}


def test_the_ignore_file_of_the_dockerfile_replaces_dockerignore(tmp_path: Path, notices: list[str]) -> None:
    build_tree(
        tmp_path,
        {
            "Dockerfile.torchx.dockerignore": "secrets\n*.txt\n",
            ".dockerignore": "*.py\n",
            ".torchxignore": "!keep.txt\n*.bin\n",
            "secrets/key": "",
            **dict.fromkeys(["a.py", "keep.txt", "drop.txt", "b.bin"], ""),
        },
    )
    kept = {
        entry.path for entry in look(tmp_path, ignore_files=IMAGE_IGNORE_FILES).snapshot if b"ignore" not in entry.path
    }
    assert kept == {b"a.py", b"keep.txt"}
    assert notices == []


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.torchx.dockerignore"])
def test_a_scan_for_a_job_directory_warns_of_an_ignore_file_that_it_does_not_read(
    tmp_path: Path, notices: list[str], name: str
) -> None:
    build_tree(tmp_path, {name: "*.py\n", ".torchxignore": "*.bin\n", "a.py": ""})
    assert b"a.py" in {entry.path for entry in look(tmp_path).snapshot}
    assert notices == [
        f"{tmp_path}/{name} is not read for a job directory, only .torchxignore: what it leaves out of images is copied"
    ]
    notices.clear()
    (tmp_path / ".torchxignore").unlink()
    assert b"a.py" in {entry.path for entry in look(tmp_path).snapshot}
    assert len(notices) == 2


def test_the_hint_for_an_unreadable_ignore_file_is_not_to_ignore_it(tmp_path: Path) -> None:
    build_tree(tmp_path, {".dockerignore": Link(".dockerignore")})
    with pytest.raises(WorkspaceError) as caught:
        look(tmp_path, ignore_files=IMAGE_IGNORE_FILES)
    assert caught.value.hint == "make .dockerignore a readable file, or remove it"


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_scanned_is_scanned_again_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(tmp_path, {".torchxignore": "", "a.py": "1", "b.py": "2", "d": {"c.py": "3"}})
    opened: list[str] = []
    digest_at_once, digest_file = scanner.digest_at_once, scanner.digest_file

    def once(tree: Any, path: str) -> Content | None:
        opened.append(path)
        if path == "a.py":
            (tmp_path / "a.py").write_text("changed")
            return None
        return digest_at_once(tree, path)

    def later(tree: Any, path: str, listed: Version | None) -> Content:
        opened.append(path)
        return digest_file(tree, path, listed)

    monkeypatch.setattr(scanner, "digest_at_once", once)
    monkeypatch.setattr(scanner, "digest_file", later)
    scanned = look(tmp_path)
    assert opened == [".torchxignore", "a.py", "b.py", "d/c.py", "a.py"]
    assert as_tree(scanned)[b"a.py"] == File(b"changed", 0o644)


def test_without_an_ignore_file_caches_are_excluded_and_a_notice_says_so(tmp_path: Path, notices: list[str]) -> None:
    build_tree(tmp_path, {".git/HEAD": "x", "src/__pycache__/a.pyc": "x", "src/a.py": "x", "venv/bin/python": "x"})
    scanned = look(tmp_path)
    assert [entry.path for entry in scanned.snapshot] == [b"src", b"src/a.py"]
    assert len(notices) == 1
    assert "topcoat init" in notices[0]
    notices.clear()
    build_tree(tmp_path, {".torchxignore": ""})
    scanned = look(tmp_path)
    assert b".git/HEAD" in {entry.path for entry in scanned.snapshot}
    assert notices == []


def test_excluded_parents_of_kept_files_are_in_the_snapshot(tmp_path: Path) -> None:
    build_tree(tmp_path, {".torchxignore": "data\n!data/deep/er/keep.csv\n!data/none\n!data/hollow\n"})
    build_tree(tmp_path, {"data": {"drop": "", "deep": {"er": {"keep.csv": "", "drop": ""}, "no": {}}, "hollow": {}}})
    assert [entry.path for entry in look(tmp_path).snapshot] == [
        b".torchxignore",
        b"data",
        b"data/deep",
        b"data/deep/er",
        b"data/deep/er/keep.csv",
        b"data/hollow",
    ]


def test_an_excluded_directory_without_anything_kept_is_not_in_the_snapshot(tmp_path: Path) -> None:
    build_tree(tmp_path, {".torchxignore": "data\n!**/*.py\n", "data/a/b.csv": "", "src/x.py": ""})
    assert {entry.path for entry in look(tmp_path).snapshot} == {b".torchxignore", b"src", b"src/x.py"}


def test_a_malformed_pattern_names_file_and_line(tmp_path: Path) -> None:
    build_tree(tmp_path, {".torchxignore": "ok\n[\n"})
    with pytest.raises(InvalidIgnorePattern, match=rf"{tmp_path}/\.torchxignore:2"):
        look(tmp_path)


def test_an_ignore_file_may_be_a_link(tmp_path: Path, notices: list[str]) -> None:
    build_tree(tmp_path, {"rules": "*.log\n", ".torchxignore": Link("rules"), "a.log": "", "a.py": ""})
    assert b"a.log" not in {entry.path for entry in look(tmp_path).snapshot}
    assert notices == []


def test_a_directory_called_like_an_ignore_file_is_a_directory(tmp_path: Path) -> None:
    build_tree(tmp_path, {".torchxignore/a": "", "b": ""})
    assert len(look(tmp_path).snapshot) == 3


# What is remembered, and what is read again.


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_not_opened(tmp_path: Path, opened: list[str]) -> None:
    build_tree(tmp_path, {".torchxignore": "", "a.py": "1", "d/b.py": "2"})
    first = look(tmp_path)
    assert sorted(opened) == [".torchxignore", "a.py", "d/b.py"]
    opened.clear()
    assert look(tmp_path).snapshot == first.snapshot
    assert opened == []
    next_tick()
    build_tree(tmp_path, {"d/b.py": "3"})
    assert look(tmp_path).snapshot != first.snapshot
    assert opened == ["d/b.py"]


def test_files_edited_a_moment_ago_are_opened_again_because_an_edit_in_the_same_tick_changes_no_stat_value(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the write and the scan, much time may go by.
    monkeypatch.setattr("topcoat.scan.index.settling_time", lambda root: 60 * 10**9)
    path = tmp_path / "a.py"
    path.write_text("1")
    before = path.stat()
    first = look(tmp_path).snapshot
    path.write_text("2")
    # Whatever the clock of this file system is, let the edit not show in what stat says.
    list_directory = LocalTree.list

    def stuck(self: LocalTree, directory: str) -> list[SourceNode]:
        times = {"mtime": before.st_mtime_ns, "ctime": before.st_ctime_ns}
        return [node._replace(**times) for node in list_directory(self, directory)]

    monkeypatch.setattr(LocalTree, "list", stuck)
    assert look(tmp_path).snapshot != first
    assert opened == ["a.py", "a.py"]


@pytest.mark.usefixtures("settled")
def test_an_edit_whose_mtime_is_set_back_is_noticed(tmp_path: Path, opened: list[str]) -> None:
    build_tree(tmp_path, {"a.py": File("1", mtime=LONG_AGO)})
    first = look(tmp_path).snapshot
    next_tick()
    build_tree(tmp_path, {"a.py": File("2", mtime=LONG_AGO)})
    assert look(tmp_path).snapshot != first
    assert opened == ["a.py", "a.py"]


@pytest.mark.usefixtures("settled")
def test_a_file_that_another_of_equal_size_and_mtime_was_renamed_over_is_noticed(
    tmp_path: Path, opened: list[str]
) -> None:
    build_tree(tmp_path, {"ws/a.py": File("1", mtime=LONG_AGO), "b.py": File("2", mtime=LONG_AGO)})
    first = look(tmp_path / "ws").snapshot
    os.replace(tmp_path / "b.py", tmp_path / "ws/a.py")
    assert look(tmp_path / "ws").snapshot != first
    assert opened == ["a.py", "a.py"]


@pytest.mark.usefixtures("settled")
def test_files_with_times_in_the_future_are_read_each_time(tmp_path: Path, opened: list[str]) -> None:
    build_tree(tmp_path, {"a.py": File("1", mtime=time.time_ns() + 10**15), "b.py": File("2", mtime=1 << 63)})
    first = look(tmp_path, mtimes="preserve")
    opened.clear()
    assert look(tmp_path, mtimes="preserve").snapshot == first.snapshot
    assert opened == ["a.py", "b.py"]


@pytest.mark.usefixtures("settled")
def test_a_damaged_index_changes_no_result(tmp_path: Path, home: Path, opened: list[str]) -> None:
    build_tree(tmp_path, {"a.py": "1"})
    first = look(tmp_path).snapshot
    (index,) = (home / ".cache/topcoat/index").iterdir()
    good = index.read_bytes()
    for bad in (b"", good[:-1], good.replace(b"index 3", b"index 2"), b"\0" * len(good)):
        index.write_bytes(bad)
        opened.clear()
        assert look(tmp_path).snapshot == first
        assert opened == ["a.py"]
        assert index.read_bytes() == good


@pytest.mark.usefixtures("settled")
def test_each_workspace_has_its_own_index(tmp_path: Path, opened: list[str]) -> None:
    for name in ("one", "two"):
        build_tree(tmp_path / name, {"a.py": File(name, mtime=LONG_AGO)})
    for _ in range(3):
        for name in ("one", "two"):
            scanned = look(tmp_path / name)
            assert scanned.read(scanned.snapshot.entries[0]) == name.encode()
    assert opened == ["a.py", "a.py"]


# Changes between and during.


def test_a_file_that_changed_or_was_deleted_after_the_scan_is_an_error(tmp_path: Path) -> None:
    for size in (3, 3 << 20):
        build_tree(tmp_path, {"a": b"x" * size})
        scanned = look(tmp_path)
        (entry,) = scanned.snapshot.entries
        assert scanned.read(entry) == b"x" * size
        build_tree(tmp_path, {"a": b"y" * size})
        with pytest.raises(WorkspaceChanged, match="a changed after it was scanned") as caught:
            scanned.read(entry)
        assert caught.value.hint == (
            "run the command again; if a program keeps writing it, add the line a to .torchxignore (`topcoat init` "
            "writes one)"
        )
        (tmp_path / "a").unlink()
        for call in (scanned.read, scanned.open):
            with pytest.raises(WorkspaceChanged, match="a changed after it was scanned"):
                call(entry)


@pytest.mark.parametrize("victim", ["file", "link", "dir"])
def test_a_path_that_is_deleted_during_the_scan_is_left_out_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str], victim: str
) -> None:
    build_tree(tmp_path, {".torchxignore": "", "a": "", "file": "x", "link": Link("a"), "dir": {"sub": {"x": ""}}})
    list_directory = LocalTree.list

    def deleting(self: LocalTree, path: str) -> list[SourceNode]:
        nodes = list_directory(self, path)
        if path == "dir":
            shutil.rmtree(tmp_path / "dir/sub")
        if victim != "dir" and path == "" and os.path.lexists(tmp_path / victim):
            listed.append(path)
            if len(listed) == 2:  # the first listing looks for ignore files
                os.unlink(tmp_path / victim)
        return nodes

    listed: list[str] = []
    monkeypatch.setattr(LocalTree, "list", deleting)
    scanned = look(tmp_path)
    gone = "dir/sub" if victim == "dir" else victim
    assert f"{gone} was deleted while the workspace was scanned: left out" in notices
    present = {entry.path for entry in scanned.snapshot}
    assert (victim.encode() in present) is (victim == "dir")
    assert b"dir/sub/x" not in present


def test_a_workspace_that_is_deleted_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound):
        look(tmp_path / "gone")


# Several projects, single files, remote ones.


def test_projects_are_at_their_targets_with_the_directories_above(tmp_path: Path) -> None:
    build_tree(tmp_path, {"app": {"main.py": "1"}, "lib": {"util/x.py": "2"}, "one.py": File("3", mode=0o755)})
    projects = {"app": "", "lib": "third/party/lib", "one.py": "bin/tool"}
    scanned = scan(Workspace({str(tmp_path / source): target for source, target in projects.items()}))
    assert as_tree(scanned) == flatten(
        {
            "main.py": "1",
            "third": {"party": {"lib": {"util": {"x.py": "2"}}}},
            "bin": {"tool": File("3", mode=0o755)},
        }
    )


def test_a_later_project_wins(tmp_path: Path) -> None:
    build_tree(tmp_path, {"one": {"a": "1", "b": "1"}, "two": {"b": "2", "c": "2"}})
    for order, winner in ((("one", "two"), "2"), (("two", "one"), "1")):
        scanned = scan(Workspace({str(tmp_path / name): "x" for name in order}))
        assert as_tree(scanned) == flatten({"x": {"a": "1", "b": winner, "c": "2"}})


def test_each_project_uses_its_own_ignore_file(tmp_path: Path) -> None:
    build_tree(tmp_path, {"one": {".torchxignore": "*.log", "a.log": ""}, "two": {".torchxignore": "", "b.log": ""}})
    scanned = scan(Workspace({str(tmp_path / "one"): "one", str(tmp_path / "two"): "two"}))
    assert {entry.path for entry in scanned.snapshot if entry.path.endswith(b".log")} == {b"two/b.log"}


def test_an_empty_project_is_an_empty_directory(tmp_path: Path) -> None:
    build_tree(tmp_path, {"empty": {}})
    assert as_tree(scan(Workspace({str(tmp_path / "empty"): "data/in"}))) == flatten({"data/in": {}})
    assert as_tree(look(tmp_path / "empty")) == {}


@pytest.mark.parametrize(
    ("one", "two", "targets"),
    [
        ({"x": "file"}, {"x": {}}, ("", "")),
        ({"x": {"y": ""}}, {"x": "file"}, ("", "")),
        ({"x": "file"}, {"a": ""}, ("", "x")),
        ({"x": "file"}, {"a": ""}, ("", "x/y/z")),
        ({"a": ""}, {"x": "file"}, ("x/y", "")),
        ({"x": Link("elsewhere")}, {"a": ""}, ("", "x")),
    ],
)
def test_a_file_where_another_project_has_a_directory_is_an_error(
    tmp_path: Path, one: Tree, two: Tree, targets: tuple[str, str]
) -> None:
    build_tree(tmp_path / "one", one)
    build_tree(tmp_path / "two", two)
    with pytest.raises(
        InvalidWorkspace, match=r"x is a (file|dir|link) in one project and a (file|dir) in another"
    ) as e:
        scan(Workspace({str(tmp_path / "one"): targets[0], str(tmp_path / "two"): targets[1]}))
    assert "different targets" in str(e.value.hint)


def test_a_single_file_is_a_workspace(tmp_path: Path, notices: list[str]) -> None:
    build_tree(tmp_path, {"train.py": "x", "other.py": "y"})
    scanned = look(tmp_path / "train.py")
    assert as_tree(scanned) == flatten({"train.py": "x"})
    assert notices == []


def test_a_link_to_a_single_file_keeps_the_mode_of_the_file(tmp_path: Path) -> None:
    """A link's own mode has every execute bit."""
    build_tree(tmp_path, {"real.py": File("x", mode=0o640), "link.py": Link("real.py")})
    (entry,) = look(tmp_path / "link.py").snapshot.entries
    assert (entry.kind, entry.mode, entry.size) == ("file", 0o644, 1)
    (entry,) = look(tmp_path / "link.py", modes="exact").snapshot.entries
    assert entry.mode == 0o640


def test_a_workspace_in_memory_gives_the_same_snapshot_as_on_disk(tmp_path: Path, memory: AbstractFileSystem) -> None:
    tree = {".torchxignore": b"*.log\n", "a.py": b"1", "d/b.py": b"x" * (2 << 20), "x.log": b""}
    build_tree(tmp_path, tree)
    memory.pipe({f"/ws/{name}": content for name, content in tree.items()})
    local, remote = look(tmp_path), look("memory://ws")
    assert remote.snapshot == local.snapshot
    assert as_tree(remote) == as_tree(local)
    memory.pipe("/ws/a.py", b"2")
    assert look("memory://ws").snapshot != local.snapshot


def test_local_and_remote_projects_mix(tmp_path: Path, memory: AbstractFileSystem) -> None:
    build_tree(tmp_path, {"a.py": "1"})
    memory.pipe("/lib/b.py", b"2")
    scanned = scan(Workspace({str(tmp_path): "", "memory://lib": "lib", "memory://lib/b.py": "c.py"}))
    assert as_tree(scanned) == flatten({"a.py": "1", "lib/b.py": "2", "c.py": "2"})


def test_the_entry_of_a_file_has_its_stat_values_and_sha256(tmp_path: Path) -> None:
    build_tree(tmp_path, {"a.py": File("content", mode=0o755, mtime=LONG_AGO)})
    (entry,) = look(tmp_path).snapshot.entries
    assert entry == Entry(b"a.py", "file", 0o755, 7, hashlib.sha256(b"content").digest(), LONG_AGO)
