"""Say something to the user that is not an error."""

from __future__ import annotations

from collections.abc import Callable

_show: Callable[[str], None] | None = None


def notice(text: str) -> None:
    """Tell the user *text*: through what `show_notices` was given, else as a warning of the ``topcoat`` logger."""
    if _show is not None:
        _show(text)
        return
    # Most runs have nothing to say, and importing logging is a tenth of their time.
    import logging

    logging.getLogger("topcoat").warning("%s", text)


def show_notices(show: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """Let *show* tell the user from now on, or the logger for None; return what did so until now."""
    global _show
    before, _show = _show, show
    return before
