"""The command of a node: what AWS tells a container about its node only when it runs is read by a shell.

AWS sets the number of a node, which counts through all node groups, and on all nodes but the main one the address of
the main node. The shell sets the variables of topcoat from these two, and runs the command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from topcoat.errors import InvalidApp
from topcoat.schedulers.env import RANK0_ENV
from topcoat.specs import macros

NODE_INDEX = "AWS_BATCH_JOB_NODE_INDEX"
MAIN_ADDRESS = "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"
REPLICA_MARK = "\0"
"""Stands for the replica's number in the command and the environment that `node_command` gets: no text holds it."""
_NAME = "topcoat"
_SHELL = ("sh", "-c")


def node_command(command: Sequence[str], env: Mapping[str, str], first_node: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of the containers of a node group.

    Args:
        command: the program and its arguments.
        env: the environment; its topcoat variables replace those of the shell.
        first_node: number of the group's first node in the job.

    Raises:
        InvalidApp: a variable holds the replica's number, and no shell can set a variable of that name.
    """
    lines = [
        f"export TOPCOAT_REPLICA_ID=$((${{{NODE_INDEX}:-{first_node}}} - {first_node}))",
        *(f"export {name}=${{{MAIN_ADDRESS}:-localhost}}" for name in ("TOPCOAT_RANK0_HOST", RANK0_ENV)),
    ]
    lines = [line for line in lines if line.split()[1].partition("=")[0] not in env]
    for name, value in env.items():
        if REPLICA_MARK in value:
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                raise InvalidApp(
                    f"the variable {name!r} holds {macros.replica_id}, and its name is not one of a shell variable",
                    hint="rename it: letters, digits and underscores",
                )
            lines.append(f"export {name}={_quoted(value)}")
    constant = {name: value for name, value in env.items() if REPLICA_MARK not in value}
    lines.append(f"exec {_arguments(command)}")
    shown = [word.replace(REPLICA_MARK, macros.replica_id) for word in command]
    return [*_SHELL, "\n".join(lines), _NAME, *shown], constant


def own_command(command: Sequence[str]) -> list[str]:
    """Return the command that `node_command` got, with its macros; others as they are."""
    is_wrapped = tuple(command[:2]) == _SHELL and command[3:4] == [_NAME]
    return list(command[4:] if is_wrapped else command)


def _arguments(command: Sequence[str]) -> str:
    """Return shell words for *command*, which the shell has as its arguments too."""
    if not any(REPLICA_MARK in word for word in command):
        return '"$@"'
    return " ".join(
        _quoted(word) if REPLICA_MARK in word else f'"${{{number}}}"' for number, word in enumerate(command, 1)
    )


def _quoted(text: str) -> str:
    return '"$TOPCOAT_REPLICA_ID"'.join([shlex.quote(part) if part else "" for part in text.split(REPLICA_MARK)])
