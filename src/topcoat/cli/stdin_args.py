"""The arguments of ``topcoat run --stdin``: one JSON object on standard input (TorchX's fields)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from topcoat.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

MAX_BYTES = 16 << 20
_FIELDS: dict[str, tuple[type, ...]] = {
    "component_name": (str,),
    "scheduler": (str,),
    "scheduler_args": (dict,),
    "component_args": (dict,),
    "component_args_str": (list,),
    "workspace": (str,),
    "parent_run_id": (str, type(None)),
    "dryrun": (bool,),
    "wait": (bool,),
    "log": (bool,),
    "tee_logs": (bool,),
}
_REQUIRED = ("component_name", "scheduler", "scheduler_args")


class StdinArgs(NamedTuple):
    """Hold the component, its arguments as values or as words, and the run options."""

    component: str
    arguments: dict[str, Any] | list[str]
    scheduler_args: dict[str, Any]


def read_stdin_args(args: Namespace, given_flags: list[str]) -> StdinArgs:
    """Read the object, set its flags on *args*, and return the rest.

    Raises:
        UsageError: other flags are given too, or the object is invalid.
    """
    if given_flags:
        raise UsageError(
            f"--stdin cannot be combined with {', '.join(given_flags)}", hint="put it into the JSON object instead"
        )
    fields = _read()
    for name, value in fields.items():
        if name not in _FIELDS:
            raise UsageError(f"unknown field {name!r} on stdin", hint=f"the fields: {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]):
            raise UsageError(f"the field {name!r} on stdin must be a {_FIELDS[name][0].__name__}, not {value!r}")
    missing = [name for name in _REQUIRED if name not in fields]
    if missing:
        raise UsageError(f"missing on stdin: {', '.join(missing)}", hint='{"component_name": "utils.echo", ...}')
    args.scheduler = fields["scheduler"]
    args.parent_run_id = fields.get("parent_run_id")
    if fields.get("workspace"):
        args.workspace = fields["workspace"]
    for flag in ("dryrun", "wait", "log", "tee_logs"):
        setattr(args, flag, getattr(args, flag) or fields.get(flag, False))
    words = [str(word) for word in fields.get("component_args_str", ())]
    if words and fields.get("component_args"):
        raise UsageError("component_args and component_args_str cannot be combined", hint="give one of them")
    return StdinArgs(fields["component_name"], fields.get("component_args") or words, fields["scheduler_args"])


def _read() -> dict[str, Any]:
    text = sys.stdin.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise UsageError(f"the input is longer than {MAX_BYTES >> 20} MiB")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"invalid JSON on stdin: {error}", hint="topcoat run --stdin < args.json") from None
    if not isinstance(fields, dict):
        raise UsageError(f"stdin must be a JSON object, not a {type(fields).__name__}")
    return fields
