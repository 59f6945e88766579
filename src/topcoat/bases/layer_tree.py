"""What is in a base image, read from its layers in a registry: from the top, and no further than the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

from topcoat.errors import InvalidImage, MissingDependency, TopcoatError
from topcoat.notices import notice
from topcoat.oci.descriptor import Descriptor
from topcoat.rootfs.merged_layers import MergedLayers
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import Member, members

if TYPE_CHECKING:
    from topcoat.registry.client import RegistryClient
    from topcoat.registry.download import BlobReader
    from topcoat.rootfs.nodes import BaseTree

_BLOCK = 1 << 18
# So many members are taken from a layer before the question is asked again; or fewer, before much content is skipped.
_AT_ONCE = 256
_LARGE = 1 << 16
# Layers that the registry does not hold itself, or holds in a form that only its owner can read.
_CLOSED = ("foreign", "nondistributable", "encrypted")


class LayerTree:
    """A `BaseTree` of layers in a registry; a layer that is read whole is checked against its digest."""

    def __init__(
        self, client: RegistryClient, repository: str, layers: Sequence[Descriptor], limit: int | None
    ) -> None:
        """Prepare to read *layers* (bottom first) of *repository*: *limit* bytes of them as they are stored, None for
        as many as it takes.
        """
        self._client = client
        self._repository = repository
        self._waiting = list(layers)
        self._left = limit
        self._overlay = MergedLayers()
        self._members: Iterator[Member] | None = None
        self._stored: _Stored | None = None
        self._ended = False

    def __enter__(self) -> BaseTree:
        """Return the tree; no layer is asked for yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the layer that is being read; there are no further answers but from what is known."""
        self._stop()

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, ``UNKNOWN`` where that lies beyond the limit or in a layer that cannot be read.

        Raises:
            InvalidImage: a layer is damaged.
            RegistryError: and its kinds, when the registry cannot be reached or refuses.
        """
        while (found := self._overlay.find(path)) is UNKNOWN and not self._ended:
            try:
                self._read_on()
            except BaseException:
                self._stop()
                raise
        return found

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what was met below *directory* so far."""
        return self._overlay.below(directory)

    def _read_on(self) -> None:
        """Take some more members, of the next layer where this one is at its end."""
        if self._members is None:
            if not self._waiting:
                self._overlay.end()
                self._stop()
            else:
                self._open(self._waiting.pop())
            return
        assert self._stored is not None
        try:
            for taken, member in enumerate(self._members, 1):
                self._overlay.add(member)
                if taken == _AT_ONCE or member.size >= _LARGE:
                    return
            # What follows the archive is read too: then the layer is checked, and its connection can be kept.
            while self._stored.read(_BLOCK):
                pass
        except (OSError, InvalidImage) as error:
            cause = error.__cause__
            if isinstance(cause, TopcoatError):
                # The stream's own failure, which the decompressor took for its own.
                raise cause from cause.__cause__
            if not self._stored.is_cut_off:
                raise self._damaged(error) from error
        if self._stored.is_cut_off:
            self._stop()
        else:
            self._overlay.end_layer()
            self._close()

    def _damaged(self, error: OSError | InvalidImage) -> InvalidImage:
        assert self._stored is not None
        why = str(error) if isinstance(error, OSError) else error.message.partition(": ")[2]
        return InvalidImage(
            f"the layer {self._stored.layer.digest} of the base image cannot be read: {why}",
            hint="push the image again, for it may be damaged; -cfg base_scan_limit=0 does without looking",
        )

    def _open(self, layer: Descriptor) -> None:
        if self._left == 0 or "urls" in layer.extra or any(word in layer.media_type for word in _CLOSED):
            self._stop()
            return
        from topcoat.oci.compression import decompressed

        self._stored = _Stored(self._client.open_blob(self._repository, layer), layer, self._left)
        try:
            self._members = members(decompressed(cast(BinaryIO, self._stored)).read)
        except MissingDependency as error:
            notice(f"what is in the base image cannot be seen: {error}; {error.hint}")
            self._stop()

    def _stop(self) -> None:
        self._ended = True
        self._close()

    def _close(self) -> None:
        self._members = None
        stored, self._stored = self._stored, None
        if stored is not None:
            self._left = stored.left
            stored.blob.close()


class _Stored:
    """A layer as it is stored, of which *left* bytes may be read."""

    def __init__(self, blob: BlobReader, layer: Descriptor, left: int | None) -> None:
        self.blob = blob
        self.layer = layer
        self.left = left

    @property
    def is_cut_off(self) -> bool:
        """Whether there is more of it than may be read, and all that may be was."""
        return self.left == 0 and self.blob.tell() < self.layer.size

    def read(self, size: int, /) -> bytes:
        data = self.blob.read(size if self.left is None else min(size, self.left))
        if self.left is not None:
            self.left -= len(data)
        return data
