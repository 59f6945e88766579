"""Push images to a registry: only what is not there, in as few round trips as that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from topcoat.bases.base import Base
from topcoat.bases.lookup import BaseLookup
from topcoat.destinations.base import DeliveryResult, ImageBuild
from topcoat.destinations.preopened_sessions import PreopenedSessions
from topcoat.destinations.push import Push
from topcoat.destinations.push_records import PushRecord, last_push_record
from topcoat.errors import RegistryError, TopcoatError
from topcoat.oci.compression import Compression, find_compressor
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.patch import CodeLayer
from topcoat.oci.reference import Reference
from topcoat.pack.cut import MAX_LARGE_GROUPS, MAX_SMALL_GROUPS
from topcoat.pack.layer import Packed
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.plan import MAX_LAYERS, PlannedLayer, plan_layers
from topcoat.registry.clients import Clients
from topcoat.rootfs.nodes import OpenTree
from topcoat.tasks import Task

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.bases.engine_base import Engine

# What registries say when a manifest names a blob that they have lost.
_LOST_BLOB = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_INVALID")


class _FirstRound(NamedTuple):
    """The requests that a push begins with, side by side."""

    tag: str
    found: Task[Descriptor | None]
    last: PushRecord | None
    last_found: Task[Descriptor | None] | None
    sessions: PreopenedSessions


class RegistryDestination:
    """A repository of a registry."""

    takes_index = True

    def __init__(
        self,
        target: Reference,
        clients: Clients,
        *,
        notify: Callable[[str], None] = lambda text: None,
        engine: Engine | None = None,
    ) -> None:
        """Prepare a destination; nothing is sent yet.

        Args:
            target: names the repository.
            clients: give the clients of registries.
            notify: is told about large copies.
            engine: connects to the container engine, for bases that no registry has; the one that the docker command
                line would use by default. It is not called as long as registries have the base.
        """
        self._target = target
        self._clients = clients
        self._client = clients(target.registry)
        self._client.expect_push(target.repository)
        self._engine = engine or _open_engine
        self._bases = BaseLookup(clients, self._engine)
        self._notify = notify
        self._round: _FirstRound | None = None

    def stored_as(self, wanted: Compression) -> Compression:
        """Return *wanted*, which this machine is then able to make."""
        find_compressor(wanted)
        return wanted

    def find_base(self, name: str, platform: str) -> Base:
        """Return the base; one that was used before comes from memory, to be confirmed by `confirm_base`."""
        return self._bases.find(name, platform)

    def confirm_base(self, base: Base) -> Base:
        """Return *base*, or what its name stands for by now."""
        try:
            return self._bases.confirm(base)
        except TopcoatError:
            self._give_up_round()
            raise

    def tree_of(self, base: Base, limit: int | None) -> OpenTree:
        """Return what looks into *base* where it is, reading at most *limit* bytes of its layers."""
        return self._bases.tree_of(base, limit)

    def image_name(self, tag: str) -> str:
        """Return ``repository:tag``."""
        return str(self._target.with_tag(tag))

    def begin(self, build: ImageBuild, context: str) -> None:
        """Send the first round of requests, all side by side, while the caller goes on."""
        repository = self._target.repository
        last = last_push_record(*self._where(build, context))
        # The same tag as last time: most likely nothing is to be done, and a session would be opened in vain.
        changed = last is not None and last.tag != build.tag
        # An edit uploads a layer, and a config for each platform.
        sessions = 1 + len(build.images) if changed else 0
        self._round = _FirstRound(
            build.tag,
            Task(lambda: self._client.head_manifest(repository, build.tag)),
            last,
            Task(lambda: self._client.head_manifest(repository, last.tag)) if last and changed else None,
            PreopenedSessions(self._client, repository, sessions),
        )

    def deliver(self, build: ImageBuild, context: str) -> DeliveryResult:
        """Push the image, unless its tag is there already.

        Raises:
            RegistryError: and its kinds, when the registry cannot be reached or refuses.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        first = self._take_round(build, context)
        try:
            found = first.found.result()
            if found is not None:
                return DeliveryResult(self.image_name(build.tag), found.digest)
            last = first.last if first.last_found and first.last_found.result() else None
            try:
                return self._push(build, context, last, first.sessions)
            except RegistryError as error:
                if error.registry_code not in _LOST_BLOB:
                    raise
                # A blob that was taken for there is not, or is not what was remembered: look again, without trust.
                return self._push(build.without_pieces(), context, None, first.sessions)
        except RegistryError as error:
            # Somebody else has pushed the tag meanwhile, and the registry does not let it be overwritten.
            found = self._client.head_manifest(self._target.repository, build.tag) if _refuses(error) else None
            if found is None:
                raise
            return DeliveryResult(self.image_name(build.tag), found.digest)
        finally:
            first.sessions.cancel()

    def prepare(self, build: ImageBuild, context: str) -> tuple[ImageBuild, str]:
        """Pack what the repository is not known to hold, and push nothing.

        Returns:
            The build with its packed layers, whatever becomes of the workspace, and the image's id: the digest of its
            config, or of the index where there is one.

        Raises:
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        memory, last = LayerCache(), last_push_record(*self._where(build, context))
        there = _blobs(last)
        spool: dict[str, Packed] = {}
        packed, images = [], []
        for one, pieces in zip(build.images, self._plan(build, memory, last), strict=True):
            layers = []
            for piece in pieces:
                if piece.key not in spool and (piece.layer is None or piece.layer.digest not in there):
                    spool[piece.key] = one.pack(piece, memory)
                layers.append(CodeLayer(*(piece.layer or spool[piece.key].layer)))
            packed.append(one._replace(pieces=tuple(pieces), spool=spool))
            images.append(one.patch(layers))
        if build.base.whole is None:
            return packed[0], images[0].image_id
        from topcoat.destinations.index import patched_index

        return build._replace(variants=tuple(packed), spool=spool), patched_index(build.base.whole, images).digest

    def _take_round(self, build: ImageBuild, context: str) -> _FirstRound:
        if self._round is not None and self._round.tag != build.tag:
            self._give_up_round()
        if self._round is None:
            self.begin(build, context)
        first, self._round = self._round, None
        assert first is not None
        return first

    def _give_up_round(self) -> None:
        first, self._round = self._round, None
        if first is not None:
            first.sessions.cancel()

    def _push(
        self, build: ImageBuild, context: str, last: PushRecord | None, sessions: PreopenedSessions
    ) -> DeliveryResult:
        pieces = [list(one.pieces) for one in build.images]
        if not all(pieces) or not all(_can_be_had(parts, last) for parts in pieces):
            pieces = self._plan(build, LayerCache(), last)
        push = Push(build, self._target, self._clients, last, sessions, self._notify, self._engine)
        return push.run(pieces, self._where(build, context))

    def _plan(self, build: ImageBuild, memory: LayerCache, last: PushRecord | None) -> list[list[PlannedLayer]]:
        """Return the layers of each image; the same ones wherever they are packed alike."""
        most = max(len(one.base.manifest.layers) for one in build.images)
        room = min(MAX_SMALL_GROUPS + MAX_LARGE_GROUPS + 1, MAX_LAYERS - most)
        anchor = last.chunks if last and build.hot else ()
        planned: dict[str, list[PlannedLayer]] = {}
        for options in [one.options for one in build.images]:
            if options.identity() not in planned:
                pieces = plan_layers(build.scan.snapshot, options, memory, room=room, anchor=anchor)
                planned[options.identity()] = pieces
        return [planned[one.options.identity()] for one in build.images]

    def _where(self, build: ImageBuild, context: str) -> tuple[str, ...]:
        # One workspace over two bases makes two images, and each is compared with its own last version.
        return self._target.name, build.base.name, context


def _open_engine() -> AbstractContextManager[DockerClient]:
    from topcoat.bases.engine_base import open_engine

    return open_engine()


def _refuses(error: RegistryError) -> bool:
    return error.status in (400, 403, 409, 412)


def _blobs(last: PushRecord | None) -> frozenset[str]:
    return frozenset(last.blobs) if last else frozenset()


def _can_be_had(pieces: Sequence[PlannedLayer], last: PushRecord | None) -> bool:
    """Tell whether each layer is in the repository or can be packed from the workspace of today."""
    there = _blobs(last)
    return not any(piece.kept and piece.layer and piece.layer.digest not in there for piece in pieces)
