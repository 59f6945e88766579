"""The base images that were looked up before, by name and platform, so that a lookup costs one HEAD request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from topcoat.bases.base import Base, BaseIndex, images_of
from topcoat.errors import InvalidImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.manifest import Index, Manifest, parse
from topcoat.records import Cache

_CACHE = Cache("bases", 2)


def get_base(name: str, platform: str) -> Base | BaseIndex | None:
    """Return what was stored for *name* and *platform*, None if there is nothing or it cannot be read."""
    return _CACHE.read_json(_key(name, platform), lambda record: _parse(name, record))


def _parse(name: str, record: Mapping[str, Any]) -> Base | BaseIndex:
    bases = tuple([_base(name, record, image) for image in record["images"]])
    if "index" not in record:
        return bases[0]
    index = parse(record["index"].encode())
    if not isinstance(index, Index) or len(index.manifests) != len(bases):
        raise InvalidImage("the record holds another index")
    return BaseIndex(index._replace(raw=None), bases)


def put_base(base: Base | BaseIndex, platform: str) -> None:
    """Store *base* for its name and *platform*."""
    images = images_of(base)
    first = images[0]
    record: dict[str, object] = {
        "digest": first.digest,
        "registry": first.registry,
        "repository": first.repository,
        "images": [
            {
                "manifest": (image.manifest.raw or b"").decode(),
                "media_type": image.manifest.media_type,
                "config": dict(image.config.document),
            }
            for image in images
        ],
    }
    if isinstance(base, BaseIndex):
        index = base.image_index
        data = Index.build(media_type=index.media_type, manifests=index.manifests, annotations=index.annotations)
        record["index"] = data.decode()
    _CACHE.write_json(_key(first.name, platform), record)


def _key(name: str, platform: str) -> str:
    return f"{name}\0{platform}"


def _base(name: str, record: Mapping[str, Any], image: Mapping[str, Any]) -> Base:
    manifest = parse(image["manifest"].encode(), image["media_type"])
    if not isinstance(manifest, Manifest):
        raise InvalidImage("the record holds an index in place of a manifest")
    config = ImageConfig.parse(json.dumps(image["config"]).encode())
    return Base(name, record["digest"], manifest, config, record["registry"], record["repository"])
