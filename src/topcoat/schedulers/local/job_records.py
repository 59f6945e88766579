"""Parse ``job.json`` and ``status.json``, which may be damaged or another user's, and check the types."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from topcoat.foreign_text import escaped, parse_json
from topcoat.regular_files import read_regular
from topcoat.specs import AppState

JOB = "job.json"
LOG_FILES = ("stdout", "stderr", "combined", "error_file")
# The names of the files of a hard-linked snapshot are in job.json.
_MAX_SIZE = 256 << 20
_MAX_NUMBER = 2**31 - 1
# The end of the year 9999, the last that datetime can show.
_MAX_TIME = 253402300799.0

_INTEGER, _TIME, _STATE = object(), object(), object()
_Shape = Mapping[str, Any]
_JOB: _Shape = {
    "scheduler": str,
    "host": str,
    "created": _TIME,
    "launcher": list,
    "log_dir": (str, None),
    "name": (str, None),
    "metadata": (dict, None),
    "roles": (list, None),
    "job_dir": (str, None),
    "linked": (list, None),
}
_JOB_REPLICA: _Shape = {"role": str, "id": _INTEGER, "cwd": str, **dict.fromkeys(LOG_FILES, str)}
_STATUS: _Shape = {
    "state": _STATE,
    "msg": str,
    "num_restarts": _INTEGER,
    "pid": (_INTEGER, None),
    "start": (str, None),
}
_STATUS_REPLICA: _Shape = {
    "role": str,
    "id": _INTEGER,
    "state": _STATE,
    "exit_code": (_INTEGER, None),
    "pid": (_INTEGER, None),
    "start": (str, None),
    "started_at": (_TIME, None),
    "ended_at": (_TIME, None),
}


def read_job(home: Path) -> dict[str, Any]:
    """Return the content of ``job.json`` in *home*.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content is invalid.
    """
    job = _record(home / JOB, _JOB, _JOB_REPLICA)
    if not (len(job["launcher"]) == 2 and _fits(job["launcher"][0], _INTEGER) and job["host"].strip()):
        raise ValueError("invalid launcher or host")
    return job


def read_status(path: Path) -> dict[str, Any]:
    """Return the content of the status file *path*; errors as for `read_job`."""
    return _record(path, _STATUS, _STATUS_REPLICA)


def _record(path: Path, shape: _Shape, replica_shape: _Shape) -> dict[str, Any]:
    data = read_regular(path, _MAX_SIZE)
    if not data.strip():
        raise ValueError("the file is empty")
    record = parse_json(data)
    _check(record, shape)
    if not isinstance(record.get("replicas"), list):
        raise ValueError("'replicas' is missing or invalid")
    for replica in record["replicas"]:
        _check(replica, replica_shape)
    return record  # type: ignore[no-any-return]


def _check(record: object, shape: _Shape) -> None:
    if not isinstance(record, dict):
        raise ValueError("expected a JSON object")
    for name, kind in shape.items():
        value = record.get(name)
        if not _fits(value, kind):
            raise ValueError(f"{name!r} is missing" if value is None else f"invalid {name} {str(value)[:40]!r}")


def _fits(value: object, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return value is None or _fits(value, kind[0])
    if kind is _STATE:
        return isinstance(value, str) and value in AppState.__members__
    if kind is _INTEGER:
        return isinstance(value, int) and abs(value) <= _MAX_NUMBER
    if kind is _TIME:
        return isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= _MAX_TIME
    return isinstance(value, kind)


def why_unreadable(error: OSError | ValueError, home: Path) -> tuple[str, str]:
    """Return the reason why a record in *home* cannot be read, and what to do about it."""
    # An unusual name must not break the line.
    shown = shlex.quote(escaped(str(home), 4096))
    if isinstance(error, PermissionError):
        return "it belongs to another user", f"sudo rm -r {shown}"
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return reason, f"if it is not needed: rm -r {shown}"
