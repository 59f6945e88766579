"""``python -m topcoat`` is ``topcoat``."""

from __future__ import annotations

from topcoat.cli.main import entry

if __name__ == "__main__":
    entry()
