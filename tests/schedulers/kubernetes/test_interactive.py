"""``topcoat run -i`` on a cluster: the terminal of the one container."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import environment
from tests.components.images import Pushed
from tests.schedulers.kubernetes.conftest import Jobs
from topcoat.errors import UsageError
from topcoat.runner import Runner
from topcoat.specs import AppDef, AppDryRunInfo, Role


def dry_run(runner: Runner, role: Role) -> AppDryRunInfo[object]:
    info = runner.dryrun(AppDef("app", [role]), "kubernetes", {"validate_spec": False, "namespace": "default"})
    runner.make_interactive(info)
    return info


def test_the_one_container_gets_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with Runner("topcoat") as runner:
        request = dry_run(runner, Role("trainer", "image:1", entrypoint="sh")).request
        (container,) = request.resource["spec"]["template"]["spec"]["containers"]  # type: ignore[attr-defined]
        assert [container[name] for name in ("stdin", "stdinOnce", "tty")] == [True, True, True]
        with pytest.raises(UsageError, match="run -i needs a job with one replica, and this one has 2"):
            dry_run(runner, Role("trainer", "image:1", entrypoint="sh", num_replicas=2))


def test_a_debugger_works_on_a_cluster(on_cluster: Jobs, python_base: Pushed, workspace: Path) -> None:
    program = "name = input('name? ')\nbreakpoint()\nprint('hello', name)\n"
    words = ["--image", python_base.reference, "--cpu", "-1", "--memMB", "32", "--", "python3", "-c", program]
    cfg = f"namespace={on_cluster.namespace},reserved_memmb=0"
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "topcoat", "run", "-i", "-s", "kubernetes", "-cfg", cfg, "--workspace", "", *words],
        env={**environment(), "NO_COLOR": "1"},
        encoding="utf-8",
        timeout=60,
        dimensions=(30, 100),
        cwd=str(workspace),
    )
    terminal.expect_exact("connected to")
    time.sleep(1)
    terminal.sendline("Ada")
    terminal.expect_exact("(Pdb)")
    terminal.sendline("continue")
    terminal.expect_exact("hello Ada")
    terminal.expect_exact("SUCCEEDED")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
