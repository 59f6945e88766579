from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.defaults import apply_defaults, configured
from topcoat.cli.parser import Parser
from topcoat.errors import InvalidConfigFile


def _parse(section: dict[str, str], *words: str) -> dict[str, object]:
    parser = Parser("try", "try things")
    parser.settings = ("component",)
    parser.add_argument("--num-replicas", type=int)
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--env", action="append")
    parser.add_argument("--stream", choices=("a", "b"))
    apply_defaults(parser, section)
    return vars(parser.parse(words))


def test_a_configured_value_is_the_default() -> None:
    args = _parse({"num_replicas": "3", "wait": "True", "env": "\nA=1\nB=2", "stream": "b"})
    assert (args["num_replicas"], args["wait"], args["env"], args["stream"]) == (3, True, ["A=1", "B=2"], "b")


def test_the_command_line_overrides_the_file() -> None:
    assert _parse({"num_replicas": "3"}, "--num-replicas", "4")["num_replicas"] == 4


def test_other_settings_of_a_command_are_kept_for_it() -> None:
    assert _parse({"component": "utils.echo"})["configured"] == {"component": "utils.echo"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"num_replicas": "many"}, "invalid value 'many'"),
        ({"wait": "perhaps"}, "'perhaps' is neither true/1/yes/on nor false/0/no/off"),
        ({"stream": "c"}, "invalid value 'c': choose a, b"),
    ],
)
def test_an_invalid_value_for_a_flag_is_an_error_that_shows_it(section: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfigFile, match="cli:try") as caught:
        _parse(section)
    assert message in caught.value.message


def test_an_unknown_name_in_a_file_is_ignored_with_a_notice(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[cli:ls]\nworkspace = pkg\nno-such = 1\nhelp = 1\n")
    done = cli("ls", "--image-rules")
    assert done.code == 0
    assert done.out == "__init__.py\n"
    lines = [line for line in done.err.splitlines() if "[cli:ls]" in line]
    assert lines == [
        f"topcoat: .torchxconfig: [cli:ls]: unknown flag {name!r} of topcoat ls, ignored"
        for name in ("no_such", "help")
    ]


def test_files_are_searched_where_torchx_searches(
    home: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configured("run") == {}
    (workspace / ".torchxconfig").write_text("[cli:run]\nscheduler = local_cwd\nimage = None\n")
    assert configured("run") == {"scheduler": "local_cwd"}
    (home / ".torchxconfig").write_text("[cli:run]\nscheduler = local_docker\nretry-policy = ROLE\n")
    assert configured("run") == {"scheduler": "local_docker", "retry_policy": "ROLE"}
    named = tmp_path / "named"
    named.write_text("[cli:ls]\nworkspace = pkg\n")
    monkeypatch.setenv("TORCHXCONFIG", str(named))
    assert configured("run") == {}
    assert configured("ls") == {"workspace": "pkg"}


def test_a_malformed_file_is_an_error_with_its_line(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxconfig").write_text("[cli:ls]\nworkspace\n")
    done = cli("ls")
    assert done.code == 2
    where = os.path.join(os.path.realpath(workspace), ".torchxconfig")
    assert done.error[0] == f"{where}:2: expected [section] or key = value: workspace"
