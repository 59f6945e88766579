"""The bases of an index: one for each of its platforms."""

from __future__ import annotations

from functools import partial

from topcoat.bases.base import Base, BaseIndex
from topcoat.errors import InvalidImage, NoSuchPlatform
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import CONFIG_TYPES, OCI_INDEX, Index, Manifest, parse
from topcoat.oci.platform import DEFAULT_PLATFORM, Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.resolve import MAX_NESTED, read_config
from topcoat.tasks import run_all

# Windows layers have another format: files that are laid over them are not found.
_OTHER_LAYERS = frozenset({"windows"})
# Keys of an index entry that describe the platform, not the image's old content.
_KEPT_KEYS = frozenset({"platform", "annotations"})
_REFERRING = "vnd.docker.reference."


def resolve_all(client: RegistryClient, name: str) -> Base | BaseIndex:
    """Read the image of every platform of *name*: one request for the index, two for each image.

    Attestations, signatures and Windows images are left out. If one image is left, it is a plain base.

    Raises:
        ImageNotFound: no such image.
        NoSuchPlatform: no image is left.
        InvalidImage: a manifest or config is invalid.
    """
    reference = Reference.parse(name)
    top, data = client.get_manifest(reference.repository, reference.identifier)
    document = parse(data, top.media_type)
    if isinstance(document, Manifest):
        return _base(client, name, top.digest, document)
    entries, bases = [], []
    for entry, base in _images(client, name, top.digest, document, MAX_NESTED):
        stated = Platform.from_json(entry.extra.get("platform"))
        if (stated if stated.known else base.config.platform).os not in _OTHER_LAYERS:
            entries.append(entry)
            bases.append(base)
    if not bases:
        raise NoSuchPlatform(f"{name} has no image that code can be laid over")
    if len(bases) == 1:
        return bases[0]
    annotations = document.annotations if document.media_type == OCI_INDEX else {}
    return BaseIndex(Index(document.media_type, tuple(entries), annotations), tuple(bases))


def _images(client: RegistryClient, name: str, digest: str, index: Index, nested: int) -> list[tuple[Descriptor, Base]]:
    """Return the cleaned entries of images, each with its base; if two have one platform, the first is used."""
    repository = Reference.parse(name).repository
    entries = [entry for _, entry in index.images]

    def read(entry: Descriptor) -> list[tuple[Descriptor, Base]]:
        child, data = client.get_manifest(repository, entry.digest)
        document = parse(data, entry.media_type or child.media_type)
        if isinstance(document, Index):
            if not nested:
                raise InvalidImage(f"{name} is an index of indexes, nested more than {MAX_NESTED} deep")
            return _images(client, name, digest, document, nested - 1)
        if document.config.media_type not in CONFIG_TYPES:
            return []
        platform = Platform.from_json(entry.extra.get("platform"))
        return [(_cleaned(entry), _base(client, name, digest, document, platform))]

    by_platform: dict[str, tuple[Descriptor, Base]] = {}
    for images in run_all([partial(read, entry) for entry in entries]):
        for entry, base in images:
            stated = entry.extra.get("platform")
            # Windows indexes list one platform several times, for different versions.
            key = repr(sorted(stated.items())) if isinstance(stated, dict) else str(base.config.platform)
            by_platform.setdefault(key, (entry, base))
    return list(by_platform.values())


def _base(
    client: RegistryClient, name: str, digest: str, manifest: Manifest, platform: Platform = DEFAULT_PLATFORM
) -> Base:
    reference = Reference.parse(name)
    config = ImageConfig.parse(read_config(client, reference, manifest)).complete(platform)
    return Base(name, digest, manifest, config, reference.registry, reference.repository)


def _cleaned(entry: Descriptor) -> Descriptor:
    """Return an entry without the keys that describe its old content."""
    extra = {key: value for key, value in entry.extra.items() if key in _KEPT_KEYS}
    annotations = {key: value for key, value in entry.annotations.items() if not key.startswith(_REFERRING)}
    if annotations:
        extra["annotations"] = annotations
    else:
        extra.pop("annotations", None)
    return entry._replace(extra=extra)
