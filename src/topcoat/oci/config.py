"""Image configs: what an image runs, and the layers it is made of (OCI image specification, *config*)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from topcoat.errors import InvalidImage
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.platform import Platform

# What decides how a container of the image runs. Daemons add more keys than these, registries' configs have fewer.
_SETTINGS = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)


class ImageConfig(NamedTuple):
    """A parsed config; keys that nothing here knows are kept in ``document``."""

    document: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a config blob.

        Raises:
            InvalidImage: not a config, or one without the layers' diff ids.
        """
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            raise InvalidImage("the image's config is not JSON") from None
        if not isinstance(document, dict):
            raise InvalidImage("the image's config is not a JSON object")
        rootfs = document.get("rootfs")
        ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise InvalidImage(
                "the image's config has no rootfs.diff_ids",
                hint="is it a container image, and not some other artifact?",
            )
        return cls(document)

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return Platform.from_json(self.document)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, bottom first."""
        return tuple(self.document["rootfs"]["diff_ids"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The ``config`` object: environment, entry point, working directory and so on."""
        found = self.document.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def working_dir(self) -> str:
        """The WORKDIR, absolute; ``/`` where the image has none."""
        return "/" + str(self.settings.get("WorkingDir") or "").strip("/")

    @property
    def env(self) -> dict[str, str]:
        """The environment, in the image's order."""
        pairs = [str(item).partition("=") for item in self.settings.get("Env") or ()]
        return {name: value for name, _, value in pairs}

    @property
    def identity(self) -> str:
        """Return a digest of platform, layers and settings: the same whether read from a registry or a daemon."""
        settings = {key: value for key in _SETTINGS if (value := self.settings.get(key))}
        settings["WorkingDir"] = self.working_dir
        platform = str(self.platform.normal)
        return sha256_digest(canonical_json([platform, list(self.diff_ids), settings]))
