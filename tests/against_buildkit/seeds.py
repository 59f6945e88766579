"""Which random cases a run goes through: a fixed few, or as many as the environment says.

``TOPCOAT_BUILDKIT_TREES`` is the number of cases, ``TOPCOAT_BUILDKIT_SEED`` the first of them. A failing test names its
seed: ``TOPCOAT_BUILDKIT_SEED=SEED TOPCOAT_BUILDKIT_TREES=1`` runs that case alone.
"""

from __future__ import annotations

from tests.components.host import ENVIRON

FIRST = int(ENVIRON.get("TOPCOAT_BUILDKIT_SEED", "1"))


def seeds(default: int) -> range:
    """Return the seeds of this run; *default* is their number if the variable is not set."""
    return range(FIRST, FIRST + int(ENVIRON.get("TOPCOAT_BUILDKIT_TREES", default)))
