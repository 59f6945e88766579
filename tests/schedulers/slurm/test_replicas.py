"""Files of a replica that does not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.local.app_json import role_to_dict
from topcoat.schedulers.slurm import replicas
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.containers import INNER_FILES
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.replicas import Replica
from topcoat.schedulers.slurm.site import CommandResult, LocalSite
from topcoat.schedulers.slurm.status import JobFacts
from topcoat.specs import BindMount, Role


def ended(tmp_path: Path, *, has_container: bool) -> Replica:
    """Return a replica that has ended; its snapshot has the file ``result``, and its data set the file ``sample``."""
    files, code, data = (tmp_path / name for name in ("job/.topcoat", "job/code", "data"))
    for directory in (files, code, data):
        directory.mkdir(parents=True)
    (code / "result").write_text("result")
    (data / "sample").write_text("sample")
    role = Role("r", str(code))
    if has_container:
        mounts = [BindMount(str(code), "/workspace"), BindMount(str(data), "/workspace/data/")]
        role = Role("r", "base:1", env={"WORKSPACE_DIR": "/workspace"}, mounts=mounts)
    group = {"role": "r", "replica": None, "inner_files": INNER_FILES if has_container else str(files)}
    app = {"roles": [role_to_dict(role)], "groups": [group], "snapshots": [str(code)]}
    return Replica(SlurmClient(LocalSite()), "7", JobFiles(str(files)), JobFacts(app), "r", 0, False)


@pytest.mark.parametrize("has_container", [False, True])
@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../../../../../../../../etc/hostname", "/workspace/../etc/hostname", "/", "/tmp/x"]
)
def test_a_file_that_only_the_node_has_is_not_read_or_written_on_the_login_machine(
    tmp_path: Path, path: str, *, has_container: bool
) -> None:
    replica = ended(tmp_path, has_container=has_container)
    (tmp_path / "new").write_text("")
    with pytest.raises(SchedulerError, match=r"which does not run: only files in .*/job, .* are shared"):
        replica.copy_from(path, tmp_path / "copy")
    with pytest.raises(SchedulerError, match="which does not run"):
        replica.copy_to(tmp_path / "new", path)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("result", "result"),
        ("/workspace/result", "result"),
        ("/workspace/data/../result", "result"),
        ("data/sample", "sample"),
        ("/workspace/data/sample", "sample"),
    ],
)
def test_a_file_of_a_bind_mount_is_copied_after_the_end(tmp_path: Path, path: str, content: str) -> None:
    replica = ended(tmp_path, has_container=True)
    replica.copy_from(path, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == content
    replica.copy_to(tmp_path / "copy", f"{path}.new")
    assert len(list(tmp_path.glob("*/**/*.new"))) == 1


@pytest.mark.parametrize("path", [".", "/workspace"])
def test_a_mounted_directory_is_copied_as_a_whole(tmp_path: Path, path: str) -> None:
    ended(tmp_path, has_container=True).copy_from(path, tmp_path / "copy")
    assert (tmp_path / "copy" / "result").read_text() == "result"


def test_without_a_container_the_snapshot_is_copied_by_each_of_its_paths(tmp_path: Path) -> None:
    replica = ended(tmp_path, has_container=False)
    for path in ("result", str(tmp_path / "job/code/result"), "../code/result"):
        replica.copy_from(path, tmp_path / "copy")
        assert (tmp_path / "copy").read_text() == "result"


def test_a_large_file_is_sent_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Site(LocalSite):
        def run(self, command: Any, *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
            sizes.append(len(stdin))
            return super().run(command, stdin=stdin, timeout_s=timeout_s)

    monkeypatch.setattr(replicas, "_PIECE", 1000)
    replica = ended(tmp_path, has_container=False)._replace(client=SlurmClient(Site()))
    content = bytes(range(256)) * 50
    (tmp_path / "large").write_bytes(content)
    replica.copy_to(tmp_path / "large", "sent")
    assert (tmp_path / "job/code/sent").read_bytes() == content
    assert max(sizes) == 1000
