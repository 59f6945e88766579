"""``topcoat run -i`` on Slurm."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import environment
from tests.components.slurm import Slurm
from topcoat.errors import UsageError
from topcoat.runner import Runner


def test_run_i_connects_the_terminal_to_the_job(cluster: Slurm, workspace: Path, runner: Runner) -> None:
    (workspace / "ask.py").write_text("name = input('name? ')\nbreakpoint()\nprint('hello', name)\n")
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "topcoat", "run", "-i", "-s", "slurm", "--", "python3", "ask.py"],
        env={**environment(), "NO_COLOR": "1"},
        cwd=str(workspace),
        encoding="utf-8",
        timeout=60,
    )
    terminal.expect_exact("name? ")
    terminal.sendline("Ada")
    terminal.expect_exact("(Pdb)")
    terminal.sendline("continue")
    terminal.expect_exact("hello Ada")
    terminal.expect_exact("SUCCEEDED")
    terminal.expect(pexpect.EOF)


def test_a_job_with_two_replicas_has_no_terminal(cluster: Slurm, workspace: Path, runner: Runner) -> None:
    from topcoat.specs import AppDef, Resource, Role

    job = Role("job", str(workspace), entrypoint="true", num_replicas=2, resource=Resource(cpu=1, gpu=0, memMB=32))
    info = runner.dryrun(AppDef("job", [job]), "slurm")
    with pytest.raises(UsageError, match="run -i needs a job with one replica, and this one has 2"):
        runner.make_interactive(info)
