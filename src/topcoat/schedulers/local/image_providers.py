"""Where a local role runs and what it runs (TorchX's image providers)."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping

from topcoat.errors import InvalidApp
from topcoat.scan.sources import current_directory
from topcoat.schedulers.local.request import ReplicaParam
from topcoat.specs import CfgVal, Role


class ImageProvider(abc.ABC):
    """Find the directory that stands for an image on this machine, for ``LocalScheduler(image_provider_class=...)``.

    A subclass is created with the resolved run options.
    """

    def fetch_role(self, role: Role) -> str:
        """Return the root directory of *role*'s image; *role* may be changed, for example its environment."""
        return self.fetch(role.image)

    @abc.abstractmethod
    def fetch(self, image: str) -> str:
        """Return the root directory of *image*."""

    def get_replica_param(
        self,
        img_root: str,
        role: Role,
        stdout: str | None = None,
        stderr: str | None = None,
        combined: str | None = None,
    ) -> ReplicaParam:
        """Return what a replica of *role* runs, in the image that was fetched to *img_root*."""
        command = [self.get_entrypoint(img_root, role), *role.args]
        return ReplicaParam(command, role.env, stdout, stderr, combined, self.get_cwd(role.image))

    def get_cwd(self, image: str) -> str | None:
        """Return the working directory; ``None`` is that of the caller."""
        return None

    def get_entrypoint(self, img_root: str, role: Role) -> str:
        """Return the program of *role*."""
        return os.path.join(img_root, role.entrypoint)


class CWDImageProvider(ImageProvider):
    """Run every role in the current directory, whatever its image is."""

    def __init__(self, cfg: Mapping[str, CfgVal]) -> None:
        """*cfg* is not used."""

    def fetch(self, image: str) -> str:
        """Return the current directory."""
        return current_directory()

    def get_cwd(self, image: str) -> str:
        """Return the current directory."""
        return current_directory()

    def get_entrypoint(self, img_root: str, role: Role) -> str:
        """Return the program as the role names it."""
        return role.entrypoint


class LocalDirectoryImageProvider(ImageProvider):
    """Run every role in the directory that its image names."""

    def __init__(self, cfg: Mapping[str, CfgVal]) -> None:
        """*cfg* is not used."""

    def fetch(self, image: str) -> str:
        """Return *image*; raise ``InvalidApp`` if it is not a directory."""
        if not os.path.isdir(image):
            raise InvalidApp(f"invalid image {image!r}: not a directory of this machine", hint="image=/path/to/code")
        return image

    def get_cwd(self, image: str) -> str:
        """Return *image*."""
        return image

    def get_entrypoint(self, img_root: str, role: Role) -> str:
        """Return the program as the role names it."""
        return role.entrypoint
