"""Job directories: complete or absent, the same again or a conflict."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.inside import Seen, expected, on_disk
from topcoat.destinations import copy, directory, file_maker
from topcoat.destinations.directory import DirectoryDestination
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.errors import DestinationError, JobDirConflict, WorkspaceChanged
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import Scan, ScanOptions, scan
from topcoat.scan.snapshot import Entry
from topcoat.specs import Workspace
from topcoat.state import cache_dir


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.odd(tmp_path / "w")


def _held(job_dir: Path) -> dict[bytes, Seen]:
    actual = on_disk(job_dir)
    del actual[MARKER.encode()]
    return actual


@pytest.mark.parametrize("modes", ["portable", "exact"])
def test_the_directory_is_the_snapshot(workspace: Workspace, tmp_path: Path, modes: Any) -> None:
    scanned = scan(workspace, ScanOptions(modes=modes))
    before = os.umask(0o077)
    try:
        assert DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w")
    finally:
        os.umask(before)
    assert _held(tmp_path / "job") == expected(scanned.snapshot)
    assert (tmp_path / "job").stat().st_mode & 0o7777 == 0o755
    times = {entry.path: entry.mtime for entry in scanned.snapshot}
    job = os.fsencode(tmp_path / "job")
    assert {path: os.lstat(os.path.join(job, path)).st_mtime_ns for path in times} == times
    assert os.listdir(tmp_path / "job/hollow/inner") == []


def test_the_same_snapshot_again_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    destination = DirectoryDestination(str(tmp_path / "job"))
    assert destination.deliver(scan(workspace), "w")
    (tmp_path / "job/result.txt").write_text("from the job")
    assert not destination.deliver(scan(workspace), "w")
    assert (tmp_path / "job/result.txt").read_text() == "from the job"


@pytest.mark.parametrize("there", ["another snapshot", "files", "file", "dangling link", "damaged marker"])
def test_anything_else_is_a_conflict(workspace: Workspace, tmp_path: Path, there: str) -> None:
    job = tmp_path / "job"
    match there:
        case "another snapshot":
            DirectoryDestination(str(job)).deliver(scan(workspace), "w")
            workspaces.edit(workspace, "main.py")
        case "files":
            workspaces.write(job, {"mine": "mine"})
        case "file":
            job.write_text("mine")
        case "dangling link":
            job.symlink_to("nowhere")
        case "damaged marker":
            workspaces.write(job, {MARKER: "{"})
    before = on_disk(tmp_path)
    with pytest.raises(JobDirConflict, match=f"{job} already holds") as raised:
        DirectoryDestination(str(job)).deliver(scan(workspace), "w")
    assert "job_dir=" in (raised.value.hint or "")
    assert on_disk(tmp_path) == before


@pytest.mark.parametrize("how", ["directory", "link"])
def test_an_empty_directory_is_filled(workspace: Workspace, tmp_path: Path, how: str) -> None:
    job, real = tmp_path / "job", tmp_path / "elsewhere"
    if how == "link":
        real.mkdir()
        job.symlink_to(real)
    else:
        job.mkdir()
    assert DirectoryDestination(str(job)).deliver(scan(workspace), "w")
    assert _held(job) == expected(scan(workspace).snapshot)
    assert job.is_symlink() == (how == "link")
    assert not DirectoryDestination(str(job)).deliver(scan(workspace), "w")


@pytest.mark.parametrize("mode", [0o2770, 0o700, 0o777])
def test_an_empty_directory_keeps_its_group_and_mode(workspace: Workspace, tmp_path: Path, mode: int) -> None:
    job = tmp_path / "job"
    job.mkdir()
    if os.geteuid() == 0:
        os.chown(job, -1, 100)
    job.chmod(mode)
    before = job.stat()
    DirectoryDestination(str(job)).deliver(scan(workspace), "w")
    assert (job.stat().st_mode, job.stat().st_gid) == (before.st_mode, before.st_gid)


def test_parents_are_made_and_the_home_directory_is_known(workspace: Workspace, home: Path) -> None:
    DirectoryDestination("~/a/b/job").deliver(scan(workspace), "w")
    assert _held(home / "a/b/job") == expected(scan(workspace).snapshot)


def _failing(entry_number: int, error: BaseException) -> Callable[..., None]:
    """Return a `copy_file` that raises *error* at its nth call, in the middle of the file."""
    calls = iter(range(10**6))
    whole = copy.copy_file

    def copy_file(scanned: Scan, entry: Entry, path: str) -> None:
        if next(calls) == entry_number:
            Path(path).write_bytes(b"half")
            raise error
        whole(scanned, entry, path)

    return copy_file


@pytest.mark.parametrize("number", [0, 5, 11])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DestinationError, "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DestinationError, "Disk quota exceeded"),
        (WorkspaceChanged("main.py changed"), WorkspaceChanged, "main.py changed"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_failure_in_the_middle_leaves_nothing(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: BaseException,
    kind: type[BaseException],
    said: str,
) -> None:
    before = on_disk(tmp_path)
    whole = file_maker.copy_file
    monkeypatch.setattr(file_maker, "copy_file", _failing(number, error))
    with pytest.raises(kind, match=said):
        DirectoryDestination(str(tmp_path / "job")).deliver(scan(workspace), "w")
    assert on_disk(tmp_path) == before
    monkeypatch.setattr(file_maker, "copy_file", whole)
    assert DirectoryDestination(str(tmp_path / "job")).deliver(scan(workspace), "w")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("job", ["job", "jobs/1/code"])
def test_a_full_disk_leaves_nothing(workspace: Workspace, small_disk: Path, job: str) -> None:
    with pytest.raises(DestinationError, match="No space left on device") as raised:
        DirectoryDestination(str(small_disk / job)).deliver(scan(workspace), "w")
    assert raised.value.hint
    assert os.listdir(small_disk) == []


def test_a_directory_in_a_place_that_cannot_be_entered_is_planned(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    snapshot = scan(workspace, ScanOptions()).snapshot
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert not DirectoryDestination(str(tmp_path / "job")).check(snapshot)


@pytest.mark.parametrize("place", ["file/job", "file/deeper/job", "/proc/topcoat/job"])
def test_a_place_that_cannot_be_written_is_an_error(workspace: Workspace, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="cannot fill the job directory") as raised:
        DirectoryDestination(str(tmp_path / place)).deliver(scan(workspace), "w")
    assert "job_dir=" in (raised.value.hint or "")


def test_a_mount_point_is_an_error_that_says_so(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(old: str, new: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    (tmp_path / "job").mkdir()
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(DestinationError, match="busy") as raised:
        DirectoryDestination(str(tmp_path / "job")).deliver(scan(workspace), "w")
    assert "it is a mount point" in (raised.value.hint or "")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["main.py", "large.bin"])
@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("changed")])
def test_a_file_that_changed_since_the_scan_is_an_error(
    workspace: Workspace, tmp_path: Path, change: Callable[[Path], Any], name: str
) -> None:
    scanned = scan(workspace)
    change(tmp_path / "w" / name)
    with pytest.raises(WorkspaceChanged, match=name) as raised:
        DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w")
    assert raised.value.hint
    assert sorted(os.listdir(tmp_path)) == ["w"]


def test_two_deliveries_at_the_same_time_both_succeed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin before either has ended; one of them fills the directory."""
    both, fill = threading.Barrier(2, timeout=20), directory._fill

    def fill_together(*args: Any) -> None:
        fill(*args)
        both.wait()

    monkeypatch.setattr(directory, "_fill", fill_together)
    scanned, results = scan(workspace), []

    def deliver() -> None:
        results.append(DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w"))

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]
    assert sorted(os.listdir(tmp_path)) == ["job", "w"]
    assert _held(tmp_path / "job") == expected(scanned.snapshot)


def test_somebody_elses_snapshot_that_came_first_is_a_conflict(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, scanned = directory._fill, scan(workspace)
    other = scan(workspaces.write(tmp_path / "other", {"a": "a"}))

    def fill_too_late(*args: Any) -> None:
        fill(*args)
        monkeypatch.setattr(directory, "_fill", fill)
        DirectoryDestination(str(tmp_path / "job")).deliver(other, "other")

    monkeypatch.setattr(directory, "_fill", fill_too_late)
    with pytest.raises(JobDirConflict, match="another snapshot"):
        DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w")
    assert _held(tmp_path / "job") == expected(other.snapshot)
    assert sorted(os.listdir(tmp_path)) == ["job", "other", "w"]


class TestHardLinks:
    """What ``link=hard`` shares, and what it does not."""

    def _inodes(self, workspace: Workspace, tmp_path: Path, name: str, link: LinkPolicy = "hard") -> dict[str, int]:
        DirectoryDestination(str(tmp_path / name), link=link).deliver(scan(workspace), "context")
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file() and path.name != MARKER]
        return {str(path.relative_to(tmp_path / name)): path.lstat().st_ino for path in files}

    def test_unchanged_files_are_shared(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a", "b": "b", "d/c": "c"})
        first_inodes = self._inodes(workspace, tmp_path, "one", "copy")
        workspaces.edit(workspace, "b", new=b"B")
        two = self._inodes(workspace, tmp_path, "two")
        assert {name for name in first_inodes if first_inodes[name] == two[name]} == {"a", "d/c"}
        assert (tmp_path / "one/b").read_text() == "b"
        assert (tmp_path / "two/b").read_text() == "B"

    def test_copies_share_nothing(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a"})
        first_inodes = self._inodes(workspace, tmp_path, "one")
        assert first_inodes["a"] not in (
            self._inodes(workspace, tmp_path, "two", "copy")["a"],
            (tmp_path / "w/a").stat().st_ino,
        )

    @pytest.mark.parametrize(
        "meddle",
        [
            lambda path: path.write_text("a job wrote this, longer"),
            lambda path: path.write_text("A"),
            lambda path: path.chmod(0o755),
            Path.unlink,
            lambda path: (path.unlink(), path.mkdir()),
            lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        ],
    )
    def test_what_a_job_wrote_to_is_not_shared(self, tmp_path: Path, meddle: Callable[[Path], Any]) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a", "b": "b"})
        first_inodes = self._inodes(workspace, tmp_path, "one")
        meddle(tmp_path / "one/a")
        two = self._inodes(workspace, tmp_path, "two")
        assert (tmp_path / "two/a").read_text() == "a"
        assert two["a"] != first_inodes["a"]
        assert two["b"] == first_inodes["b"]

    def test_a_touched_file_is_not_shared(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a"})
        first_inodes = self._inodes(workspace, tmp_path, "one")
        os.utime(tmp_path / "w/a", (1, 1))
        assert self._inodes(workspace, tmp_path, "two")["a"] != first_inodes["a"]
        assert (tmp_path / "two/a").stat().st_mtime == 1

    @pytest.mark.parametrize("name", ["jobs/{}", "jobs/{}/code"])
    def test_an_old_snapshot_is_found_without_a_record(self, tmp_path: Path, name: str) -> None:
        """The cache was removed, or another machine made the snapshot."""
        workspace = workspaces.write(tmp_path / "w", {"a": "a", "b": "b", "c": "c"})
        first_inodes = self._inodes(workspace, tmp_path, name.format(1))
        shutil.rmtree(cache_dir("jobdirs"))
        changed = tmp_path / name.format(1) / "c"
        before = changed.stat()
        changed.write_text("C")
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
        workspaces.edit(workspace, "b", new=b"B")
        two = self._inodes(workspace, tmp_path, name.format(2))
        assert {file for file in two if two[file] == first_inodes[file]} == {"a"}
        assert (tmp_path / name.format(2) / "c").read_text() == "c"

    def test_an_old_snapshot_is_found_if_the_last_one_was_removed(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a"})
        first_inodes = self._inodes(workspace, tmp_path, "one")
        workspaces.write(tmp_path / "other", {"b": ""})
        DirectoryDestination(str(tmp_path / "gone")).deliver(scan(Workspace({str(tmp_path / "other"): ""})), "context")
        shutil.rmtree(tmp_path / "gone")
        assert self._inodes(workspace, tmp_path, "two") == first_inodes

    def test_a_previous_directory_that_is_gone_is_no_trouble(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a"})
        self._inodes(workspace, tmp_path, "one")
        (tmp_path / "one").rename(tmp_path / "moved")
        assert self._inodes(workspace, tmp_path, "two").keys() == {"a"}

    def test_a_marker_in_the_workspace_is_never_written_through(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a": "a", MARKER: "the workspace's own"})
        self._inodes(workspace, tmp_path, "one")
        first = (tmp_path / "one" / MARKER).read_text()
        workspaces.edit(workspace, "a", new=b"b")
        self._inodes(workspace, tmp_path, "two")
        assert (tmp_path / "one" / MARKER).read_text() == first
        assert (tmp_path / "w" / MARKER).read_text() == "the workspace's own"
        assert json.loads((tmp_path / "two" / MARKER).read_text()) == {"snapshot": scan(workspace).snapshot.digest}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


@pytest.fixture
def folding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of a simulated file system that treats ``A`` and ``a``, and two encodings of ``é``, as one name."""
    root = tmp_path / "folding"
    root.mkdir()

    def resolve(path: str) -> str:
        """Return the path of what the file system would find, as far as there is something."""
        if not str(path).startswith(f"{root}/"):
            return path
        real_path = str(root)
        for name in str(path)[len(real_path) + 1 :].split("/"):
            members = os.listdir(real_path) if os.path.isdir(real_path) else []
            real_path += "/" + next((member for member in members if _folded(member) == _folded(name)), name)
        return real_path

    for name in ("mkdir", "lstat", "open"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, *rest, real=real, **more: real(resolve(path), *rest, **more))
    real_symlink, real_link = os.symlink, os.link
    monkeypatch.setattr(os, "symlink", lambda target, path, *rest: real_symlink(target, resolve(path), *rest))
    monkeypatch.setattr(os, "link", lambda old, path: real_link(old, resolve(path)))
    return root


@pytest.fixture
def real_folding(tmp_path: Path) -> Iterator[Path]:
    """A directory of a real file system that does so: tmpfs, ext4 or FAT, whichever this machine's kernel has."""
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        (tmp_path / "here").mkdir()
        yield tmp_path / "here"
        return
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    ways = (
        (["true"], ["-t", "tmpfs", "-o", "casefold", "tmpfs"]),
        (["mkfs.ext4", "-q", "-O", "casefold", "-E", "encoding=utf8", image], ["-o", "loop", image]),
        (["mkfs.vfat", image], ["-o", "loop,utf8", image]),
    )
    for make, mount in ways:
        with image.open("wb") as file:
            file.truncate(8 << 20)
        if not _succeeds(*make) or not _succeeds("mount", *mount, mounted):
            continue
        try:
            inner = mounted / "inner"
            inner.mkdir()
            _succeeds("chattr", "+F", inner)
            (inner / "a").touch()
            if (inner / "A").exists():
                (inner / "a").unlink()
                yield inner
                return
        finally:
            _succeeds("umount", mounted)
    pytest.skip("a file system that treats A and a as one name cannot be mounted here (tmpfs or ext4 casefold, vfat)")


def _succeeds(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


_COLLIDING = {
    "files": (("pkg/Train.py", "pkg/train.py"), "pkg/train.py"),
    "directories": (("Data/a.txt", "data/b.txt"), "data"),
    "a file and a directory": (("Data", "data/b.txt"), "data"),
    "unicode forms": (("caf\u0065\u0301.txt", "caf\u00e9.txt"), "caf\u00e9.txt"),
}


@pytest.mark.parametrize("kind", _COLLIDING)
@pytest.mark.parametrize("link", ["copy", "hard"])
def test_an_error_lists_both_names_that_the_file_system_treats_as_one_and_nothing_is_written(
    tmp_path: Path, folding: Path, kind: str, link: LinkPolicy
) -> None:
    names, second = _COLLIDING[kind]
    workspaces.write(tmp_path / "w", dict.fromkeys(names, "x"))
    scanned = scan(Workspace({str(tmp_path / "w"): ""}))
    first = names[0].partition("/")[0] if second == "data" else names[0]
    with pytest.raises(DestinationError) as caught:
        DirectoryDestination(str(folding / "job"), link=link).deliver(scanned, "w")
    assert f"treats {first!r} and {second!r} as one name" in caught.value.message
    assert ".torchxignore" in str(caught.value.hint)
    assert os.listdir(folding) == []


def test_a_link_is_never_written_through_by_a_name_that_is_one_with_it(tmp_path: Path, folding: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    workspaces.write(tmp_path / "w", {"out/evil.txt": "x"})
    (tmp_path / "w" / "Out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match="'Out' and 'out' as one name"):
        DirectoryDestination(str(folding / "job")).deliver(scan(Workspace({str(tmp_path / "w"): ""})), "w")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_name_that_is_one_with_the_marker_is_named_with_it(tmp_path: Path, folding: Path) -> None:
    workspaces.write(tmp_path / "w", {MARKER.upper(): "{}"})
    with pytest.raises(DestinationError, match=f"'{MARKER}' and '{MARKER.upper()}' as one name"):
        DirectoryDestination(str(folding / "job")).deliver(scan(Workspace({str(tmp_path / "w"): ""})), "w")


def test_a_real_file_system_that_folds_names_gives_the_error_too(tmp_path: Path, real_folding: Path) -> None:
    workspaces.write(tmp_path / "w", {"pkg/Train.py": "1", "pkg/train.py": "2"})
    with pytest.raises(DestinationError, match=r"'pkg/Train\.py' and 'pkg/train\.py' as one name"):
        DirectoryDestination(str(real_folding / "job")).deliver(scan(Workspace({str(tmp_path / "w"): ""})), "w")
    assert os.listdir(real_folding) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, such names are one")
def test_names_that_differ_in_case_or_unicode_form_are_kept_if_the_file_system_distinguishes_them(
    tmp_path: Path,
) -> None:
    files = {name: name for names, _ in _COLLIDING.values() for name in names if name not in ("Data", "data/b.txt")}
    workspaces.write(tmp_path / "w", files)
    scanned = scan(Workspace({str(tmp_path / "w"): ""}))
    assert DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w")
    assert _held(tmp_path / "job") == expected(scanned.snapshot)
    assert {name: (tmp_path / "job" / name).read_text() for name in files} == files


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, such names are one")
def test_two_projects_may_hold_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    workspaces.write(tmp_path / "one", {"Train.py": "1", "data": "a file"})
    workspaces.write(tmp_path / "two", {"train.py": "2", "Data/a.txt": "a directory"})
    scanned = scan(Workspace({str(tmp_path / "one"): "", str(tmp_path / "two"): ""}))
    assert DirectoryDestination(str(tmp_path / "job")).deliver(scanned, "w")
    assert (tmp_path / "job/Train.py").read_text() == "1"
    assert (tmp_path / "job/train.py").read_text() == "2"
    assert (tmp_path / "job/data").read_text() == "a file"
    assert (tmp_path / "job/Data/a.txt").read_text() == "a directory"


class TestJobThatChangesItsDirectory:
    """The same snapshot is delivered to a directory in which a job has run."""

    @pytest.mark.parametrize("content", ["other", "longer than before"])
    def test_a_file_that_a_job_changed_is_an_error_that_names_it(self, tmp_path: Path, content: str) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a.py": "first", "d/b.py": "1", "link": "x"})
        job = DirectoryDestination(str(tmp_path / "job"))
        job.deliver(scan(workspace), "w")
        (tmp_path / "job/a.py").write_text(content)
        with pytest.raises(JobDirConflict, match=r"a job has changed or removed files of it: a\.py$") as caught:
            job.check(scan(workspace).snapshot)
        assert "job_dir=" in str(caught.value.hint)
        with pytest.raises(JobDirConflict):
            job.deliver(scan(workspace), "w")

    def test_every_kind_of_change_is_found(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {f"{name}.py": name for name in "abcdef"})
        (tmp_path / "w/link").symlink_to("a.py")
        (tmp_path / "w/empty").mkdir()
        job = DirectoryDestination(str(tmp_path / "job"))
        job.deliver(scan(workspace), "w")
        changed = tmp_path / "job"
        (changed / "a.py").unlink()
        (changed / "b.py").chmod(0o755)
        (changed / "link").unlink()
        (changed / "link").symlink_to("b.py")
        (changed / "empty").rmdir()
        with pytest.raises(JobDirConflict, match=r"a\.py, b\.py, empty and 1 more$"):
            job.check(scan(workspace).snapshot)

    def test_files_that_a_job_added_and_files_that_were_touched_are_no_change(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a.py": "first", "d/b.py": "1"})
        job = DirectoryDestination(str(tmp_path / "job"))
        job.deliver(scan(workspace), "w")
        workspaces.write(tmp_path / "job", {"d/out.ckpt": "result", "new/x": "result"})
        os.utime(tmp_path / "job/a.py")
        os.utime(tmp_path / "w/d/b.py")
        assert not job.deliver(scan(workspace), "w")
        assert (tmp_path / "job/d/out.ckpt").read_text() == "result"

    def test_modes_do_not_count_on_a_file_system_that_does_not_keep_them(self, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"a.py": "first"})
        job = DirectoryDestination(str(tmp_path / "job"))
        job.deliver(scan(workspace), "w")
        for name in (MARKER, "a.py"):
            (tmp_path / "job" / name).chmod(0o777)
        assert job.check(scan(workspace).snapshot)
