"""Handles: a string that names a submitted application and its scheduler."""

from __future__ import annotations

from typing import NamedTuple

from topcoat.errors import InvalidHandle

AppHandle = str
"""``scheduler://session/app_id``; the session may be empty."""


class ParsedAppHandle(NamedTuple):
    """Hold the parts of a handle."""

    scheduler_backend: str
    session_name: str
    app_id: str


def make_app_handle(scheduler_backend: str, session_name: str, app_id: str) -> AppHandle:
    """Return ``scheduler_backend://session_name/app_id``."""
    return f"{scheduler_backend}://{session_name}/{app_id}"


def parse_app_handle(app_handle: AppHandle) -> ParsedAppHandle:
    """Split *app_handle* into its parts.

    The application id follows the last slash. Raise ``InvalidHandle`` if a part is missing.
    """
    scheduler, scheme, rest = app_handle.partition("://")
    session, slash, app_id = rest.rpartition("/")
    is_one_word = app_handle.isprintable() and " " not in app_handle
    if not (scheduler and scheme and slash and app_id and is_one_word):
        raise InvalidHandle(
            f"invalid handle {app_handle!r}: expected scheduler://session/app_id",
            hint="topcoat list shows the handles of your jobs",
        )
    return ParsedAppHandle(scheduler, session, app_id)
