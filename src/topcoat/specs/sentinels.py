"""TorchX's string sentinels and the aliases that go with them."""

from __future__ import annotations

MISSING = "<MISSING>"
"""Stands for a required string that was never given, such as a role's entrypoint."""

NONE = "<NONE>"
"""Stands for an optional string that is not set."""

UNKNOWN = "<UNKNOWN>"
"""Stands for a string that exists but cannot be told, such as an image read back from a scheduler."""

ALL = "all"
"""Stands for every scheduler."""
