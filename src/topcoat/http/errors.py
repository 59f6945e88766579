"""The errors of the HTTP client, besides ``OSError``; its callers translate them for the user."""

from __future__ import annotations


class HTTPError(Exception):
    """Root of the errors in this module."""


class NotHTTP(HTTPError):
    """The response is not HTTP/1.1, or is ambiguous."""


class InvalidSettings(HTTPError):
    """A proxy variable or a certificate file cannot be used; *hint* says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class BodyTooShort(HTTPError):
    """A request body ended before the size that was announced."""


class ProxyRefused(OSError):
    """The proxy refused to connect to the host, or cannot be used: then the cause is an ``OSError`` or `NotHTTP`.

    Attributes:
        proxy: its host and port, empty if unknown.
        status: of its response, 0 without one.
    """

    def __init__(self, reason: str, *, proxy: str = "", status: int = 0) -> None:
        super().__init__(reason)
        self.proxy = proxy
        self.status = status


class ConnectTimeout(TimeoutError):
    """No address of the host responds."""


class TLSTimeout(TimeoutError):
    """The connection was made, and the TLS handshake does not end: the server may not support TLS."""


class TooSlow(TimeoutError):
    """A transfer is slower than the minimum rate."""
