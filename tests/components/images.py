"""Base images: layers on disk, made into images by plain Python, pushed over HTTP or loaded into a daemon."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform as host_platform
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from tests.components.host import ComponentError
from tests.components.registries import Registry
from tests.components.rootfs import Layer

Flavour = Literal["docker", "oci"]
Config = Mapping[str, Any]

_CREATED = "2023-11-14T22:13:20Z"
_MEDIA: dict[Flavour, dict[str, str]] = {
    "docker": {
        "config": "application/vnd.docker.container.image.v1+json",
        "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    },
    "oci": {
        "config": "application/vnd.oci.image.config.v1+json",
        "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "index": "application/vnd.oci.image.index.v1+json",
    },
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

#: The platform on which this machine's binaries run.
NATIVE = f"linux/{_MACHINES.get(host_platform.machine(), host_platform.machine())}"


class Loads(Protocol):
    """A daemon that ``docker load`` reaches."""

    @property
    def name(self) -> str:
        """Distinguishes the daemons of one test run."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether there is an image of this name."""
        ...

    def load(self, archive: bytes) -> None:
        """Load an image archive."""
        ...


@dataclasses.dataclass(frozen=True)
class Built:
    """One platform's manifest and config, as bytes."""

    platform: str
    config: bytes
    manifest: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return _digest(self.manifest)

    @property
    def config_digest(self) -> str:
        return _digest(self.config)


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A base image in a registry. ``digest`` is that of the index where there is one, else of the manifest."""

    host: str
    repository: str
    tag: str
    digest: str
    images: Mapping[str, Built]

    @property
    def name(self) -> str:
        return f"{self.host}/{self.repository}"

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.tag}"

    @property
    def by_digest(self) -> str:
        return f"{self.name}@{self.digest}"


@dataclasses.dataclass(frozen=True)
class Image:
    """Layers and the runtime part of an image config."""

    name: str
    layers: tuple[Layer, ...]
    config: Config

    def build(self, *, config: Config | None = None, flavour: Flavour = "docker", platform: str = NATIVE) -> Built:
        """Make config and manifest. A key of ``config`` replaces ours; with ``None`` as its value it is left out."""
        merged = {**self.config, **(config or {})}
        system, machine, *variant = platform.split("/")
        history: list[dict[str, Any]] = [
            {"created": _CREATED, "created_by": f"layer {n}"} for n in range(len(self.layers))
        ]
        history.append({"created": _CREATED, "created_by": "config", "empty_layer": True})
        described = {
            "architecture": machine,
            **({"variant": variant[0]} if variant else {}),
            "os": system,
            "created": _CREATED,
            "config": {key: value for key, value in merged.items() if value is not None},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": history,
        }
        media = _MEDIA[flavour]
        body = _json(described)
        manifest = {
            "schemaVersion": 2,
            "mediaType": media["manifest"],
            "config": {"mediaType": media["config"], "digest": _digest(body), "size": len(body)},
            "layers": [
                {"mediaType": media["layer"], "digest": layer.digest, "size": layer.size} for layer in self.layers
            ],
        }
        return Built(platform, body, _json(manifest), media["manifest"])

    def push(
        self,
        registry: Registry,
        repository: str,
        tag: str = "latest",
        *,
        config: Config | None = None,
        flavour: Flavour = "docker",
        platforms: Sequence[str] = (NATIVE,),
    ) -> Pushed:
        """Push over plain HTTP; more than one platform makes an index, whose entries differ in the config alone."""
        images = {
            each_platform: self.build(config=config, flavour=flavour, platform=each_platform)
            for each_platform in platforms
        }
        for layer in self.layers:
            _push_blob(registry, repository, layer.digest, layer.file.read_bytes())
        for built in images.values():
            _push_blob(registry, repository, built.config_digest, built.config)
        if len(images) == 1:
            (only,) = images.values()
            _push_manifest(registry, repository, tag, only.manifest, only.media_type)
            return Pushed(registry.host, repository, tag, only.digest, images)
        for built in images.values():
            _push_manifest(registry, repository, built.digest, built.manifest, built.media_type)
        index = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MEDIA[flavour]["index"],
                "manifests": [_descriptor(built) for built in images.values()],
            }
        )
        _push_manifest(registry, repository, tag, index, _MEDIA[flavour]["index"])
        return Pushed(registry.host, repository, tag, _digest(index), images)

    def archive(self, name: str, *, config: Config | None = None) -> bytes:
        """Return a tar that is an OCI layout and a docker archive at once, with the image under ``name``."""
        built = self.build(config=config, flavour="oci")
        blobs = {
            digest: f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in (built.digest, built.config_digest)
        }
        layers = {layer.file: f"blobs/sha256/{layer.digest.removeprefix('sha256:')}" for layer in self.layers}
        named = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        index = {
            "schemaVersion": 2,
            "mediaType": _MEDIA["oci"]["index"],
            "manifests": [
                {
                    **_descriptor(built),
                    "annotations": {
                        "io.containerd.image.name": _canonical(named),
                        "org.opencontainers.image.ref.name": named.rpartition(":")[2],
                    },
                }
            ],
        }
        manifest = [{"Config": blobs[built.config_digest], "RepoTags": [named], "Layers": list(layers.values())}]
        files = {
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _json(index),
            "manifest.json": _json(manifest),
            blobs[built.digest]: built.manifest,
            blobs[built.config_digest]: built.config,
            **{place: file.read_bytes() for file, place in layers.items()},
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for place, data in files.items():
                info = tarfile.TarInfo(place)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return packed.getvalue()

    def load(self, daemon: Loads, name: str, *, config: Config | None = None) -> str:
        """Load into a daemon under ``name`` (once for the same name and config), and return ``name``."""
        key = (daemon.name, name)
        content = self.build(config=config).digest
        if _loaded.get(key) != content or not daemon.has(name):
            daemon.load(self.archive(name, config=config))
            _loaded[key] = content
        return name


_loaded: dict[tuple[str, str], str] = {}


def _canonical(name: str) -> str:
    """Spell a name out as containerd's store keeps it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _descriptor(built: Built) -> dict[str, Any]:
    system, machine, *variant = built.platform.split("/")
    platform = {"architecture": machine, "os": system, **({"variant": variant[0]} if variant else {})}
    return {"mediaType": built.media_type, "digest": built.digest, "size": len(built.manifest), "platform": platform}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _push_blob(registry: Registry, repository: str, digest: str, data: bytes) -> None:
    if registry.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
        return
    opened = registry.request("POST", f"/v2/{repository}/blobs/uploads/")
    _expect(202, opened.status, f"open an upload to {repository}", opened.body)
    place = opened.headers["location"]
    place += ("&" if "?" in place else "?") + f"digest={digest}"
    put = registry.request("PUT", place, data, {"Content-Type": "application/octet-stream"})
    _expect(201, put.status, f"push {digest} to {repository}", put.body)


def _push_manifest(registry: Registry, repository: str, tag: str, manifest: bytes, media_type: str) -> None:
    put = registry.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": media_type})
    _expect(201, put.status, f"push {repository}:{tag}", put.body)


def _expect(wanted: int, status: int, what: str, body: bytes) -> None:
    if status != wanted:
        raise ComponentError(f"{what}: {status} {body.decode('utf-8', 'replace')}")
