"""``python -m topcoat`` is ``topcoat``."""

from __future__ import annotations

import sys

from topcoat.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
