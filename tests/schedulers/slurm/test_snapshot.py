"""The snapshot of a job on a login node: what is done while the connection is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.inside import expected, on_disk
from tests.support.waiting import eventually
from topcoat.runner import get_runner
from topcoat.scan import scanner
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import ScanOptions, scan
from topcoat.schedulers.slurm.session import Session
from topcoat.schedulers.slurm.snapshot import SnapshotWorkspace
from topcoat.schedulers.slurm.ssh import SshSite
from topcoat.specs import AppDef, Role, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.odd(tmp_path / "w")


@pytest.fixture
def scanned_meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The workspaces that were read; the connection is not opened before the first one."""
    read: list[Any] = []
    whole, open_ = scanner._scan, SshSite._open

    def counted(workspace: Any, *rest: Any) -> scanner.Scan:
        read.append(workspace)
        return whole(workspace, *rest)

    def open_later(site: SshSite) -> Session:
        eventually(lambda: read)
        return open_(site)

    monkeypatch.setattr(scanner, "_scan", counted)
    monkeypatch.setattr(SshSite, "_open", open_later)
    return read


def test_the_workspace_is_scanned_once_while_the_connection_is_opened(
    site: SshSite, workspace: Workspace, tmp_path: Path, scanned_meanwhile: list[Any]
) -> None:
    role = Role("r", "", workspace=workspace)
    SnapshotWorkspace(lambda host: site).build_workspaces([role], {"slurm_host": "login", "job_dir": f"{tmp_path}/job"})
    assert role.image == f"{tmp_path}/job"
    assert len(scanned_meanwhile) == 1
    delivered: dict[bytes, Any] = dict(on_disk(tmp_path / "job"))
    del delivered[MARKER.encode()]
    assert delivered == expected(scan(workspace, ScanOptions()).snapshot)


def test_a_submission_scans_each_workspace_once_before_it_connects(
    site: SshSite, workspace: Workspace, tmp_path: Path, scanned_meanwhile: list[Any]
) -> None:
    (tmp_path / "other").mkdir()
    other = Workspace({str(tmp_path / "other"): ""})
    roles = [Role(name, "", entrypoint="true", workspace=each) for name, each in (("a", workspace), ("b", other))]
    with get_runner() as runner:
        info = runner.dryrun(AppDef("app", roles), "slurm", {"slurm_host": site.host})
    assert info.workspace_plan is not None
    assert sorted(map(str, scanned_meanwhile)) == sorted(map(str, (workspace, other)))
