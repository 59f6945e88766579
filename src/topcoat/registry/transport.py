"""HTTP as registries need it: schemes, redirects and retries around the connection pools."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from topcoat.errors import RegistryError, RegistryUnavailable
from topcoat.http.errors import ConnectTimeout, HTTPError, TLSTimeout
from topcoat.http.origin import Origin, parse_url, split_host
from topcoat.http.pool import CONNECT_TIMEOUT_S, Pool, Response
from topcoat.http.request import Body, Request
from topcoat.http.tls import TLSSettings
from topcoat.notices import notice
from topcoat.registry import trust
from topcoat.registry.failures import IN_ITS_PLACE, NETWORK_ERRORS, RETRIED_STATUSES, is_transient, no_response, redact
from topcoat.registry.headers import parse_retry_after
from topcoat.registry.hosts import endpoint, host_settings
from topcoat.version import __version__

MAX_ATTEMPTS = 4
MAX_WAIT_S = 60.0
"""If a registry asks for a longer wait (``Retry-After``), the request is not retried."""

MAX_TOTAL_WAIT_S = 120.0
"""Maximum sum of the waits of one request."""

_FIRST_WAIT_S = 0.25
_MIN_ANNOUNCED_WAIT_S = 3.0
# If plain HTTP may be tried next.
_INSECURE_TLS_TIMEOUT_S = 5.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_WITH_BODY = frozenset({307, 308})


class Transport:
    """Sends requests to one registry, and to the hosts that it redirects to. Threads may share it.

    Attributes:
        host: ``host[:port]`` that serves the registry's API.
    """

    def __init__(self, registry: str, *, insecure: bool | None = None, ca_file: str | None = None) -> None:
        self.host = endpoint(registry)
        self._ca_file = ca_file
        self._schemes, self._tls = host_settings(registry, insecure=insecure, ca_file=ca_file)
        self._scheme = self._schemes[0] if len(self._schemes) == 1 else ""
        self._lock = threading.Lock()
        self._pools: dict[tuple[Origin, bool], Pool] = {}

    @property
    def base(self) -> str:
        """``scheme://host[:port]`` of the registry; the first scheme until one has worked."""
        return f"{self._scheme or self._schemes[0]}://{self.host}"

    @property
    def may_be_plain(self) -> bool:
        """Whether the registry may be reached in plain HTTP."""
        return "http" in self._schemes

    def send(
        self,
        method: str,
        where: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        retry: bool = True,
        bound: bool = False,
    ) -> Response:
        """Send a request, follow redirects, retry, and return the last response, whatever its status.

        *where* is a path on the registry, or a URL. ``Authorization`` is dropped when a redirect leaves the origin; a
        *bound* request may not leave it. With *retry*, a temporary status or a cut connection is retried.

        Raises:
            RegistryUnavailable: no response, or invalid connection settings.
            RegistryError: a redirect is refused.
            InvalidImage: the body's file has become shorter.
        """
        attempt, waited = 1, 0.0
        while True:
            may_retry = retry and attempt < MAX_ATTEMPTS
            try:
                response = self._attempt(Request(method, where, headers, body), bound=bound)
            except (OSError, HTTPError) as error:
                if not may_retry or not is_transient(error):
                    raise no_response(error, method, self._url(where), self.host) from error
                wait = backoff(attempt)
            except RegistryUnavailable as error:
                # The target of a redirect does not respond.
                if not may_retry or not error.temporary:
                    raise
                wait = backoff(attempt)
            else:
                if response.status not in RETRIED_STATUSES or not may_retry:
                    return response
                wait = max(parse_retry_after(response.header("Retry-After")), backoff(attempt))
                if wait > MAX_WAIT_S or waited + wait > MAX_TOTAL_WAIT_S:
                    return response
                if wait >= _MIN_ANNOUNCED_WAIT_S:
                    notice(
                        f"waiting {wait:.0f} s, as {self.host} asks with status {response.status}; then attempt "
                        f"{attempt + 1} of {MAX_ATTEMPTS}"
                    )
                response.close()
            time.sleep(wait)
            waited += wait
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
            raise RegistryError(
                f"{redact(response.url)} sent status {response.status} without a Location", hint=IN_ITS_PLACE
            )
        # Headers are decoded as Latin-1; characters that a request line cannot hold are escaped, "%" is kept.
        value = quote(value.strip().encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~")
        requested, parts = urlsplit(response.url), self._split(value, base=response.url)
        if parts.hostname == requested.hostname:
            downgraded = (requested.scheme, parts.scheme) == ("https", "http") and parts.port in (None, requested.port)
            lost_port = session and requested.scheme == parts.scheme and parts.port is None
            if downgraded or lost_port:
                parts = parts._replace(scheme=requested.scheme, netloc=requested.netloc)
        self.check(parts.geturl(), source=response.url)
        if session:
            trust.check_session(parts.geturl(), response, self.base)
        return parts.geturl()

    def check(self, target: str, *, source: str) -> str:
        """Refuse a URL from *source* that an attacker could profit from; return it without a user and a password.

        Raises:
            RegistryError: malformed, or it goes from https to plain http, or from a public host to a private address.
        """
        parts = self._split(target)
        if urlsplit(source).scheme == "https" and parts.scheme != "https":
            raise RegistryError(
                f"{self.host} points from https to {redact(target)}, which is not encrypted",
                hint="the registry's own URL is configured wrongly there: it must be https",
            )
        origin = Origin.of(parts.geturl())
        address = "" if origin.host == urlsplit(source).hostname else trust.literal_address(origin.host)
        if address:
            trust.check_address(address, origin, self.host, allow_private=self._is_private(source))
        return parts.geturl()

    def _is_private(self, url: str) -> bool:
        """Tell whether the host of *url* has a private address, as far as it was connected to."""
        source = Origin.of(url)
        with self._lock:
            addresses = [pool.address for (origin, _), pool in self._pools.items() if origin == source]
        return any(map(trust.is_private, (trust.literal_address(source.host), *addresses)))

    def _split(self, url: str, *, base: str = "") -> SplitResult:
        try:
            return parse_url(urljoin(base, url))
        except ValueError as error:
            # The value may hold a credential, so it is not shown.
            raise RegistryError(
                f"{self.host} points to an address which is not a URL ({error})",
                hint="the registry's own URL is configured wrongly there",
            ) from None

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _url(self, where: str) -> str:
        return self.base + where if where.startswith("/") else where

    def _attempt(self, request: Request, *, bound: bool) -> Response:
        path = request.url
        if self._scheme or not path.startswith("/"):
            return self._follow(request._replace(url=self._url(path)), bound=bound)
        outcome: Response | Exception = ConnectionResetError("no scheme works")
        with contextlib.ExitStack() as unused:
            for number, scheme in enumerate(self._schemes):
                try:
                    response = self._try_scheme(scheme, request, bound=bound)
                except NETWORK_ERRORS as error:
                    if not self._other_scheme_may_work(error):
                        raise
                    # What the first scheme says matters: the second is a guess.
                    outcome = outcome if number else error
                    continue
                # A TLS port responds to plain HTTP with 400 and some text; a registry's error would be JSON.
                if scheme == "http" and response.status == 400 and "json" not in response.header("Content-Type"):
                    unused.callback(response.close)
                    outcome = outcome if number else response
                    continue
                # _follow() has set it if the registry redirects to https.
                self._scheme = self._scheme or scheme
                return response
            if isinstance(outcome, Response):
                unused.pop_all()
                return outcome
        raise outcome

    def _try_scheme(self, scheme: str, request: Request, *, bound: bool) -> Response:
        request = request._replace(url=f"{scheme}://{self.host}{request.url}")
        try:
            return self._follow(request, bound=bound)
        except ConnectionError as error:
            # A TLS port may cut plain HTTP, and any connection may be cut once.
            if scheme == "https" or isinstance(error, ConnectionRefusedError):
                raise
        return self._follow(request, bound=bound)

    def _other_scheme_may_work(self, error: Exception) -> bool:
        if type(error).__name__ == "SSLCertVerificationError":
            return False
        if isinstance(error, (ConnectionRefusedError, ConnectTimeout)):
            # If the name has a port, the other scheme would hit the same port.
            return split_host(self.host)[1] is None
        return not isinstance(error, TimeoutError) or isinstance(error, TLSTimeout)

    def _follow(self, request: Request, *, bound: bool) -> Response:
        request = request._replace(headers={"User-Agent": f"topcoat/{__version__}", **request.headers})
        first, left_origin, source = Origin.of(request.url), False, self.base
        for hop in range(_MAX_REDIRECTS):
            origin = Origin.of(request.url)
            try:
                response = self._pool(origin, source).exchange(request)
            except (OSError, HTTPError) as error:
                if not hop:
                    raise
                raise no_response(error, request.method, request.url, self.host) from error
            left_origin = left_origin or origin != first
            response.left_origin = left_origin
            if response.status not in _REDIRECTS:
                return response
            target = self._upgraded(request, response)
            keeps_body = request.method in ("GET", "HEAD") or response.status in _REDIRECTS_WITH_BODY
            if not target and not keeps_body:
                return response
            response.close()
            if target:
                # The registry itself is served at https: it is asked there, as if from the start.
                first = Origin.of(target)
            else:
                target = self.location(response, session=False)
            source = request.url
            request = trust.follow(request, target, bound=bound)
        raise RegistryError(f"{self.host} redirects in a circle: {request.method} {redact(request.url)}")

    def _upgraded(self, request: Request, response: Response) -> str:
        """Return the URL of *request* at https if a registry in plain HTTP redirects to its own https, else empty."""
        url, plain = urlsplit(request.url), Origin.of(request.url)
        try:
            secure = Origin.of(parse_url(response.header("Location")).geturl())
        except ValueError:
            return ""
        same_port = plain.port == secure.port or (plain.port, secure.port) == (80, 443)
        is_own = f"{url.scheme}://{url.netloc}" == f"http://{self.host}" and "https" in self._schemes
        if not is_own or (secure.scheme, secure.host) != ("https", plain.host) or not same_port:
            return ""
        self._scheme = "https"
        return url._replace(scheme="https").geturl()

    def _pool(self, origin: Origin, source: str) -> Pool:
        """Return the connections to *origin*, which the host of *source* names."""
        own = self._is_own(origin)
        allow_private = own or self._is_private(source)
        key = (origin, allow_private)
        with self._lock:
            if key not in self._pools:
                check = functools.partial(
                    trust.check_address, target=origin, registry=self.host, allow_private=allow_private
                )
                falls_back = own and len(self._schemes) > 1
                self._pools[key] = Pool(
                    origin,
                    self._tls_of(origin),
                    check_address=_accept if own else check,
                    tls_timeout=_INSECURE_TLS_TIMEOUT_S if falls_back else CONNECT_TIMEOUT_S,
                )
            return self._pools[key]

    def _tls_of(self, origin: Origin) -> TLSSettings:
        # Another port of the registry's host (a token service) is trusted as the registry is.
        if self._is_own(origin):
            return self._tls
        return host_settings(origin.authority, ca_file=self._ca_file).tls

    def _is_own(self, origin: Origin) -> bool:
        return origin.host == split_host(self.host)[0].lower()


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a failed attempt (1 is the first): doubling, with jitter."""
    import random

    return _FIRST_WAIT_S * (1 << (attempt - 1)) * random.uniform(0.75, 1.25)


def _accept(address: str) -> None:
    """Accept any address: the user named this host."""
