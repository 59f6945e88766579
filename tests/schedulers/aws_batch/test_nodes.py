from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topcoat.errors import InvalidApp
from topcoat.schedulers.aws_batch.nodes import MAIN_ADDRESS, NODE_INDEX, REPLICA_MARK, node_command, own_command

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def run(args: list[str], env: dict[str, str], first_node: int, **node: str) -> tuple[list[str], dict[str, str]]:
    """Run the command of a node in a real shell; return the arguments and the environment that the program got."""
    command, constant = node_command([sys.executable, "-c", SHOW, *args], env, first_node)
    done = subprocess.run(command, env={**constant, **node}, capture_output=True, text=True, check=True)
    arguments, environ = json.loads(done.stdout)
    return arguments, environ


def test_the_main_node_gets_number_and_address_although_aws_sets_no_address_there() -> None:
    _, environ = run([], {}, 0, **{NODE_INDEX: "0"})
    assert (environ["TOPCOAT_REPLICA_ID"], environ["TOPCOAT_RANK0_HOST"]) == ("0", "localhost")
    assert environ["TORCHX_RANK0_HOST"] == "localhost"


def test_a_node_of_a_later_group_counts_from_the_start_of_its_group() -> None:
    args, environ = run([f"--part={REPLICA_MARK}"], {}, 3, **{NODE_INDEX: "5", MAIN_ADDRESS: "10.0.0.7"})
    assert args == ["--part=2"]
    assert (environ["TOPCOAT_REPLICA_ID"], environ["TORCHX_RANK0_HOST"]) == ("2", "10.0.0.7")


def test_without_a_number_from_aws_a_node_is_the_first_of_its_group() -> None:
    assert run([REPLICA_MARK], {}, 3)[0] == ["0"]


def test_the_variables_of_the_role_win() -> None:
    _, environ = run(
        [], {"TORCHX_RANK0_HOST": "elsewhere", "TOPCOAT_REPLICA_ID": f"r{REPLICA_MARK}"}, 1, **{NODE_INDEX: "2"}
    )
    assert (environ["TORCHX_RANK0_HOST"], environ["TOPCOAT_REPLICA_ID"]) == ("elsewhere", "r")


def test_a_command_of_more_than_nine_words_keeps_their_order() -> None:
    words = [str(number) for number in range(12)]
    assert run([*words, REPLICA_MARK], {}, 0, **{NODE_INDEX: "4"})[0] == [*words, "4"]


def test_a_variable_that_no_shell_can_set_is_an_error_if_it_holds_the_number() -> None:
    assert node_command(["x"], {"a.b": "1"}, 0)[1] == {"a.b": "1"}
    with pytest.raises(InvalidApp, match=r"the variable 'a\.b' holds \$\{replica_id\}"):
        node_command(["x"], {"a.b": REPLICA_MARK}, 0)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
MARKED = st.lists(TEXT, min_size=1, max_size=3).map(REPLICA_MARK.join)


@settings(max_examples=60)
@given(args=st.lists(MARKED, max_size=12), value=MARKED)
def test_every_text_reaches_the_program_as_it_is(args: list[str], value: str) -> None:
    seen, environ = run(args, {"V": value}, 2, **{NODE_INDEX: "9"})
    assert seen == [arg.replace(REPLICA_MARK, "7") for arg in args]
    assert environ["V"] == value.replace(REPLICA_MARK, "7")


def test_the_own_command_is_read_back_with_its_macros() -> None:
    command, _ = node_command(["python", f"--part={REPLICA_MARK}"], {}, 0)
    assert own_command(command) == ["python", "--part=${replica_id}"]
    assert own_command(["sh", "-c", "echo"]) == ["sh", "-c", "echo"]
