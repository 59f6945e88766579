"""What the last word of a command line may become: component functions of a file, keys and values of run options."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

_MAX_FILE_BYTES = 1 << 20
_CFG_FLAGS = ("-cfg", "--scheduler-args")
_SCHEDULER_FLAGS = ("-s", "--scheduler")


def line_words(line: str) -> list[str]:
    """Return what the last word of *line*, as far as it is typed, may become; the shell drops what does not fit."""
    words = line.split(" ")
    if "--" in words:
        return []
    word, previous = words[-1], words[-2] if len(words) > 1 else ""
    if previous in _CFG_FLAGS:
        return list(_run_options(_scheduler(words), word))
    return list(_functions(word)) if ".py" in word else []


def _functions(word: str) -> Iterator[str]:
    """Yield ``FILE:FUNCTION`` for the components in a file, which is read and not run."""
    path, _, _ = word.partition(":")
    with suppress(OSError, SyntaxError, ValueError, RecursionError), open(os.path.expanduser(path), "rb") as file:
        for node in ast.parse(file.read(_MAX_FILE_BYTES)).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns is not None:
                is_component = "AppDef" in ast.unparse(node.returns)
                yield from [f"{path}:{node.name}"] * is_component


def _scheduler(words: Sequence[str]) -> str:
    from topcoat.cli.arguments import scheduler_name

    given = [value for flag, value in pairwise(words) if flag in _SCHEDULER_FLAGS]
    return given[-1] if given else scheduler_name(None)


def _run_options(scheduler: str, word: str) -> Iterator[str]:
    """Yield the ``KEY=VALUE,KEY=`` that *word* may become."""
    from topcoat.cli.arguments import open_runner

    head, comma, last = word.rpartition(",")
    key, equals, _ = last.partition("=")
    with open_runner() as runner:
        options = dict(runner.scheduler_run_opts(scheduler))
    if not equals:
        yield from (f"{head}{comma}{name}=" for name in options)
    elif key in options:
        is_switch = options[key].opt_type is bool
        values = ("true", "false") if is_switch else _choices().get(key, ())
        yield from (f"{head}{comma}{key}={value}" for value in values)


def _choices() -> dict[str, Sequence[str]]:
    """Return the values of the options that take one of a few."""
    from topcoat.schedulers.kubernetes.options import GANGS, PULL_POLICIES, REPLACE_OR_KEEP

    return {
        "gang": GANGS,
        "image_entrypoint": REPLACE_OR_KEEP,
        "image_pull_policy": PULL_POLICIES,
        "link": ("copy", "hard"),
        "modes": ("portable", "exact"),
    }
