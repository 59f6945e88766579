"""Lay local code over a container image, as its last thin layer, and submit the job."""

from __future__ import annotations

from topcoat.version import __version__

# As typing.TYPE_CHECKING, whose module is a third of what `topcoat --help` would import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from topcoat.torchx_alias import install_as_torchx

__all__ = ["__version__", "install_as_torchx"]


def __getattr__(name: str) -> object:
    # `import topcoat` is part of every start: what it exports is loaded when it is asked for.
    if name == "install_as_torchx":
        from topcoat.torchx_alias import install_as_torchx

        return install_as_torchx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
