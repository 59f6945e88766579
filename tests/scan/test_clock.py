"""How long a file's times take to settle depends on whose clock they are from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from topcoat.scan import clock, index
from topcoat.scan.clock import SETTLED, SETTLED_REMOTE, settling_time
from topcoat.scan.index import StatIndex
from topcoat.scan.scanner import scan
from topcoat.scan.tree import SourceNode
from topcoat.specs import Workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts are read on Linux alone")

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 22 0:24 / {root}/nfs rw - nfs4 server:/export rw
26 25 0:25 / {root}/nfs/local rw master:1 - tmpfs tmpfs rw
27 22 0:26 / {root}/with\\040space rw - fuse.sshfs host:/ rw
28 22 0:27 / {root}/over rw - ext4 /dev/vdb rw
29 28 0:28 / {root}/over rw - cifs //host/share rw
an unknown line
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with simulated mounts in it."""
    place = tmp_path / "root"
    for name in ("nfs/local", "nfs/code", "nfsx", "with space", "over"):
        (place / name).mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(root=place))
    monkeypatch.setattr(clock, "_MOUNTS", str(mounts))
    return place


@pytest.mark.parametrize(
    ("directory", "time"),
    [
        ("", SETTLED),
        ("nfs", SETTLED_REMOTE),
        ("nfs/code", SETTLED_REMOTE),
        ("nfs/local", SETTLED),
        ("nfsx", SETTLED),
        ("with space", SETTLED_REMOTE),
        ("over", SETTLED_REMOTE),
    ],
)
def test_the_innermost_mount_decides(root: Path, directory: str, time: int) -> None:
    assert settling_time(str(root / directory)) == time


def test_a_link_is_followed_to_where_the_files_are(root: Path) -> None:
    (root / "link").symlink_to(root / "nfs")
    assert settling_time(str(root / "link" / "code")) == SETTLED_REMOTE


def test_without_a_list_of_mounts_the_clock_counts_as_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_MOUNTS", str(tmp_path / "none"))
    assert settling_time(str(tmp_path)) == SETTLED


def test_the_file_systems_that_tests_run_on_are_local(tmp_path: Path) -> None:
    assert settling_time(str(tmp_path)) == SETTLED


@pytest.mark.parametrize(("directory", "remembered"), [("nfs/code", False), ("nfsx", True)])
def test_a_file_edited_a_moment_ago_is_read_again_if_the_servers_clock_may_be_behind(
    root: Path, directory: str, remembered: bool
) -> None:
    now = 1_700_000_000_000_000_000
    # The client's clock says that the file was edited now, the server's ten seconds ago.
    node = SourceNode("train.py", "file", 0o644, 3, now - 10_000_000_000, now - 10_000_000_000, 42)
    stat_index = StatIndex({}, str(root / directory), now=now)
    stat_index.put("", node, b"\1" * 32)
    stat_index.save()
    assert (StatIndex.load(str(root / directory)).digests("", [node]) == [b"\1" * 32]) is remembered


def test_a_scan_uses_the_settling_time_of_its_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[str] = []
    monkeypatch.setattr(index, "settling_time", lambda root: collected.append(root) or SETTLED)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.py").write_text("a")
    workspace = Workspace({str(tmp_path / "w"): ""})
    scan(workspace)
    assert collected == [str(tmp_path / "w")]
