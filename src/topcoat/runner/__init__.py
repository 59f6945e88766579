"""Submit and manage applications (TorchX's ``torchx.runner``)."""

from topcoat.runner.api import Runner, get_runner

__all__ = ["Runner", "get_runner"]
