from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_configure_writes_a_file_that_is_read(cli: Cli, workspace: Path) -> None:
    assert cli("configure", "-s", "local,local_docker", "-a") == (0, ".torchxconfig\n", "")
    text = (workspace / ".torchxconfig").read_text()
    assert "[local]\n" in text
    assert "[local_docker]\n" in text
    assert "[local_cwd]\n" not in text
    assert "prepend_cwd = False\n" in text
    assert cli("run", "--dryrun", "--", "true").code == 0


def test_configure_overwrites_only_by_force(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[mine]\n")
    result = cli("configure")
    assert result.code == 2
    assert result.error[0] == ".torchxconfig already exists"
    assert (workspace / ".torchxconfig").read_text() == "[mine]\n"
    assert cli("configure", "--force").code == 0
    assert "mine" not in (workspace / ".torchxconfig").read_text()


def test_configure_can_print_instead(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[mine]\n")
    assert "[local]\nlog_dir = None\n" in cli("configure", "--print", "--all").out
    assert (workspace / ".torchxconfig").read_text() == "[mine]\n"


@pytest.mark.usefixtures("workspace")
def test_configure_of_an_unknown_scheduler_leaves_nothing(cli: Cli, workspace: Path) -> None:
    result = cli("configure", "-s", "local,nope")
    assert result.code == 2
    assert result.error[0] == "unknown scheduler 'nope'"
    assert not [path for path in workspace.iterdir() if path.name.startswith(".torchxconfig")]
