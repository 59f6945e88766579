"""A cluster in memory: it stores objects, and refuses what a test tells it to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from topcoat.errors import RequestRefused
from topcoat.schedulers.kubernetes.kinds import JOB, POD, SERVICE, Kind, kind_of


class FakeClient:
    """Have the methods of `topcoat.schedulers.kubernetes.client.Client` that submission uses.

    Attributes:
        calls: ``verb kind name``, in order.
        before: is called with each of them; an exception that it raises is the result of the request.
        after: the same, when the request has been carried out.
    """

    def __init__(self, *served: Kind, namespace: str = "team") -> None:
        self.namespace = namespace
        self.served = {JOB, POD, SERVICE, *served}
        self.objects: dict[tuple[Kind, str, str], dict[str, Any]] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], object] = lambda call: None
        self.after: Callable[[str], object] = lambda call: None
        self._uids = itertools.count(1)

    def now(self) -> float:
        return 0.0

    def close(self) -> None:
        pass

    def serves(self, kind: Kind) -> bool:
        return kind in self.served

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        metadata = manifest["metadata"]
        key = (kind_of(manifest), metadata.get("namespace") or self.namespace, metadata["name"])
        call = self._call("check" if dry_run else "create", *key)
        if key in self.objects:
            raise RequestRefused("already exists", status=409, reason="AlreadyExists")
        created = {**manifest, "metadata": {**metadata, "uid": f"uid-{next(self._uids)}"}}
        if not dry_run:
            self.objects[key] = created
        self.after(call)
        return created

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        name, _, value = labels.partition("=")
        return [
            item
            for (of_kind, where, _), item in self.objects.items()
            if of_kind == kind
            and namespace in (None, where)
            and name in item["metadata"]["labels"]
            and value in ("", item["metadata"]["labels"][name])
        ]

    def patch(self, kind: Kind, namespace: str, name: str, change: Mapping[str, Any]) -> dict[str, Any] | None:
        self._call("patch", kind, namespace, name)
        item = self.objects.get((kind, namespace, name))
        return None if item is None else _merge(item, change)

    def delete(self, kind: Kind, namespace: str, name: str, *, propagation: str = "Background") -> bool:
        self._call("delete", kind, namespace, name)
        return self.objects.pop((kind, namespace, name), None) is not None

    def post(self, path: str, manifest: Mapping[str, Any], action: str) -> dict[str, Any]:
        self.calls.append(f"post {path} {manifest['action']}")
        return dict(manifest)

    def kinds(self) -> list[str]:
        """Return what kinds of objects exist, sorted."""
        return sorted(kind.name for kind, _, _ in self.objects)

    def _call(self, verb: str, kind: Kind, namespace: str, name: str) -> str:
        call = f"{verb} {kind.name} {name}"
        self.calls.append(call)
        self.before(call)
        return call


def _merge(item: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in change.items():
        if isinstance(value, Mapping):
            _merge(item.setdefault(key, {}), value)
        else:
            item[key] = value
    return item


def verbs(calls: Iterable[str]) -> list[str]:
    """Return *calls* without the objects' names."""
    return [" ".join(call.split()[:2]) for call in calls]
