"""Jobs for the commands that take handles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

SCRIPT = "echo out $TOPCOAT_REPLICA_ID; echo err $TOPCOAT_REPLICA_ID >&2"


@pytest.fixture
def ended_job(cli: Cli, workspace: Path) -> str:
    """The handle of a job of two replicas that has ended."""
    return cli("run", "--name", "job", "--num-replicas", "2", "--env", "A=1", "--", "sh", "-c", SCRIPT).out.strip()


@pytest.fixture
def running_job(cli: Cli, workspace: Path) -> str:
    """The handle of a job that runs for long."""
    return cli("run", "--detach", "--", "sh", "-c", "echo started; exec sleep 300").out.strip()
