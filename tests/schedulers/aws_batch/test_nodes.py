from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedulers.aws_batch.requests import job
from topcoat.components.dist import ddp
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


def test_every_node_of_ddp_starts_torchrun_with_the_address_of_the_first_one(tmp_path: Path) -> None:
    torchrun = tmp_path / "torchrun"
    torchrun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    torchrun.chmod(0o755)
    (role,) = ddp(script="train.py", image="i", j="2x1", rdzv_backend="static").roles
    made = job(role)
    (override,) = made.submission["nodeOverrides"]["nodePropertyOverrides"]
    env = {item["name"]: item["value"] for item in override["containerOverrides"]["environment"]}
    (group,) = made.job_def["nodeProperties"]["nodeRangeProperties"]
    env |= {item["name"]: item["value"] for item in group["container"]["environment"]}
    for node, address, expected in (("0", {}, "localhost"), ("1", {MAIN_ADDRESS: "10.0.0.7"}, "10.0.0.7")):
        environ = {**env, **address, NODE_INDEX: node, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = override["containerOverrides"]["command"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        words = done.stdout.splitlines()
        options = dict(zip(words[0:14:2], words[1:14:2], strict=True))
        assert options["--rdzv_endpoint"] == f"{expected}:29500"
        assert (options["--rdzv_id"], options["--nnodes"]) == ("train-x1", "2")
        assert words[words.index("--node_rank") + 1] == node


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
