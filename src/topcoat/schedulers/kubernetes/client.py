"""Requests to the API server: the only place that uses the official client. Objects are plain dicts.

The official client finds the cluster, logs in and sets up TLS, proxy and connections. Its generated classes are not
used: they drop the fields that they do not have, which are those of newer clusters and of add-ons.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from topcoat.errors import RequestRefused, SchedulerUnavailable
from topcoat.schedulers.kubernetes.config import Cluster, find_cluster
from topcoat.schedulers.kubernetes.kinds import Kind, group_path, kind_of
from topcoat.schedulers.kubernetes.transport import Failures, Transport

Objects = list[dict[str, Any]]

_PAGE = 500
_FIRST_PIECE = 1024


def connect(kubeconfig: str | None = None, context: str | None = None) -> Client:
    """Return a client of the cluster that kubectl would use; no request is made yet. See `find_cluster`."""
    return Client(find_cluster(kubeconfig, context))


class Client(Transport):
    """Send requests as one user to one cluster; may be used by several threads.

    All methods raise ``RequestRefused`` for a request that the API server refuses, and ``SchedulerUnavailable`` if it
    does not respond. A request is repeated while a server that has responded before restarts.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._served: dict[str, frozenset[str]] = {}

    @property
    def namespace(self) -> str:
        """The namespace of the context, ``default`` if it has none."""
        return self.cluster.namespace

    def serves(self, kind: Kind) -> bool:
        """Tell whether the cluster has a kind of objects."""
        if kind.api_version not in self._served:
            try:
                found = self.json("GET", group_path(kind.api_version), f"looking for {kind.api_version}")
            except RequestRefused as error:
                if error.status != 404:
                    raise
                found = {}
            self._served[kind.api_version] = frozenset(item["name"] for item in found.get("resources") or [])
        return kind.plural in self._served[kind.api_version]

    def version(self) -> str:
        """Return the server's version, such as ``v1.37.2``."""
        return str(self.json("GET", "/version", "asking for the cluster's version").get("gitVersion", ""))

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
        failures: Failures = []
        try:
            return self.json("POST", kind.path(namespace), action, query, manifest, namespace, failures)
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
            return self.json("GET", kind.path(namespace, name), _reading(kind, namespace, name), namespace=namespace)
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
                page = self.json("GET", kind.path(namespace), action, query, namespace=namespace)
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
            response = self.send("GET", kind.path(namespace), query, None, timeout + 5)
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
            return self.json(
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
            self.json(
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
        return self.json("POST", path, action, body=manifest)


def _reading(kind: Kind, namespace: str, name: str) -> str:
    return f"reading the {kind.name} {namespace}/{name}"


def _is_same(manifest: Mapping[str, Any], existing: Mapping[str, Any]) -> bool:
    """Tell whether *existing* has the labels of *manifest*."""
    labels = (existing.get("metadata") or {}).get("labels") or {}
    return all(labels.get(key) == value for key, value in (manifest["metadata"].get("labels") or {}).items())
