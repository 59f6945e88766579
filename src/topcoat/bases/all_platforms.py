"""The bases of an index: one for each of its platforms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from topcoat.bases.base import Base
from topcoat.errors import InvalidImage, NoSuchPlatform
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import CONFIG_TYPES, OCI_INDEX, Index, Manifest, parse
from topcoat.oci.platform import Platform
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.resolve import MAX_NESTED, read_config
from topcoat.tasks import run_all

# Layers of another form than everybody else's: what is laid over them is not found there.
_OTHER_LAYERS = frozenset({"windows"})
# Keys of an entry that say something of the image as it was, and not of the platform that it is for.
_KEPT_KEYS = frozenset({"platform", "annotations"})
_REFERRING = "vnd.docker.reference."


def resolve_all(client: RegistryClient, name: str) -> Base:
    """Read the images of every platform that *name* is there for; two requests for each besides that for the index.

    Attestations, signatures and whatever else is no image are left out, and so is Windows. What is left with one
    platform is a plain base.

    Raises:
        ImageNotFound: no such image.
        NoSuchPlatform: there is none that code can be laid over.
        InvalidImage: a broken image.
    """
    reference = Reference.parse(name)
    top, data = client.get_manifest(reference.repository, reference.identifier)
    found = parse(data, top.media_type)
    if isinstance(found, Manifest):
        return _base(client, name, top.digest, found)
    entries, bases = [], []
    for entry, base in _images(client, name, top.digest, found, MAX_NESTED):
        stated = Platform.from_json(entry.extra.get("platform"))
        if (stated if stated.known else base.config.platform).os not in _OTHER_LAYERS:
            entries.append(entry)
            bases.append(base)
    if not bases:
        raise NoSuchPlatform(f"{name} has no image that code can be laid over, for any platform")
    if len(bases) == 1:
        return bases[0]
    annotations = found.annotations if found.media_type == OCI_INDEX else {}
    kept = Index(found.media_type, tuple(entries), annotations)
    return bases[0]._replace(whole=kept, platforms=tuple(bases))


def _images(client: RegistryClient, name: str, digest: str, index: Index, nested: int) -> list[tuple[Descriptor, Base]]:
    """Return the entries that are images, cleaned, each with its base; the first one for a platform counts."""
    repository = Reference.parse(name).repository
    entries = [entry for _, entry in index.images]

    def read(entry: Descriptor) -> list[tuple[Descriptor, Base]]:
        child, data = client.get_manifest(repository, entry.digest)
        found = parse(data, entry.media_type or child.media_type)
        if isinstance(found, Index):
            if not nested:
                raise InvalidImage(f"{name} is an index of indexes, nested more than {MAX_NESTED} deep")
            return _images(client, name, digest, found, nested - 1)
        if found.config.media_type not in CONFIG_TYPES:
            return []
        return [(_cleaned(entry), _base(client, name, digest, found))]

    found: dict[object, tuple[Descriptor, Base]] = {}
    for one in _flat(run_all([partial(read, entry) for entry in entries])):
        stated = one[0].extra.get("platform")
        # Windows lists one platform several times, for different versions of it.
        key = repr(sorted(stated.items())) if isinstance(stated, dict) else str(one[1].config.platform)
        found.setdefault(key, one)
    return list(found.values())


def _flat(lists: Iterable[list[tuple[Descriptor, Base]]]) -> list[tuple[Descriptor, Base]]:
    return [one for found in lists for one in found]


def _base(client: RegistryClient, name: str, digest: str, manifest: Manifest) -> Base:
    reference = Reference.parse(name)
    config = ImageConfig.parse(read_config(client, reference, manifest))
    return Base(name, digest, manifest, config, reference.registry, reference.repository)


def _cleaned(entry: Descriptor) -> Descriptor:
    """Return an entry without what is true of its old content alone."""
    extra = {key: value for key, value in entry.extra.items() if key in _KEPT_KEYS}
    annotations = {key: value for key, value in entry.annotations.items() if not key.startswith(_REFERRING)}
    if annotations:
        extra["annotations"] = annotations
    else:
        extra.pop("annotations", None)
    return entry._replace(extra=extra)
