"""Say something to the user that is not an error."""

from __future__ import annotations


def notice(text: str) -> None:
    """Log *text* as a warning of the ``topcoat`` logger; the command line shows it on stderr."""
    # Most runs have nothing to say, and importing logging is a tenth of their time.
    import logging

    logging.getLogger("topcoat").warning("%s", text)
