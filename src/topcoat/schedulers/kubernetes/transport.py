"""One request to the API server and its response, repeated while a server that has responded restarts."""

from __future__ import annotations

import email.utils
import json
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from topcoat.errors import RequestRefused, SchedulerUnavailable
from topcoat.foreign_text import escaped, parse_json
from topcoat.notices import notice
from topcoat.schedulers.kubernetes.api_errors import refusal
from topcoat.schedulers.kubernetes.config import Cluster

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Failures = list[SchedulerUnavailable]

CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
# An API server that restarts is back within seconds; a control plane that is upgraded within a minute.
_RETRY_TIMEOUT_S = 60
_NOTICE_AFTER_S = 3
_MAX_PAUSE_S = 2.0
_MAX_BODY = 128 << 20
_MERGE_PATCH = "application/merge-patch+json"
# A server that starts refuses logins and rights for a moment, before it has read them.
_WHILE_STARTING = (401, 403)
_TEMPORARY = (429, 502, 503, 504)
_UNREACHABLE_HINT = "check the network (VPN?) and the context: `kubectl get nodes`"


class Transport:
    """Send requests as one user to one cluster, with the connections of the official client."""

    def __init__(self, cluster: Cluster) -> None:
        from kubernetes.client import ApiClient

        self.cluster = cluster
        # A follower of a log holds a connection; urllib3 complains about more connections than this.
        cluster.configuration.connection_pool_maxsize = 10_000
        self.api: ApiClient = ApiClient(cluster.configuration)
        self._has_responded = False
        self._clock_difference = 0.0

    def close(self) -> None:
        """Close the connections; may be called more than once."""
        self.api.close()  # type: ignore[no-untyped-call]

    def now(self) -> float:
        """Return the time in seconds since 1970 by the server's clock, as of its last response."""
        return time.time() + self._clock_difference

    def open(
        self, path: str, query: Mapping[str, str], action: str, *, read_timeout: float, namespace: str | None = None
    ) -> BaseHTTPResponse:
        """Send a GET request and return its response, whose body is still to be read; close it.

        *read_timeout* is in seconds, between two pieces of the body.
        """
        response = self.send("GET", path, query, None, read_timeout)
        if response.status >= 300:
            raise self._refused(action, response, namespace)
        return response

    def headers(self) -> dict[str, str]:
        """Return the headers that log in; a login that has expired is renewed."""
        settings = self.api.configuration.auth_settings().values()
        return {str(item["key"]): str(item["value"]) for item in settings if item["in"] == "header" and item["value"]}

    def json(
        self,
        method: str,
        path: str,
        action: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        failures: Failures | None = None,
    ) -> dict[str, Any]:
        """Send a request until the server responds, and return the object in the response.

        The errors of attempts without a response are added to *failures*.
        """
        failures = [] if failures is None else failures
        started, pause = time.monotonic(), 0.1
        while True:
            try:
                response = self.send(method, path, query or {}, body, _READ_TIMEOUT_S)
                if response.status < 300:
                    return self._parsed(action, response)
                error: RequestRefused | SchedulerUnavailable = self._refused(action, response, namespace)
                is_temporary = response.status in _TEMPORARY
                is_starting = response.status in _WHILE_STARTING and bool(failures)
                if not is_temporary and not is_starting:
                    raise error
                pause = max(pause, _retry_after(response))
            except SchedulerUnavailable as unavailable:
                error = unavailable
                failures.append(unavailable)
                if not self._has_responded:
                    raise
            waited = time.monotonic() - started
            if waited + pause > _RETRY_TIMEOUT_S:
                raise error
            if waited > _NOTICE_AFTER_S:
                notice(f"{self.cluster} does not respond; trying again for up to {_RETRY_TIMEOUT_S} s")
            time.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_S)

    def send(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, read_timeout: float
    ) -> BaseHTTPResponse:
        """Send a request once; the body of the response is still to be read."""
        import urllib3
        from urllib3.exceptions import HTTPError, InsecureRequestWarning

        configuration = self.api.configuration
        if not configuration.verify_ssl:
            # The kubeconfig says so; kubectl does not warn either.
            warnings.simplefilter("ignore", InsecureRequestWarning)
        headers = {"Accept": "application/json", "User-Agent": "topcoat", **self.headers()}
        if body is not None:
            headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else "application/json"
        url = f"{configuration.host}{path}"
        if query:
            from urllib.parse import urlencode

            url = f"{url}?{urlencode(query)}"
        try:
            response: BaseHTTPResponse = self.api.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout),
                retries=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            raise self.unavailable(error) from error
        self._has_responded = True
        date = email.utils.parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else None
        if date is not None:
            # The header has whole seconds.
            difference = date.timestamp() + 0.5 - time.time()
            self._clock_difference = difference if abs(difference) > 1 else 0.0
        return response

    def unavailable(self, error: BaseException) -> SchedulerUnavailable:
        """Return the error for a connection that fails."""
        text = _cause(error)
        hint = _UNREACHABLE_HINT
        if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
            hint = "the certificate-authority of the kubeconfig does not fit this cluster: fetch the file again"
        return SchedulerUnavailable(f"cannot connect to {self.cluster}: {text}", hint=hint)

    def _refused(self, action: str, response: BaseHTTPResponse, namespace: str | None) -> RequestRefused:
        return refusal(action, response.status, self._body(response), namespace)

    def _parsed(self, action: str, response: BaseHTTPResponse) -> dict[str, Any]:
        try:
            document = parse_json(self._body(response))
        except ValueError as error:
            raise SchedulerUnavailable(
                f"{action}: {self.cluster} sent an invalid response: {escaped(str(error))}", hint=_UNREACHABLE_HINT
            ) from error
        if not isinstance(document, dict):
            raise SchedulerUnavailable(f"{action}: {self.cluster} sent no object", hint=_UNREACHABLE_HINT)
        return document

    def _body(self, response: BaseHTTPResponse) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            data = response.read(_MAX_BODY + 1)
        except (HTTPError, OSError) as error:
            raise self.unavailable(error) from error
        finally:
            response.release_conn()
        if len(data) > _MAX_BODY:
            response.close()
            raise SchedulerUnavailable(f"{self.cluster} sent a response of more than {_MAX_BODY >> 20} MB")
        return data


def _retry_after(response: BaseHTTPResponse) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 4 else 0.0


def _cause(error: BaseException) -> str:
    """Return the system's own text for a failed connection, which urllib3 wraps."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return escaped(text).lower() if isinstance(error, ConnectionError) else escaped(text)
