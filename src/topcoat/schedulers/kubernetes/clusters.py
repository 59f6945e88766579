"""Which cluster an application was submitted to, where that is not the one that kubectl would use.

A handle does not name the cluster. This lets the next command, in another process, find the application. Without the
file that command needs the same ``KUBECONFIG``.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from topcoat.errors import StateError
from topcoat.foreign_text import parse_json
from topcoat.schedulers.kubernetes.labels import split_app_id
from topcoat.state import make_private, state_dir, write_atomic

OPTIONS = ("kubeconfig", "context")


class Named(NamedTuple):
    """The run options that name a cluster; ``None`` is kubectl's choice."""

    kubeconfig: str | None = None
    context: str | None = None


def remember(app_id: str, named: Named) -> None:
    """Record where *app_id* was submitted, unless kubectl would find it too."""
    if named == Named():
        return
    kubeconfig = named.kubeconfig and os.path.abspath(os.path.expanduser(named.kubeconfig))
    # Without a state directory this costs the comfort, and not the job.
    with suppress(StateError):
        path = _path(app_id)
        make_private(path.parent)
        write_atomic(path, json.dumps({"kubeconfig": kubeconfig, "context": named.context}).encode())


def recall(app_id: str) -> Named:
    """Return where *app_id* was submitted from this machine."""
    path = _path(app_id)
    with suppress(OSError, ValueError):
        data = parse_json(path.read_bytes())
        if isinstance(data, dict):
            values = [data.get(name) for name in OPTIONS]
            return Named(*(value if isinstance(value, str) else None for value in values))
    return Named()


def forget(app_id: str) -> None:
    """Remove the record of *app_id*."""
    with suppress(OSError):
        _path(app_id).unlink()


def _path(app_id: str) -> Path:
    return state_dir("kubernetes", "_".join(split_app_id(app_id)))
