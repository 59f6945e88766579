"""Reading a blob as a stream that is checked, and resumed where the connection breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from topcoat.errors import RegistryError
from topcoat.http.pool import Response
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import hasher
from topcoat.registry.failures import is_network_error, unreachable

_BLOCK = 256 * 1024
_RESUMPTIONS = 3


class BlobReader:
    """The bytes of a blob, front to back; the last ones come only when size and digest are right.

    Use it as a context manager; reading goes through ``read`` or by iteration. Going back reads the blob again
    from its start, so that it can be a request body that has to be sent twice.
    """

    def __init__(self, fetch: Callable[[int], Response], descriptor: Descriptor) -> None:
        """Open the blob; *fetch* asks the registry for its bytes from an offset on."""
        self._fetch = fetch
        self._descriptor = descriptor
        self._left = _RESUMPTIONS
        self._wanted = 0
        self._begin(fetch(0))

    def read(self, size: int = -1, /) -> bytes:
        """Return *size* bytes, fewer at the end, nothing after it; all that is left without *size*.

        Raises:
            RegistryError: the content is not what its descriptor says.
            RegistryUnavailable: the connection broke, and again after each resumption.
        """
        if self._wanted < self._at:
            self._response.close()
            self._begin(self._fetch(0))
        while self._at < self._wanted:
            self._some(min(self._wanted - self._at, _BLOCK))
        left = self._descriptor.size - self._at
        left = left if size < 0 else min(size, left)
        parts = []
        while left:
            part = self._some(left)
            parts.append(part)
            left -= len(part)
        self._wanted = self._at
        return b"".join(parts)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset from the start (0), from here (1) or from the end (2); the next read does the work."""
        start = (0, self._wanted, self._descriptor.size)[whence]
        self._wanted = max(0, min(start + offset, self._descriptor.size))
        return self._wanted

    def tell(self) -> int:
        """Return the offset that the next read starts from."""
        return self._wanted

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._response.close()

    def _begin(self, response: Response) -> None:
        self._response = response
        self._hasher = hasher(self._descriptor.digest)
        self._at = 0
        if not self._descriptor.size:
            self._verify()

    def _some(self, size: int) -> bytes:
        while True:
            try:
                part = self._response.read(size)
                break
            except Exception as error:
                if not is_network_error(error):
                    raise
                self._response.close()
                if not self._left:
                    raise unreachable(error, "GET", self._response.url) from error
                self._left -= 1
                self._response = self._fetch(self._at)
                if self._response.status != 206:
                    self._skip(self._at)
        if not part:
            raise self._wrong(f"it ended after {self._at} of {self._descriptor.size} bytes")
        self._hasher.update(part)
        self._at += len(part)
        if self._at == self._descriptor.size:
            self._verify()
        return part

    def _skip(self, size: int) -> None:
        # The registry does not do ranges and sent the whole blob again.
        while size and (part := self._response.read(min(size, _BLOCK))):
            size -= len(part)

    def _verify(self) -> None:
        try:
            more = self._response.read(1)
        except Exception as error:
            # All the bytes are there; how the answer ends no longer matters.
            if not is_network_error(error):
                raise
            more = b""
        if more:
            raise self._wrong(f"there are more than {self._descriptor.size} bytes")
        found = self._hasher.hexdigest()
        if found != self._descriptor.digest.partition(":")[2]:
            raise self._wrong(f"its digest is {found}")

    def _wrong(self, why: str) -> RegistryError:
        self._response.close()
        return RegistryError(
            f"the blob {self._descriptor.digest} did not arrive as it was described: {why}",
            hint="try again; if it stays so, the registry's copy is damaged",
            temporary=True,
        )
