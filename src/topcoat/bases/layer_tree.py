"""The file system of a base image, read from its layers in a registry: topmost first, and only as far as needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

from topcoat.errors import InvalidImage, MissingDependency, TopcoatError
from topcoat.notices import notice
from topcoat.oci.compression import TooLarge, decompressed
from topcoat.oci.descriptor import Descriptor
from topcoat.rootfs.merged_layers import MergedLayers
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.untar import ENDS_WITHIN, Member, members

if TYPE_CHECKING:
    from topcoat.registry.client import RegistryClient
    from topcoat.registry.download import BlobReader
    from topcoat.rootfs.nodes import BaseTree

_BLOCK = 1 << 18
# Members that are read from a layer before the path is looked up again; fewer before the content of a large file.
_MAX_MEMBERS = 256
_MIN_LARGE_SIZE = 1 << 16
# The bytes of a layer's tar for each stored one: an archive of zeros has a thousand.
_MAX_EXPANSION = 32
_MIN_EXPANDED_BYTES = 64 << 20
_MAX_NAME_BYTES = 512 << 20
# Parts of the media types of layers that the registry does not store itself, or that only their owner can decrypt.
_UNREADABLE_TYPES = ("foreign", "nondistributable", "encrypted")


class LayerTree:
    """A `BaseTree` of layers in a registry; a layer that is read whole is checked against its digest."""

    def __init__(
        self, client: RegistryClient, repository: str, layers: Sequence[Descriptor], limit: int | None
    ) -> None:
        """Prepare to read *layers* (bottom first) of *repository*, at most *limit* stored bytes; None for no limit."""
        self._client = client
        self._repository = repository
        self._unread_layers = list(layers)
        self._remaining_bytes = limit
        self._merged = MergedLayers()
        self._members: Iterator[Member] | None = None
        self._layer: _LimitedLayer | None = None
        self._is_done = False

    def __enter__(self) -> BaseTree:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the layer that is being read. Later calls return only what is known by then."""
        self._stop()

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, ``UNKNOWN`` if it is beyond the limit or in an unreadable layer.

        Raises:
            InvalidImage: a layer is damaged.
            RegistryError: and its kinds, when the registry cannot be reached or refuses.
        """
        while (node := self._merged.find(path)) is UNKNOWN and not self._is_done:
            try:
                self._read_on()
            except BaseException:
                self._stop()
                raise
        return node

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what was read below *directory* so far."""
        return self._merged.below(directory)

    def _read_on(self) -> None:
        """Read some more members, or open the next layer if the current one has ended."""
        if self._members is None:
            if not self._unread_layers:
                self._merged.end()
                self._stop()
            else:
                self._open(self._unread_layers.pop())
            return
        assert self._layer is not None
        try:
            for count, member in enumerate(self._members, 1):
                self._merged.add(member)
                if self._merged.name_bytes > _MAX_NAME_BYTES:
                    raise TooLarge("the names of its files take too much memory")
                if count == _MAX_MEMBERS or member.size >= _MIN_LARGE_SIZE:
                    return
            # Bytes after the archive are read too: they are part of the digest, and the connection can be used again.
            while self._layer.read(_BLOCK):
                pass
        except TooLarge as error:
            self._give_up(str(error))
            return
        except (OSError, InvalidImage) as error:
            cause = error.__cause__
            if isinstance(cause, TopcoatError):
                # The stream failed, and the decompressor raised its own error for it.
                raise cause from cause.__cause__
            if not self._layer.is_cut_off or (isinstance(error, InvalidImage) and ENDS_WITHIN not in error.message):
                raise self._damaged(error) from error
        if self._layer.is_cut_off:
            self._stop()
        else:
            self._merged.end_layer()
            self._close()

    def _give_up(self, reason: str) -> None:
        assert self._layer is not None
        notice(f"the layer {self._layer.descriptor.digest} of the base image was not read to its end: {reason}")
        self._stop()

    def _damaged(self, error: OSError | InvalidImage) -> InvalidImage:
        assert self._layer is not None
        why = str(error) if isinstance(error, OSError) else error.message.partition(": ")[2]
        return InvalidImage(
            f"the layer {self._layer.descriptor.digest} of the base image cannot be read: {why}",
            hint="the image may be damaged: push it again; -cfg base_scan_limit=0 does not read the layer",
        )

    def _open(self, layer: Descriptor) -> None:
        is_unreadable = "urls" in layer.extra or any(word in layer.media_type for word in _UNREADABLE_TYPES)
        if self._remaining_bytes == 0 or is_unreadable:
            self._stop()
            return
        self._layer = _LimitedLayer(self._client.open_blob(self._repository, layer), layer, self._remaining_bytes)
        try:
            tar = _LimitedTar(decompressed(cast(BinaryIO, self._layer)), layer.size)
            self._members = members(tar.read)
        except MissingDependency as error:
            notice(f"the layers of the base image cannot be read: {error}; {error.hint}")
            self._stop()
        except TooLarge as error:
            self._give_up(str(error))

    def _stop(self) -> None:
        self._is_done = True
        self._close()

    def _close(self) -> None:
        self._members = None
        layer, self._layer = self._layer, None
        if layer is not None:
            self._remaining_bytes = layer.remaining_bytes
            layer.blob.close()


class _LimitedTar:
    """The tar of a layer, which may have so many bytes for each stored one."""

    def __init__(self, tar: BinaryIO, stored_size: int) -> None:
        self._tar = tar
        self._remaining_bytes = max(stored_size * _MAX_EXPANSION, _MIN_EXPANDED_BYTES)

    def read(self, size: int, /) -> bytes:
        data = self._tar.read(size)
        self._remaining_bytes -= len(data)
        if self._remaining_bytes < 0:
            raise TooLarge(f"it expands to more than {_MAX_EXPANSION} times its size")
        return data


class _LimitedLayer:
    """The stored bytes of a layer, of which at most *remaining_bytes* may be read."""

    def __init__(self, blob: BlobReader, descriptor: Descriptor, remaining_bytes: int | None) -> None:
        self.blob = blob
        self.descriptor = descriptor
        self.remaining_bytes = remaining_bytes

    @property
    def is_cut_off(self) -> bool:
        """Whether the limit is reached before the end of the layer."""
        return self.remaining_bytes == 0 and self.blob.tell() < self.descriptor.size

    def read(self, size: int, /) -> bytes:
        data = self.blob.read(size if self.remaining_bytes is None else min(size, self.remaining_bytes))
        if self.remaining_bytes is not None:
            self.remaining_bytes -= len(data)
        return data
