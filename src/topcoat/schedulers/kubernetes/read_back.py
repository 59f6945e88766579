"""Read applications back from the cluster: their definitions, and the list of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from topcoat.errors import RequestRefused, TopcoatError
from topcoat.foreign_text import parse_json
from topcoat.schedulers.env import RANK0_ENV
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.fields import Manifest, Manifests, created, field, items, number, role_of, text
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD, VOLCANO_JOB, Kind
from topcoat.schedulers.kubernetes.labels import (
    ANNOTATION_APP_DEF,
    ANNOTATION_APP_NAME,
    LABEL_APP,
    WAITING_SHELL,
    app_id,
)
from topcoat.schedulers.kubernetes.observe import AppObjects
from topcoat.schedulers.kubernetes.status import summarize
from topcoat.schedulers.local.app_json import role_from_dict
from topcoat.schedulers.responses import ListAppResponse
from topcoat.specs import AppDef, Role, macros
from topcoat.tasks import run_all


def read_app(owners: Sequence[Manifest]) -> AppDef:
    """Return the definition of an application from its top objects.

    One that is too large for them has only what its pods tell.
    """
    for owner in owners:
        app = _read_app_def(owner)
        if app is not None:
            return app
    roles: dict[str, Role] = {}
    for owner in owners:
        for template, count in _templates(owner):
            name = role_of(template)
            role = roles.get(name)
            if role is None:
                roles[name] = _role(name, template, count)
            else:
                role.num_replicas += count
    name = text(owners[0], "metadata", "annotations", ANNOTATION_APP_NAME) if owners else ""
    return AppDef(name, list(roles.values()))


def _read_app_def(top: Manifest) -> AppDef | None:
    """Return the definition in a top object, ``None`` if it has none, or a malformed one.

    The macros that have the same value in all replicas are replaced.
    """
    definition = text(top, "metadata", "annotations", ANNOTATION_APP_DEF)
    if not definition:
        return None
    values = macros.Values("", text(top, "metadata", "labels", LABEL_APP), macros.replica_id, RANK0_ENV)
    try:
        data = parse_json(definition)
        roles = [values.apply(role_from_dict(role)) for role in data["roles"]]
        return AppDef(data["name"], roles, data["metadata"])
    except (ValueError, TypeError, KeyError, AttributeError, TopcoatError):
        return None


def _templates(owner: Manifest) -> Iterator[tuple[Manifest, int]]:
    """Yield the pod templates of a top object, with the number of their replicas."""
    for item in items(owner, "spec", "replicatedJobs"):
        yield field(item, "template", "spec", "template") or {}, number(item, "template", "spec", "completions")
    for task in items(owner, "spec", "tasks"):
        yield field(task, "template") or {}, number(task, "replicas")
    if field(owner, "spec", "template"):
        yield field(owner, "spec", "template"), number(owner, "spec", "completions")


def _role(name: str, template: Manifest, count: int) -> Role:
    container = field(template, "spec", "containers", 0) or {}
    words = [*(field(container, "command") or []), *(field(container, "args") or [])]
    if words[3:4] == [WAITING_SHELL]:
        words = words[4:]
    env = {text(entry, "name"): text(entry, "value") for entry in items(container, "env") if field(entry, "value")}
    return Role(
        name, text(container, "image"), entrypoint=(words or [""])[0], args=words[1:], env=env, num_replicas=count
    )


def list_apps(client: Client, namespace: str | None) -> list[ListAppResponse]:
    """Return the applications of a namespace, or of all (``None``), the newest first."""

    def of_kind(kind: Kind) -> Manifests:
        try:
            return client.list(kind, namespace, labels=LABEL_APP) if client.serves(kind) else []
        except RequestRefused as error:
            # A user may have no rights for add-ons.
            if kind is JOB or error.status != 403:
                raise
            return []

    kinds = (JOB, POD, JOB_SET, VOLCANO_JOB)
    jobs, pods, job_sets, volcano_jobs = (
        _by_app(found) for found in run_all([partial(of_kind, kind) for kind in kinds])
    )
    apps = []
    for key in {**jobs, **job_sets, **volcano_jobs}:
        objects = AppObjects(
            now=client.now(),
            jobs=jobs.get(key, []),
            pods=pods.get(key, []),
            job_sets=job_sets.get(key, []),
            volcano_jobs=volcano_jobs.get(key, []),
        )
        first = min(objects.owners, key=created)
        name = text(first, "metadata", "annotations", ANNOTATION_APP_NAME)
        apps.append((created(first), ListAppResponse(app_id(*key), summarize(objects).state, name=name)))
    apps.sort(key=lambda app: -app[0])
    for seconds, app in apps:
        app.created = datetime.fromtimestamp(seconds, timezone.utc)
    return [app for _, app in apps]


def _by_app(manifests: Iterable[Manifest]) -> Mapping[tuple[str, str], list[Any]]:
    apps: dict[tuple[str, str], list[Any]] = {}
    for manifest in manifests:
        key = (text(manifest, "metadata", "namespace"), text(manifest, "metadata", "labels", LABEL_APP))
        apps.setdefault(key, []).append(manifest)
    return apps
