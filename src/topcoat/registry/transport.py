"""HTTP as registries need it: schemes, redirects and retries around the connection pools.

A credential is bound to one origin (scheme, host and port) and is dropped when a redirect leaves it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from topcoat.errors import RegistryError
from topcoat.http.pool import Body, Origin, Pool, Request, Response
from topcoat.registry.failures import RETRIED, is_network_error, is_transient, redact, unreachable
from topcoat.registry.hosts import HostConfig, endpoint, host_settings, is_loopback, split_host
from topcoat.version import __version__

ATTEMPTS = 4
LONGEST_WAIT = 60.0
"""Seconds; a registry that asks for more patience gets none."""

_FIRST_WAIT = 0.25
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REPEATED = frozenset({307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> Origin:
    """Return the scheme, host and port of *url*."""
    parts = urlsplit(url)
    return Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0))


class Transport:
    """Sends requests to one registry, and to the hosts that it redirects to. Threads may share it."""

    def __init__(self, registry: str, *, insecure: bool | None = None, ca_file: str | None = None) -> None:
        self._netloc = endpoint(registry)
        self._ca_file = ca_file
        self._settings = host_settings(registry, insecure=insecure, ca_file=ca_file)
        self._scheme = self._settings.schemes[0] if len(self._settings.schemes) == 1 else ""
        self._lock = threading.Lock()
        self._pools: dict[Origin, Pool] = {}

    @property
    def base(self) -> str:
        """``scheme://host[:port]`` of the registry; the scheme is the one seen to work, if any was yet."""
        return f"{self._scheme or self._settings.schemes[0]}://{self._netloc}"

    def send(
        self,
        method: str,
        where: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        retry: bool = True,
    ) -> Response:
        """Send a request, follow redirects, and try again where that may help.

        Args:
            method: of the request.
            where: a path on the registry, or a URL.
            headers: ``Authorization`` is dropped when a redirect leaves the origin.
            body: sent again as often as needed.
            retry: whether to repeat after an answer or an interruption that calls for it.

        Returns:
            The last answer, whatever its status.

        Raises:
            RegistryUnavailable: there was no answer.
            RegistryError: a redirect that must not be followed.
        """
        attempt = 1
        while True:
            try:
                response = self._attempt(Request(method, where, headers, body))
            except Exception as error:
                if not is_network_error(error):
                    raise
                if not retry or attempt >= ATTEMPTS or not is_transient(error):
                    raise unreachable(error, method, self._url(where)) from error
                wait = backoff(attempt)
            else:
                if response.status not in RETRIED or not retry or attempt >= ATTEMPTS:
                    return response
                wait = max(retry_after(response.header("Retry-After")), backoff(attempt))
                if wait > LONGEST_WAIT:
                    return response
                response.close()
            time.sleep(wait)
            attempt += 1

    def location(self, response: Response, *, session: bool = True) -> str:
        """Return the absolute URL that *response* points to.

        A registry behind a proxy often gets its own address wrong. Where the host is the one that was asked, http
        in place of https is put right, and for an upload *session*, so is a port that got lost.

        Raises:
            RegistryError: there is none, or it leads where it must not.
        """
        value = response.header("Location")
        if not value:
            raise RegistryError(f"{redact(response.url)} answered {response.status} without a Location")
        # Headers arrive as Latin-1; whatever may not stand in a request line is escaped, "%" stays.
        value = quote(value.strip().encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~")
        asked, parts = urlsplit(response.url), self._split(value, base=response.url)
        if parts.hostname == asked.hostname:
            worse = (asked.scheme, parts.scheme) == ("https", "http") and parts.port in (None, asked.port)
            lost = session and asked.scheme == parts.scheme and parts.port is None
            if worse or lost:
                parts = parts._replace(scheme=asked.scheme, netloc=asked.netloc)
        self.check(parts.geturl(), source=response.url)
        return parts.geturl()

    def check(self, target: str, *, source: str) -> None:
        """Refuse a URL that *source* sends us to and that an attacker could profit from.

        Raises:
            RegistryError: from https to plain http, or to an address of a private network from a host that is
                not named by such an address itself.
        """
        from_, to = urlsplit(source), self._split(target)
        if from_.scheme == "https" and to.scheme != "https":
            raise RegistryError(
                f"{self._netloc} points from https to {redact(target)}, which is not encrypted",
                hint="the registry's idea of its own URL is wrong: it must be https",
            )
        elsewhere = to.hostname != from_.hostname
        if elsewhere and _is_private(to.hostname or "") and not _is_private(from_.hostname or ""):
            raise RegistryError(f"{self._netloc} points to {redact(target)}, an address of a private network")

    def _split(self, url: str, *, base: str = "") -> SplitResult:
        try:
            parts = urlsplit(urljoin(base, url))
            asked = parts.path + parts.query
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and _plain(asked):
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
        where = request.url
        if self._scheme or not where.startswith("/"):
            return self._follow(request._replace(url=self._url(where)))
        failed: Exception | None = None
        for scheme in self._settings.schemes:
            try:
                response = self._follow(request._replace(url=f"{scheme}://{self._netloc}{where}"))
            except Exception as error:
                if not is_network_error(error) or not self._other_scheme_may_work(error):
                    raise
                failed = failed or error
                continue
            if scheme == "http" and _wants_tls(response):
                response.close()
                continue
            self._scheme = scheme
            return response
        raise failed or ConnectionResetError("no scheme works")

    def _other_scheme_may_work(self, error: Exception) -> bool:
        if isinstance(error, TimeoutError) or type(error).__name__ == "SSLCertVerificationError":
            return False
        # With a port in the name, the other scheme would knock at the same closed door.
        return not isinstance(error, ConnectionRefusedError) or split_host(self._netloc)[1] is None

    def _follow(self, request: Request) -> Response:
        headers = {"User-Agent": f"topcoat/{__version__}", **request.headers}
        request = request._replace(headers=headers)
        followed = _REDIRECTS if request.method in ("GET", "HEAD") else _REPEATED
        for _ in range(_MOST_REDIRECTS):
            response = self._pool(origin_of(request.url)).exchange(request)
            if response.status not in followed:
                return response
            response.close()
            target = self.location(response, session=False)
            if origin_of(target) != origin_of(request.url):
                headers.pop("Authorization", None)
            request = request._replace(url=target)
        raise RegistryError(f"{self._netloc} redirects in a circle: {request.method} {redact(request.url)}")

    def _pool(self, origin: Origin) -> Pool:
        with self._lock:
            if origin not in self._pools:
                self._pools[origin] = Pool(origin, self._host(origin))
            return self._pools[origin]

    def _host(self, origin: Origin) -> HostConfig:
        # The same host on another port (a token server beside its registry) is trusted as the registry is.
        if origin.host == split_host(self._netloc)[0].lower():
            return self._settings
        name = f"[{origin.host}]" if ":" in origin.host else origin.host
        default = origin.port == _DEFAULT_PORTS.get(origin.scheme)
        return host_settings(name if default else f"{name}:{origin.port}", ca_file=self._ca_file)


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a failed attempt (1 is the first): doubling, with jitter."""
    import random

    return _FIRST_WAIT * (1 << (attempt - 1)) * random.uniform(0.75, 1.25)


def retry_after(value: str) -> float:
    """Return the seconds that ``Retry-After`` asks for, given as such or as a date (RFC 9110 10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    if not value:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        then: float = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, then - time.time())


def _plain(text: str) -> bool:
    """Tell whether *text* can stand in a request line as it is."""
    return text.isascii() and text.isprintable() and " " not in text


def _wants_tls(response: Response) -> bool:
    # How servers answer plain HTTP on a TLS port: 400, in words of their own. A registry answers in JSON.
    return response.status == 400 and "json" not in response.header("Content-Type")


def _is_private(host: str) -> bool:
    if is_loopback(host):
        return True
    import ipaddress
    import socket

    try:
        # inet_aton takes what the resolver takes: 0x7f.1 and 2130706433 are addresses too.
        packed = socket.inet_aton(host) if ":" not in host else socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return False
    address = ipaddress.ip_address(packed)
    return not address.is_global
