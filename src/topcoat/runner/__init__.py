"""The runner: submit applications, and ask about them (TorchX's ``torchx.runner``)."""

from topcoat.runner.api import Runner, get_runner

__all__ = ["Runner", "get_runner"]
