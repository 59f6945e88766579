"""Image configs: what an image runs, and its layers (OCI image specification, *config*)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from topcoat.errors import InvalidImage
from topcoat.foreign_text import parse_json
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.platform import DEFAULT_PLATFORM, Platform
from topcoat.oci.repair import repair_config
from topcoat.scan.names import is_unicode

# The keys that containers of the image depend on. Engines add more keys; configs in registries may have fewer.
_SETTINGS = (
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels"),
    *("OnBuild", "Shell", "StopSignal", "User", "Volumes", "WorkingDir"),
)


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""BuildKit's, for an image without PATH: containerd has its own only for images without any variable."""


class ImageConfig(NamedTuple):
    """A parsed config; ``document`` holds all its keys, known or not."""

    document: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a config blob.

        Raises:
            InvalidImage: not a config, or without the layers' diff ids.
        """
        try:
            document = parse_json(data)
        except ValueError:
            raise InvalidImage("the image's config is not JSON") from None
        if not isinstance(document, dict):
            raise InvalidImage("the image's config is not a JSON object")
        document = repair_config(document)
        rootfs = document.get("rootfs")
        ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(ids, list) or not all(isinstance(diff_id, str) for diff_id in ids):
            raise InvalidImage(
                "the image's config has no rootfs.diff_ids",
                hint="check that it is a container image, not another artifact",
            )
        return cls(document)

    def complete(self, platform: Platform) -> ImageConfig:
        """Return the config with *platform*, or linux/amd64 if that is unknown, in the keys that it lacks."""
        chosen = platform if platform.known else DEFAULT_PLATFORM
        stated = {key: value for key, value in zip(("os", "architecture", "variant"), chosen, strict=True) if value}
        if self.document.get("architecture"):
            stated.pop("variant", None)
        missing = {key: value for key, value in stated.items() if not self.document.get(key)}
        return ImageConfig({**self.document, **missing}) if missing and not self.platform.known else self

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
        settings = self.document.get("config")
        return settings if isinstance(settings, dict) else {}

    @property
    def working_dir(self) -> str:
        """The WORKDIR, absolute; ``/`` if the image has none.

        Raises:
            InvalidImage: it holds a lone surrogate, which JSON can escape and no file system has.
        """
        path = self._working_dir
        if not is_unicode(path):
            raise InvalidImage(
                f"the WorkingDir {path!r} of the base image is not valid Unicode",
                hint="name another directory with -cfg workspace_dir=/app",
            )
        return path

    @property
    def _working_dir(self) -> str:
        return "/" + str(self.settings.get("WorkingDir") or "").strip("/")

    @property
    def env(self) -> dict[str, str]:
        """The environment, in the image's order."""
        pairs = [str(item).partition("=") for item in self.settings.get("Env") or ()]
        return {name: value for name, _, value in pairs}

    @property
    def identity(self) -> str:
        """Return a digest of platform, layers and settings: the same from a registry and from an engine."""
        settings = {key: value for key in _SETTINGS if (value := self.settings.get(key))}
        settings["WorkingDir"] = self._working_dir
        platform = str(self.platform.normal)
        return sha256_digest(canonical_json([platform, list(self.diff_ids), settings]))
