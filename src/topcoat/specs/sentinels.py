"""TorchX's string sentinels."""

from __future__ import annotations

MISSING = "<MISSING>"
"""A required string that is not set, such as a role's entrypoint."""

NONE = "<NONE>"
"""An optional string that is not set."""

UNKNOWN = "<UNKNOWN>"
"""A string that the scheduler does not report, such as the image of a submitted role."""

NA = "<<NA>>"
"""A value of a job's metadata that is not available."""

TORCHX_CONTEXT_NAME = "TORCHX_CONTEXT_NAME"
"""The environment variable that names the caller of TorchX."""

ALL = "all"
"""Every scheduler."""
