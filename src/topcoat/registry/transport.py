"""HTTP as registries need it: schemes, redirects and retries around the connection pools.

A credential is bound to one origin (scheme, host and port) and is dropped when a redirect leaves it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from topcoat.errors import RegistryError
from topcoat.http.errors import HTTPError
from topcoat.http.origin import Origin, is_loopback, split_host
from topcoat.http.pool import Pool, Response
from topcoat.http.request import Body, Request
from topcoat.http.tls import TLSSettings
from topcoat.registry.failures import NETWORK_ERRORS, RETRIED_STATUSES, is_transient, no_response, redact
from topcoat.registry.hosts import endpoint, host_settings
from topcoat.version import __version__

MAX_ATTEMPTS = 4
MAX_WAIT_S = 60.0
"""If a registry asks for a longer wait (``Retry-After``), the request is not retried."""

_FIRST_WAIT_S = 0.25
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_WITH_BODY = frozenset({307, 308})


class Transport:
    """Sends requests to one registry, and to the hosts that it redirects to. Threads may share it."""

    def __init__(self, registry: str, *, insecure: bool | None = None, ca_file: str | None = None) -> None:
        self._netloc = endpoint(registry)
        self._ca_file = ca_file
        self._schemes, self._tls = host_settings(registry, insecure=insecure, ca_file=ca_file)
        self._scheme = self._schemes[0] if len(self._schemes) == 1 else ""
        self._lock = threading.Lock()
        self._pools: dict[Origin, Pool] = {}

    @property
    def base(self) -> str:
        """``scheme://host[:port]`` of the registry; the first scheme until one has worked."""
        return f"{self._scheme or self._schemes[0]}://{self._netloc}"

    def send(
        self, method: str, where: str, headers: Mapping[str, str], body: Body | None = None, *, retry: bool = True
    ) -> Response:
        """Send a request, follow redirects, retry, and return the last response, whatever its status.

        *where* is a path on the registry, or a URL. ``Authorization`` is dropped when a redirect leaves the origin.
        With *retry*, a temporary status or a cut connection is retried.

        Raises:
            RegistryUnavailable: no response, or invalid connection settings.
            RegistryError: a redirect is refused.
            InvalidImage: the body's file has become shorter.
        """
        attempt = 1
        while True:
            may_retry = retry and attempt < MAX_ATTEMPTS
            try:
                response = self._attempt(Request(method, where, headers, body))
            except (OSError, HTTPError) as error:
                if not may_retry or not is_transient(error):
                    raise no_response(error, method, self._url(where)) from error
                wait = backoff(attempt)
            else:
                if response.status not in RETRIED_STATUSES or not may_retry:
                    return response
                wait = max(retry_after(response.header("Retry-After")), backoff(attempt))
                if wait > MAX_WAIT_S:
                    return response
                response.close()
            time.sleep(wait)
            attempt += 1

    def location(self, response: Response, *, session: bool = True) -> str:
        """Return the absolute URL of the ``Location`` of *response*.

        A registry behind a proxy often states a wrong address of its own. If the host is the requested one, http is
        corrected to https, and for an upload *session* a missing port is restored.

        Raises:
            RegistryError: it is missing, malformed or refused by `check`.
        """
        value = response.header("Location")
        if not value:
            raise RegistryError(f"{redact(response.url)} sent status {response.status} without a Location")
        # Headers are decoded as Latin-1; characters that a request line cannot hold are escaped, "%" is kept.
        value = quote(value.strip().encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~")
        requested, parts = urlsplit(response.url), self._split(value, base=response.url)
        if parts.hostname == requested.hostname:
            downgraded = (requested.scheme, parts.scheme) == ("https", "http") and parts.port in (None, requested.port)
            lost_port = session and requested.scheme == parts.scheme and parts.port is None
            if downgraded or lost_port:
                parts = parts._replace(scheme=requested.scheme, netloc=requested.netloc)
        self.check(parts.geturl(), source=response.url)
        return parts.geturl()

    def check(self, target: str, *, source: str) -> None:
        """Refuse a URL from *source* that an attacker could profit from.

        Raises:
            RegistryError: it goes from https to plain http, or from a public host to a private address.
        """
        from_, to = urlsplit(source), self._split(target)
        if from_.scheme == "https" and to.scheme != "https":
            raise RegistryError(
                f"{self._netloc} points from https to {redact(target)}, which is not encrypted",
                hint="the registry's own URL is configured wrongly there: it must be https",
            )
        changes_host = to.hostname != from_.hostname
        if changes_host and _is_private(to.hostname or "") and not _is_private(from_.hostname or ""):
            raise RegistryError(f"{self._netloc} points to {redact(target)}, an address of a private network")

    def _split(self, url: str, *, base: str = "") -> SplitResult:
        try:
            parts = urlsplit(urljoin(base, url))
            target = parts.path + parts.query
            printable = target.isascii() and target.isprintable() and " " not in target
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and printable:
                return parts
        except ValueError:
            pass
        raise RegistryError(f"{self._netloc} points to {url!r:.200}, which is not a URL")

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _url(self, where: str) -> str:
        return self.base + where if where.startswith("/") else where

    def _attempt(self, request: Request) -> Response:
        path = request.url
        if self._scheme or not path.startswith("/"):
            return self._follow(request._replace(url=self._url(path)))
        first_error: Exception | None = None
        for scheme in self._schemes:
            try:
                response = self._follow(request._replace(url=f"{scheme}://{self._netloc}{path}"))
            except NETWORK_ERRORS as error:
                if not self._other_scheme_may_work(error):
                    raise
                first_error = first_error or error
                continue
            # A TLS port responds to plain HTTP with 400 and some text; a registry's error would be JSON.
            if scheme == "http" and response.status == 400 and "json" not in response.header("Content-Type"):
                response.close()
                continue
            self._scheme = scheme
            return response
        raise first_error or ConnectionResetError("no scheme works")

    def _other_scheme_may_work(self, error: Exception) -> bool:
        if isinstance(error, TimeoutError) or type(error).__name__ == "SSLCertVerificationError":
            return False
        # If the name has a port, the other scheme would hit the same port.
        return not isinstance(error, ConnectionRefusedError) or split_host(self._netloc)[1] is None

    def _follow(self, request: Request) -> Response:
        headers = {"User-Agent": f"topcoat/{__version__}", **request.headers}
        request = request._replace(headers=headers)
        redirects = _REDIRECTS if request.method in ("GET", "HEAD") else _REDIRECTS_WITH_BODY
        for _ in range(_MAX_REDIRECTS):
            origin = Origin.of(request.url)
            response = self._pool(origin).exchange(request)
            if response.status not in redirects:
                return response
            response.close()
            target = self.location(response, session=False)
            if Origin.of(target) != origin:
                headers.pop("Authorization", None)
            request = request._replace(url=target)
        raise RegistryError(f"{self._netloc} redirects in a circle: {request.method} {redact(request.url)}")

    def _pool(self, origin: Origin) -> Pool:
        with self._lock:
            if origin not in self._pools:
                self._pools[origin] = Pool(origin, self._tls_of(origin))
            return self._pools[origin]

    def _tls_of(self, origin: Origin) -> TLSSettings:
        # Another port of the registry's host (a token service) is trusted as the registry is.
        if origin.host == split_host(self._netloc)[0].lower():
            return self._tls
        return host_settings(origin.authority, ca_file=self._ca_file).tls


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a failed attempt (1 is the first): doubling, with jitter."""
    import random

    return _FIRST_WAIT_S * (1 << (attempt - 1)) * random.uniform(0.75, 1.25)


def retry_after(value: str) -> float:
    """Return the seconds of a ``Retry-After``, which is a number or a date (RFC 9110 section 10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    if not value:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        date: float = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, date - time.time())


def _is_private(host: str) -> bool:
    if is_loopback(host):
        return True
    import ipaddress
    import socket

    try:
        # inet_aton accepts whatever the resolver does: 0x7f.1 and 2130706433 are addresses too.
        packed = socket.inet_aton(host) if ":" not in host else socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return False
    return not ipaddress.ip_address(packed).is_global
