"""TorchX's string sentinels."""

from __future__ import annotations

MISSING = "<MISSING>"
"""A required string that is not set, such as a role's entrypoint."""

NONE = "<NONE>"
"""An optional string that is not set."""

UNKNOWN = "<UNKNOWN>"
"""A string that the scheduler does not report, such as the image of a submitted role."""

ALL = "all"
"""Every scheduler."""
