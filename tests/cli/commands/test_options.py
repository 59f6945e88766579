"""``runopts``, ``builtins``, ``configure``: what there is to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.schedulers import BUILT_IN


def test_runopts_of_every_scheduler(cli: Cli) -> None:
    done = cli("runopts")
    assert done.code == 0
    assert [line[:-1] for line in done.out.splitlines() if line[:1].isalpha()] == list(BUILT_IN)


def test_runopts_of_one_scheduler(cli: Cli) -> None:
    done = cli("runopts", "local_docker")
    assert done.out.startswith("local_docker:\n    usage:")
    assert "image_repo=IMAGE_REPO (str, None)" in done.out
    found = cli("runopts", "local_docker", "--json").json
    assert found["local_docker"]["modes"] == {
        "type": "str",
        "default": "portable",
        "required": False,
        "help": "portable: files 0644 or 0755, directories 0755; exact: permission bits as they are",
    }


def test_runopts_of_an_unknown_scheduler(cli: Cli) -> None:
    done = cli("runopts", "local_dokcer")
    assert done.code == 2
    assert done.error == ("unknown scheduler 'local_dokcer'", "did you mean local_docker or local_cwd?")


def test_builtins_are_listed_with_their_descriptions(cli: Cli) -> None:
    done = cli("builtins")
    assert (done.code, done.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert rows["utils.echo"] == "Print a message."
    assert list(rows) == sorted(rows)
    assert cli("builtins", "--json").json == rows


def test_the_source_of_a_component_is_printed(cli: Cli) -> None:
    done = cli("builtins", "--print", "utils.echo")
    assert done.out.startswith("def echo(")
    assert cli("builtins", "--print", "utils.ecko").error == (
        "unknown component 'utils.ecko'",
        "did you mean utils.echo or utils.copy or utils.touch?",
    )


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
    done = cli("configure")
    assert done.code == 2
    assert done.error[0] == ".torchxconfig already exists"
    assert (workspace / ".torchxconfig").read_text() == "[mine]\n"
    assert cli("configure", "--force").code == 0
    assert "mine" not in (workspace / ".torchxconfig").read_text()


def test_configure_can_print_instead(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[mine]\n")
    assert "[local]\nlog_dir = None\n" in cli("configure", "--print", "--all").out
    assert (workspace / ".torchxconfig").read_text() == "[mine]\n"


@pytest.mark.usefixtures("workspace")
def test_configure_of_an_unknown_scheduler_leaves_nothing(cli: Cli, workspace: Path) -> None:
    done = cli("configure", "-s", "local,nope")
    assert done.code == 2
    assert done.error[0] == "unknown scheduler 'nope'"
    assert not [path for path in workspace.iterdir() if path.name.startswith(".torchxconfig")]
