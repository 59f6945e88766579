"""Write ``status.json`` so that it reaches a full disk too. The supervisor loads this: standard library only."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

STATUS = "status.json"
_MAX_MESSAGE = 1000
# Bytes for the job, and for each replica beside its role's name, with every field at its longest.
_JOB_SIZE = 8192
_REPLICA_SIZE = 512


def save_status(path: str, status: dict[str, Any]) -> None:
    """Replace the status file *path*; if there is no room for another file, write over the one that exists.

    The file has the same size from the first to the last status of a job, blanks at its end, so this needs no room.

    Raises:
        OSError: the file cannot be written.
    """
    data = _padded({**status, "msg": status["msg"][:_MAX_MESSAGE]})
    new = f"{path}.{os.urandom(4).hex()}"
    try:
        _write(new, data, os.O_CREAT | os.O_EXCL)
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        try:
            _write(path, data, 0)
        except FileNotFoundError:
            raise error from None


def _padded(status: dict[str, Any]) -> bytes:
    data = json.dumps(status).encode()
    names = sum(len(json.dumps(replica["role"])) for replica in status["replicas"])
    return data.ljust(_JOB_SIZE + names + _REPLICA_SIZE * len(status["replicas"]))


def _write(path: str, data: bytes, flags: int) -> None:
    handle = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)
