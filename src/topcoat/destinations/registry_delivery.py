"""One delivery to a registry: what the tag refers to decides whether anything is pushed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.code_layers import CodeLayers
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push_records import PushRecord, last_push_record, write_push_record
from topcoat.errors import RegistryError, TagMoved
from topcoat.images.image_build import ImageBuild
from topcoat.notices import notice
from topcoat.oci.reference import Reference
from topcoat.pack.plan import PlannedLayer
from topcoat.registry.clients import Clients
from topcoat.tasks import TaskScope

if TYPE_CHECKING:
    from topcoat.bases.engine_base import OpenEngine
    from topcoat.destinations.existing_image import ExistingImage

# Error codes of registries for a manifest that names a blob which they have lost.
_LOST_BLOB = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_INVALID")
# An edit is pushed in less time, and within a budget of requests: nobody else pushes the tag meanwhile.
_MAX_UNCHECKED_S = 2.0
# From its look at the tag, an edit takes less than this to push.
_SETTLE_S = 0.2


class PreparedImage(NamedTuple):
    """An image whose new layers are packed and spooled, ready to be pushed.

    Attributes:
        image_id: digest of its config, or of its index.
        planned: the layers of each of its images.
        code_layers: owns the spool.
    """

    build: ImageBuild
    image_id: str
    planned: list[list[PlannedLayer]]
    code_layers: CodeLayers


class RegistryDelivery:
    """One push to the repository of *target*."""

    def __init__(
        self,
        target: Reference,
        clients: Clients,
        engine: OpenEngine,
        build: ImageBuild,
        record_key: tuple[str, ...],
        tasks: TaskScope,
        prepared: PreparedImage | None,
    ) -> None:
        self._target, self._clients, self._engine = target.with_tag(build.tag), clients, engine
        self._client, self._build, self._prepared = clients(target.registry), build, prepared
        self._record_key = record_key
        self._last = last_push_record(*record_key)
        self._remembered = self._last.digests.get(build.tag, "") if self._last else ""
        # With the same tag as last time, the image most likely exists, and sessions are not needed.
        changed = self._last is not None and self._last.tag != build.tag
        self._begun = time.monotonic()
        self._tag_head = tasks.start(lambda: self._client.head_manifest(target.repository, build.tag))
        last_tag = self._last.tag if self._last and changed else ""
        self._last_head = (
            tasks.start(lambda: self._client.head_manifest(target.repository, last_tag)) if last_tag else None
        )
        # An edit uploads a layer, and a config for each platform.
        session_count = 1 + len(build.images) if changed else 0
        self._sessions = PreopenedSessions(self._client, target.repository, session_count, tasks)
        self._overwrites = build.rebuild
        # Digest of an image that has lost the config which would tell whether it is this one.
        self._unconfirmed = ""

    def __enter__(self) -> RegistryDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.cancel()

    def finish(self) -> DeliveryResult:
        """Push the image, unless its tag refers to it already.

        Raises:
            RegistryError: the registry is unavailable or refuses.
            TagMoved: the tag refers to another image.
        """
        current, existing = self._tag_head.result(), None
        if current is not None and not self._build.rebuild:
            if current.digest == self._remembered and not self._build.verify:
                return self._adopt(current.digest)
            existing = self._read_existing()
            if existing is not None and not existing.missing:
                return self._adopt(existing.digest)
        if existing is not None:
            notice(f"{self._target} has lost {len(existing.missing)} of its blobs: they are sent again")
            self._overwrites = True
            self._unconfirmed = "" if existing.is_confirmed else existing.digest
        last = self._record_of(existing) if existing else self._known_record()
        code_layers = self._prepared.code_layers if self._prepared else CodeLayers(self._build.scan)
        try:
            try:
                return self._push(code_layers, last, self._prepared.planned if self._prepared else None)
            except RegistryError as error:
                if error.registry_code not in _LOST_BLOB:
                    raise
                # The registry has lost a blob that the record lists: push again without the record.
                return self._push(code_layers, None, None)
        except RegistryError as error:
            # Somebody else has pushed the tag meanwhile, and the registry does not allow to overwrite it.
            refused = error.status in (400, 403, 409, 412) and not self._overwrites
            pushed = self._read_existing() if refused else None
            if pushed is None or pushed.missing:
                raise
            return self._adopt(pushed.digest)

    def _adopt(self, digest: str) -> DeliveryResult:
        return DeliveryResult(str(self._target), digest)

    def _read_existing(self) -> ExistingImage | None:
        """Read the image at the tag, and remember it if it is whole; raise ``TagMoved`` for another one."""
        from topcoat.destinations.existing_image import read_existing

        existing = read_existing(self._client, self._target, self._build.labels, self._remembered)
        if existing is not None and not existing.missing:
            # The record of another tag is more useful: the layer cache has the layers of what this machine pushed.
            last = self._last
            record = last if last and last.tag != self._build.tag else self._record_of(existing)
            write_push_record(record.with_digest(self._build.tag, existing.digest), *self._record_key)
        return existing

    def _record_of(self, existing: ExistingImage) -> PushRecord:
        """Return the record of what the registry has of the image at the tag."""
        last = self._last or PushRecord(self._build.tag)
        is_own = last.tag == self._build.tag and existing.digest == self._remembered
        keys = last.layer_keys if is_own else ()
        return PushRecord(self._build.tag, keys, tuple(existing.blobs), last.digests, time.time())

    def _known_record(self) -> PushRecord | None:
        """Return what the registry is known to have: the blobs of the last push, if its tag still refers to it.

        They are asked for if that was more than a day ago, or to verify.
        """
        last, head = self._last, self._last_head.result() if self._last_head else None
        if last is None or head is None or head.digest != last.digests.get(last.tag) or self._build.rebuild:
            return None
        if last.is_fresh and not self._build.verify:
            return last
        from topcoat.destinations.existing_image import read_existing

        existing = read_existing(self._client, self._target.with_tag(last.tag))
        return last._replace(blobs=tuple(existing.blobs), checked=time.time()) if existing else None

    def _push(
        self, code_layers: CodeLayers, last: PushRecord | None, planned: list[list[PlannedLayer]] | None
    ) -> DeliveryResult:
        if planned is None or not _can_be_sent(planned, last):
            planned = plan_images(self._build, code_layers, last)
        if not _can_be_sent(planned, last):
            # The registry has lost a layer that was to stay below a hot layer.
            planned = plan_images(self._build, code_layers, None)
        # Most builds find their tag, and send nothing.
        from topcoat.destinations.push import Push

        push = Push(self._build, code_layers, self._target, self._clients, blobs_of(last), self._sessions, self._engine)
        record = push.send(planned)
        is_edit = last is not None and last is self._last and bool(last.layer_keys)
        may_race = not is_edit or time.monotonic() - self._begun > _MAX_UNCHECKED_S
        is_shared = may_race and self._client.has_tags(self._target.repository)
        if may_race and not self._overwrites and (digest := self._pushed_meanwhile()):
            return self._adopt(digest)
        if self._unconfirmed not in ("", push.digest):
            raise TagMoved(
                f"{self._target} refers to {self._unconfirmed}, an image that has lost its config; the workspace gives "
                f"{push.digest}",
                hint="-cfg rebuild=true overwrites it",
            )
        digest = push.put_manifests()
        digests = self._last.digests if self._last else {}
        record = record._replace(digests=digests, checked=last.checked if last else time.time())
        write_push_record(record.with_digest(self._build.tag, digest), *self._record_key)
        if self._build.verify or self._overwrites:
            self._check_pushed()
        if may_race:
            if is_shared:
                # Somebody's edit may be on its way, which does not look at the tag again.
                time.sleep(_SETTLE_S)
            digest = self._pushed_meanwhile(digest) or digest
        return DeliveryResult(str(self._target), digest, push.sent_bytes, push.packed_layers)

    def _pushed_meanwhile(self, own_digest: str = "") -> str:
        """Return the digest of the image that somebody else has pushed to the tag; empty if it has ours, or none."""
        current = self._client.head_manifest(self._target.repository, self._build.tag)
        if current is None or current.digest == own_digest:
            return ""
        existing = self._read_existing()
        return existing.digest if existing and not existing.missing else ""

    def _check_pushed(self) -> None:
        """Ask for every blob of what was pushed: a registry may accept an image without them.

        Raises:
            RegistryError: one is missing: this machine cannot send the layers of a base that only the registry had.
        """
        from topcoat.destinations.existing_image import read_existing

        existing = read_existing(self._client, self._target)
        if existing is not None and existing.missing:
            missing = ", ".join(sorted(existing.missing)[:3])
            raise RegistryError(
                f"{self._target} is not complete: {self._target.registry} does not have {missing}",
                hint=f"push the base image again: {self._build.base_name}",
            )


def plan_images(build: ImageBuild, code_layers: CodeLayers, last: PushRecord | None) -> list[list[PlannedLayer]]:
    """Return the layers of each image; the same ones for images that are packed alike.

    *last* is what the repository is known to have.
    """
    base_layers = max(len(image.base.manifest.layers) for image in build.images)
    anchor = last.layer_keys if last and build.hot else ()
    planned: dict[str, list[PlannedLayer]] = {}
    for image in build.images:
        options = image.pack.identity()
        if options not in planned:
            planned[options] = code_layers.plan(image.pack, base_layers, anchor)
    return [planned[image.pack.identity()] for image in build.images]


def blobs_of(record: PushRecord | None) -> frozenset[str]:
    """Return the blobs that *record* lists."""
    return frozenset(record.blobs) if record else frozenset()


def _can_be_sent(planned: Sequence[Sequence[PlannedLayer]], last: PushRecord | None) -> bool:
    """Tell whether each layer is in the repository or can be packed from the workspace as it is now."""
    remote_digests = blobs_of(last)
    kept = [layer.layer for layers in planned for layer in layers if layer.kept]
    return all(layer is None or layer.digest in remote_digests for layer in kept)
