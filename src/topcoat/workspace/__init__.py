"""Workspaces: local code laid over what a job runs in (TorchX's ``torchx.workspace``)."""

from topcoat.workspace.api import MultiWorkspaceMixin, WorkspaceMixin, pin_workspace_images
from topcoat.workspace.walk import TORCHX_IGNORE, walk_workspace

__all__ = ["TORCHX_IGNORE", "MultiWorkspaceMixin", "WorkspaceMixin", "pin_workspace_images", "walk_workspace"]
