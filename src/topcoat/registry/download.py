"""Read a blob as a verified stream, resumed after a broken connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from topcoat.errors import RegistryError
from topcoat.http.errors import TooSlow
from topcoat.http.pool import Response
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import hasher
from topcoat.registry.failures import NETWORK_ERRORS, no_response
from topcoat.registry.headers import parse_range_start

_BLOCK = 256 * 1024
_MAX_RESUMPTIONS = 3


class BlobReader:
    """The bytes of a blob; the last ones are returned only after size and digest are verified.

    A context manager; read with ``read`` or by iteration. Seeking backwards reads the blob again from its start, so
    that it can be a request body that is sent twice.
    """

    def __init__(
        self, fetch: Callable[[int], Response], descriptor: Descriptor, *, seconds: float | None = None
    ) -> None:
        """Open the blob; *fetch* requests its bytes from an offset. It may take *seconds* in all."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._fetch = fetch
        self._descriptor = descriptor
        self._resumptions_left = _MAX_RESUMPTIONS
        self._position = 0
        self._begin(fetch(0))

    def read(self, size: int = -1, /) -> bytes:
        """Return *size* bytes, fewer at the end, nothing after it; all that is left if *size* is negative.

        Raises:
            RegistryError: the content does not match its descriptor.
            RegistryUnavailable: the connection broke, and again after each resumption.
        """
        if self._position < self._received:
            self._response.close()
            self._begin(self._fetch(0))
        while self._received < self._position:
            self._receive(min(self._position - self._received, _BLOCK))
        left = self._descriptor.size - self._received
        left = left if size < 0 else min(size, left)
        parts = []
        while left:
            part = self._receive(left)
            parts.append(part)
            left -= len(part)
        self._position = self._received
        return b"".join(parts)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset from the start (0), from here (1) or from the end (2); the next read does the work."""
        start = (0, self._position, self._descriptor.size)[whence]
        self._position = max(0, min(start + offset, self._descriptor.size))
        return self._position

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the response."""
        self._response.close()

    def _begin(self, response: Response) -> None:
        self._response = response
        self._hasher = hasher(self._descriptor.digest)
        self._received = 0
        if not self._descriptor.size:
            self._verify()

    def _receive(self, size: int) -> bytes:
        skipped = self._received
        while True:
            try:
                while skipped < self._received and (part := self._response.read(min(self._received - skipped, _BLOCK))):
                    skipped += len(part)
                part = self._response.read(size)
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise TooSlow(f"slower than allowed: {self._received} of {self._descriptor.size} bytes")
                break
            except NETWORK_ERRORS as error:
                self._response.close()
                # One that was slow would be slow again.
                if not self._resumptions_left or isinstance(error, TimeoutError):
                    raise no_response(error, "GET", self._response.url) from error
                self._resumptions_left -= 1
                self._response = self._fetch(self._received)
                # A registry that does not support ranges sends the whole blob again.
                skipped = self._received if self._response.status == 206 else 0
                if skipped and parse_range_start(self._response.header("Content-Range")) != skipped:
                    raise self._mismatch(f"the server does not continue it at {skipped}") from error
        if not part:
            raise self._mismatch(f"it ended after {self._received} of {self._descriptor.size} bytes")
        self._hasher.update(part)
        self._received += len(part)
        if self._received == self._descriptor.size:
            self._verify()
        return part

    def _verify(self) -> None:
        try:
            more = self._response.read(1)
        except NETWORK_ERRORS:
            # All bytes have arrived; how the response ends does not matter.
            more = b""
        if more:
            raise self._mismatch(f"it has more than {self._descriptor.size} bytes")
        digest = self._hasher.hexdigest()
        if digest != self._descriptor.digest.partition(":")[2]:
            raise self._mismatch(f"its digest is {digest}")

    def _mismatch(self, why: str) -> RegistryError:
        self._response.close()
        return RegistryError(
            f"the blob {self._descriptor.digest} does not match its descriptor: {why}",
            hint="try again; if it happens again, the registry's copy is damaged",
            temporary=True,
        )
