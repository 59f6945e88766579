"""Snapshots that travel to a login node, over a real ssh connection."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.ssh import LoginNode
from tests.support import workspaces
from tests.support.inside import expected, on_disk
from tests.support.waiting import eventually
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.destinations.last_snapshot import LastSnapshot
from topcoat.errors import DestinationError, JobDirConflict, SchedulerError, WorkspaceChanged
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import ScanOptions, scan
from topcoat.schedulers.slurm import remote_scripts
from topcoat.schedulers.slurm.remote_directory import RemoteDirectory
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.specs import Workspace
from topcoat.state import cache_dir


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.odd(tmp_path / "w")


@pytest.fixture
def sent(site: SshSite, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the archives that were sent."""
    sizes: list[int] = []
    output = site.output

    def counted(command: Any, *, stdin: Any = b"", timeout_s: float) -> Any:
        if not isinstance(stdin, bytes):
            blocks = list(stdin)
            sizes.append(sum(map(len, blocks)))
            stdin = iter(blocks)
        return output(command, stdin=stdin, timeout_s=timeout_s)

    monkeypatch.setattr(site, "output", counted)
    return sizes


def _directory(site: SshSite, path: Path, *, link: LinkPolicy = "copy") -> RemoteDirectory:
    return RemoteDirectory(site, str(path), link=link, last=LastSnapshot.read(site.host, "w"))


def _deliver(
    site: SshSite, workspace: Workspace, path: Path, *, link: LinkPolicy = "copy", modes: Any = "portable"
) -> bool:
    destination = _directory(site, path, link=link)
    return destination.deliver(scan(workspace, ScanOptions(modes=modes)), "w")


def _held(job_dir: Path) -> dict[bytes, Any]:
    actual: dict[bytes, Any] = dict(on_disk(job_dir))
    del actual[MARKER.encode()]
    return actual


def _wanted(workspace: Workspace, modes: Any = "portable") -> dict[bytes, Any]:
    return dict(expected(scan(workspace, ScanOptions(modes=modes)).snapshot))


@pytest.mark.parametrize("modes", ["portable", "exact"])
def test_the_directory_is_the_snapshot(site: SshSite, workspace: Workspace, tmp_path: Path, modes: Any) -> None:
    before = os.umask(0o077)
    try:
        assert _deliver(site, workspace, tmp_path / "jobs/1/code", modes=modes)
    finally:
        os.umask(before)
    assert _held(tmp_path / "jobs/1/code") == _wanted(workspace, modes)
    assert os.listdir(tmp_path / "jobs/1") == ["code"]
    assert (tmp_path / "jobs/1/code").stat().st_mode & 0o7777 == 0o755
    for entry in scan(workspace).snapshot:
        path = os.path.join(os.fsencode(tmp_path / "jobs/1/code"), entry.path)
        assert os.lstat(path).st_mtime_ns == entry.mtime // 10**9 * 10**9


@pytest.mark.parametrize("name", ["-x quote'\"$HOME`id`", "new\nline é!\\n"])
def test_a_hostile_directory_name_is_only_a_name(site: SshSite, tmp_path: Path, name: str) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "a", "b": "b"})
    assert _deliver(site, workspace, tmp_path / name / "1")
    workspaces.edit(workspace, "a", new=b"A")
    assert _deliver(site, workspace, tmp_path / name / "2")
    assert _held(tmp_path / name / "2") == _wanted(workspace)


@pytest.mark.parametrize("link", ["copy", "hard"])
def test_only_what_is_missing_there_is_sent(site: SshSite, tmp_path: Path, sent: list[int], link: LinkPolicy) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "a", "d/b.py": "b", "d/large.bin": os.urandom(3 << 20)})
    _deliver(site, workspace, tmp_path / "1", link=link)
    workspaces.edit(workspace, "a.py", new=b"edited")
    _deliver(site, workspace, tmp_path / "2", link=link)
    assert _held(tmp_path / "2") == _wanted(workspace)
    assert (tmp_path / "1/a.py").read_text() == "a"
    assert (tmp_path / "1/d/large.bin").samefile(tmp_path / "2/d/large.bin") == (link == "hard")
    first, second = sent
    assert first > 3 << 20
    assert second < 2000


def test_deleted_and_replaced_paths_do_not_come_back(site: SshSite, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"gone": "", "d/x": "", "file": "", "kept": "k", "deep/er/y": ""})
    _deliver(site, workspace, tmp_path / "1")
    (tmp_path / "w/gone").unlink()
    shutil.rmtree(tmp_path / "w/d")
    (tmp_path / "w/d").write_text("now a file")
    (tmp_path / "w/file").unlink()
    (tmp_path / "w/file").mkdir()
    shutil.rmtree(tmp_path / "w/deep")
    (tmp_path / "w/deep").symlink_to("kept")
    _deliver(site, workspace, tmp_path / "2")
    assert _held(tmp_path / "2") == _wanted(workspace)


@pytest.mark.parametrize(
    ("link", "meddle"),
    [
        ("copy", lambda path: path.write_text("A")),
        ("hard", lambda path: path.write_text("a job wrote this, longer")),
        ("copy", lambda path: path.chmod(0o600)),
        ("hard", Path.unlink),
        ("copy", lambda path: (path.unlink(), path.mkdir())),
        ("copy", lambda path: (path.unlink(), path.symlink_to("/etc/passwd"))),
    ],
)
def test_what_a_job_wrote_is_not_in_the_next_snapshot(
    site: SshSite, tmp_path: Path, sent: list[int], link: LinkPolicy, meddle: Callable[[Path], Any]
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a": "a", "b": "b", "large": os.urandom(1 << 20)})
    _deliver(site, workspace, tmp_path / "1", link=link)
    meddle(tmp_path / "1/a")
    workspaces.write(tmp_path / "1", {"outputs/checkpoint": "large"})
    workspaces.edit(workspace, "b", new=b"B")
    _deliver(site, workspace, tmp_path / "2", link=link)
    assert _held(tmp_path / "2") == _wanted(workspace)
    # The second archive has the damaged file too, and not all files.
    assert sent[-1] < 2000


def test_a_removed_snapshot_is_sent_whole(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    _deliver(site, workspace, tmp_path / "1")
    shutil.rmtree(tmp_path / "1")
    _deliver(site, workspace, tmp_path / "2")
    assert _held(tmp_path / "2") == _wanted(workspace)


@pytest.mark.parametrize("name", ["jobs/{}", "jobs/{}/code"])
def test_an_old_snapshot_is_found_without_a_record(
    site: SshSite, workspace: Workspace, tmp_path: Path, sent: list[int], name: str
) -> None:
    """The cache was removed, or another machine made the snapshot."""
    _deliver(site, workspace, tmp_path / name.format(1))
    shutil.rmtree(cache_dir("jobdirs"))
    changed = tmp_path / name.format(1) / "with space/a b.txt"
    before = changed.stat()
    changed.write_text("SPACE")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    workspaces.edit(workspace, "main.py")
    _deliver(site, workspace, tmp_path / name.format(2))
    assert _held(tmp_path / name.format(2)) == _wanted(workspace)
    assert sent[-1] < 10_000 < sent[0]


def test_an_old_snapshot_of_another_workspace_does_no_harm(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    other = workspaces.write(tmp_path / "other", {"main.py": "print('other')\n", "x": ""})
    _directory(site, tmp_path / "jobs/1", link="hard").deliver(scan(other), "other")
    _deliver(site, workspace, tmp_path / "jobs/2", link="hard")
    assert _held(tmp_path / "jobs/2") == _wanted(workspace)


def test_the_same_snapshot_again_sends_nothing(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    _deliver(site, workspace, tmp_path / "1")
    (tmp_path / "1/result.txt").write_text("from the job")
    destination = _directory(site, tmp_path / "1")
    assert destination.check(scan(workspace).snapshot)
    assert not _deliver(site, workspace, tmp_path / "1")
    assert (tmp_path / "1/result.txt").read_text() == "from the job"


@pytest.mark.parametrize("case", ["another snapshot", "files", "file", "dangling link", "damaged marker"])
def test_anything_else_is_a_conflict(site: SshSite, workspace: Workspace, tmp_path: Path, case: str) -> None:
    job = tmp_path / "job"
    match case:
        case "another snapshot":
            _deliver(site, workspace, job)
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
    with pytest.raises(JobDirConflict, match=f"{job} on login already holds"):
        _directory(site, job).check(scan(workspace).snapshot)
    with pytest.raises(JobDirConflict, match=f"{job} on login already holds"):
        _deliver(site, workspace, job)
    assert on_disk(tmp_path) == before


def test_a_changed_file_of_the_same_snapshot_is_named(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    _deliver(site, workspace, tmp_path / "job")
    (tmp_path / "job/main.py").write_text("changed by the job")
    with pytest.raises(JobDirConflict, match=r"a job has changed or removed files of it: main\.py"):
        _deliver(site, workspace, tmp_path / "job")


@pytest.mark.parametrize("how", ["directory", "missing parents"])
def test_an_empty_or_missing_place_is_filled(site: SshSite, workspace: Workspace, tmp_path: Path, how: str) -> None:
    job = tmp_path / ("job" if how == "directory" else "a/b/job")
    if how == "directory":
        job.mkdir()
        job.chmod(0o2770)
    assert _deliver(site, workspace, job)
    assert _held(job) == _wanted(workspace)
    assert job.stat().st_mode & 0o7777 == (0o2770 if how == "directory" else 0o755)


def test_a_damaged_archive_is_sent_again_and_then_an_error(
    site: SshSite, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, damaged = site.output, [True, False]

    def damage(command: Any, *, stdin: Any = b"", timeout_s: float) -> Any:
        if not isinstance(stdin, bytes) and (damaged.pop(0) if damaged else False):
            blocks = list(stdin)
            stdin = iter([*blocks[:-1], blocks[-1].replace(blocks[-1][2:4], b"zz")])
        return output(command, stdin=stdin, timeout_s=timeout_s)

    monkeypatch.setattr(site, "output", damage)
    assert _deliver(site, workspace, tmp_path / "1")
    assert _held(tmp_path / "1") == _wanted(workspace)
    damaged.extend([True] * 5)
    with pytest.raises(DestinationError, match="the archive arrived damaged"):
        _deliver(site, workspace, tmp_path / "2")
    assert sorted(os.listdir(tmp_path)) == ["1", "w"]


def test_a_lost_connection_leaves_nothing(
    site: SshSite, login: LoginNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"huge.bin": os.urandom(8 << 20)})
    output = site.output

    def cut(command: Any, *, stdin: Any = b"", timeout_s: float) -> Any:
        def blocks() -> Iterator[bytes]:
            yield next(stdin)
            yield next(stdin)[: 1 << 20]
            eventually(lambda: len(os.listdir(tmp_path)) > 1)
            login.disconnect()
            yield from stdin

        return output(command, stdin=stdin if isinstance(stdin, bytes) else blocks(), timeout_s=timeout_s)

    monkeypatch.setattr(site, "output", cut)
    with pytest.raises(SchedulerError, match="cannot connect to login over ssh"):
        _deliver(site, workspace, tmp_path / "job")
    eventually(lambda: os.listdir(tmp_path) == ["w"])


def test_a_file_that_changed_since_the_scan_is_an_error(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    scanned = scan(workspace)
    (tmp_path / "w/main.py").write_text("changed since")
    with pytest.raises(WorkspaceChanged, match=r"main\.py"):
        _directory(site, tmp_path / "job").deliver(scanned, "w")
    assert sorted(os.listdir(tmp_path)) == ["w"]


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


@pytest.mark.parametrize(("size", "job"), [(1 << 19, "job"), (3 << 20, "job"), (3 << 20, "1/code")])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    site: SshSite, tmp_path: Path, small_disk: Path, size: int, job: str
) -> None:
    """Full while the archive arrives, and while it is unpacked."""
    workspace = workspaces.write(tmp_path / "w", {"a": os.urandom(size), "b": b"\0" * (1 << 20)})
    with pytest.raises(DestinationError, match="No space left on device") as raised:
        _deliver(site, workspace, small_disk / job)
    assert "job_root=" in (raised.value.hint or "")
    assert os.listdir(small_disk) == []


def test_a_place_that_cannot_be_written_is_an_error(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="cannot fill the job directory"):
        _deliver(site, workspace, tmp_path / "file/job")


def test_a_machine_without_a_tool_is_an_error(
    site: SshSite, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_scripts, "DELIVER", "PATH=/nonexistent\n" + remote_scripts.DELIVER)
    with pytest.raises(DestinationError, match="no program 'cp'") as raised:
        _deliver(site, workspace, tmp_path / "job")
    assert "coreutils" in (raised.value.hint or "")


def test_a_lost_login_node_is_an_error(site: SshSite, workspace: Workspace, tmp_path: Path) -> None:
    lost = SshSite("127.0.0.1:1")
    with pytest.raises(SchedulerError, match="cannot connect"):
        _deliver(lost, workspace, tmp_path / "job")
    lost.close()
