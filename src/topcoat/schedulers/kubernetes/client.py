"""Requests to the API server: the only place that uses the official client. Objects are plain dicts.

The official client finds the cluster, logs in and sets up TLS, proxy and connections. Its generated classes are not
used: they drop the fields that they do not have, which are those of newer clusters and of add-ons.
"""

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
from topcoat.schedulers.kubernetes.config import Cluster, find_cluster
from topcoat.schedulers.kubernetes.kinds import Kind, group_path, kind_of

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Objects = list[dict[str, Any]]
_Failures = list[SchedulerUnavailable]

CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
# An API server that restarts is back within seconds; a control plane that is upgraded within a minute.
_RETRY_TIMEOUT_S = 60
_NOTICE_AFTER_S = 3
_MAX_PAUSE_S = 2.0
_MAX_BODY = 128 << 20
_PAGE = 500
_FIRST_PIECE = 1024
_MERGE_PATCH = "application/merge-patch+json"
# A server that starts refuses logins and rights for a moment, before it has read them.
_WHILE_STARTING = (401, 403)
_TEMPORARY = (429, 502, 503, 504)
_UNREACHABLE_HINT = "check the network (VPN?) and the context: `kubectl get nodes`"


def connect(kubeconfig: str | None = None, context: str | None = None) -> Client:
    """Return a client of the cluster that kubectl would use; no request is made yet. See `find_cluster`."""
    return Client(find_cluster(kubeconfig, context))


class Client:
    """Send requests as one user to one cluster; may be used by several threads.

    All methods raise ``RequestRefused`` for a request that the API server refuses, and ``SchedulerUnavailable`` if it
    does not respond. A request is repeated while a server that has responded before restarts.
    """

    def __init__(self, cluster: Cluster) -> None:
        from kubernetes.client import ApiClient

        self.cluster = cluster
        # A follower of a log holds a connection; urllib3 complains about more connections than this.
        cluster.configuration.connection_pool_maxsize = 10_000
        self.api: ApiClient = ApiClient(cluster.configuration)
        self._has_responded = False
        self._clock_difference = 0.0
        self._served: dict[str, frozenset[str]] = {}

    @property
    def namespace(self) -> str:
        """The namespace of the context, ``default`` if it has none."""
        return self.cluster.namespace

    def close(self) -> None:
        """Close the connections; may be called more than once."""
        self.api.close()  # type: ignore[no-untyped-call]

    def now(self) -> float:
        """Return the time in seconds since 1970 by the server's clock, as of its last response."""
        return time.time() + self._clock_difference

    def serves(self, kind: Kind) -> bool:
        """Tell whether the cluster has a kind of objects."""
        if kind.api_version not in self._served:
            try:
                found = self._json("GET", group_path(kind.api_version), f"looking for {kind.api_version}")
            except RequestRefused as error:
                if error.status != 404:
                    raise
                found = {}
            self._served[kind.api_version] = frozenset(item["name"] for item in found.get("resources") or [])
        return kind.plural in self._served[kind.api_version]

    def version(self) -> str:
        """Return the server's version, such as ``v1.37.2``."""
        return str(self._json("GET", "/version", "asking for the cluster's version").get("gitVersion", ""))

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object in its namespace and return it as the server has it; unknown fields are refused.

        Args:
            manifest: with ``apiVersion``, ``kind``, ``metadata.name`` and ``metadata.namespace``.
            dry_run: let the server check it, and store nothing.
        """
        kind, name = kind_of(manifest), manifest["metadata"]["name"]
        namespace = manifest["metadata"].get("namespace") or self.namespace
        query = {"fieldValidation": "Strict", "fieldManager": "topcoat", **({"dryRun": "All"} if dry_run else {})}
        action = f"{'checking' if dry_run else 'creating'} the {kind.name} {namespace}/{name}"
        failures: _Failures = []
        try:
            return self._json("POST", kind.path(namespace), action, query, manifest, namespace, failures)
        except RequestRefused as error:
            # The response to an earlier attempt was lost: the object is ours, for its name is.
            if error.reason == "AlreadyExists" and failures:
                existing = self.get(kind, namespace, name)
                if existing is not None and _is_same(manifest, existing):
                    return existing
            raise

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object, ``None`` if it does not exist."""
        try:
            return self._json("GET", kind.path(namespace, name), _reading(kind, namespace, name), namespace=namespace)
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> Objects:
        """Return the objects of a kind in a namespace, or in all (``None``).

        Args:
            kind: one that the cluster serves.
            namespace: one that does not exist has no objects.
            labels: a label selector, such as ``dev.topcoat.app=train-x1``.
            fields: a field selector.
        """
        return self.list_version(kind, namespace, labels=labels, fields=fields)[0]

    def list_version(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """Return what ``list`` does, and the version of the list, for ``wait_for_change``."""
        query = {"limit": str(_PAGE), "labelSelector": labels, "fieldSelector": fields}
        query = {name: value for name, value in query.items() if value}
        action = f"listing {kind.plural}" + f" in the namespace {namespace}" * (namespace is not None)
        items: Objects = []
        while True:
            try:
                page = self._json("GET", kind.path(namespace), action, query, namespace=namespace)
            except RequestRefused as error:
                # 410: the list took so long that its continuation has expired.
                if error.status != 410 or "continue" not in query:
                    raise
                del query["continue"]
                items = []
                continue
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    def wait_for_change(self, kind: Kind, namespace: str, version: str, *, labels: str, timeout: int) -> None:
        """Wait until one of the objects changes after a *version* of their list, at most *timeout* seconds.

        It may return early: list the objects again.
        """
        from urllib3.exceptions import HTTPError

        query = {
            "watch": "1",
            "labelSelector": labels,
            "resourceVersion": version,
            "timeoutSeconds": str(timeout),
        }
        try:
            response = self._send("GET", kind.path(namespace), query, None, timeout + 5)
            try:
                if response.status == 200:
                    next(response.stream(_FIRST_PIECE), None)
                    return
            finally:
                response.close()
        except (HTTPError, OSError, SchedulerUnavailable):
            pass
        time.sleep(min(1, timeout))

    def patch(self, kind: Kind, namespace: str, name: str, change: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge *change* into an object (RFC 7386) and return the result, ``None`` if it does not exist."""
        try:
            return self._json(
                "PATCH",
                kind.path(namespace, name),
                f"changing the {kind.name} {namespace}/{name}",
                {"fieldManager": "topcoat"},
                change,
                namespace,
            )
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    def delete(self, kind: Kind, namespace: str, name: str, *, propagation: str = "Background") -> bool:
        """Delete an object and, later, what it owns; tell whether it existed."""
        try:
            self._json(
                "DELETE",
                kind.path(namespace, name),
                f"deleting the {kind.name} {namespace}/{name}",
                body={"propagationPolicy": propagation},
                namespace=namespace,
            )
        except RequestRefused as error:
            if error.status != 404:
                raise
            return False
        return True

    def post(self, path: str, manifest: Mapping[str, Any], action: str) -> dict[str, Any]:
        """Send an object to a path, such as a pod's ``/eviction``."""
        return self._json("POST", path, action, body=manifest)

    def open(
        self, path: str, query: Mapping[str, str], action: str, *, read_timeout: float, namespace: str | None = None
    ) -> BaseHTTPResponse:
        """Send a GET request and return its response, whose body is still to be read; close it.

        *read_timeout* is in seconds, between two pieces of the body.
        """
        response = self._send("GET", path, query, None, read_timeout)
        if response.status >= 300:
            raise self._refused(action, response, namespace)
        return response

    def headers(self) -> dict[str, str]:
        """Return the headers that log in; a login that has expired is renewed."""
        settings = self.api.configuration.auth_settings().values()
        return {str(item["key"]): str(item["value"]) for item in settings if item["in"] == "header" and item["value"]}

    def _json(
        self,
        method: str,
        path: str,
        action: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        failures: _Failures | None = None,
    ) -> dict[str, Any]:
        """Send a request until the server responds, and return the object in the response.

        The errors of attempts without a response are added to *failures*.
        """
        failures = [] if failures is None else failures
        started, pause = time.monotonic(), 0.1
        while True:
            try:
                response = self._send(method, path, query or {}, body, _READ_TIMEOUT_S)
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

    def _send(
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


def _reading(kind: Kind, namespace: str, name: str) -> str:
    return f"reading the {kind.name} {namespace}/{name}"


def _is_same(manifest: Mapping[str, Any], existing: Mapping[str, Any]) -> bool:
    """Tell whether *existing* has the labels of *manifest*."""
    labels = (existing.get("metadata") or {}).get("labels") or {}
    return all(labels.get(key) == value for key, value in (manifest["metadata"].get("labels") or {}).items())


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
