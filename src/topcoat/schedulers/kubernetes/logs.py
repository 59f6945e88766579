"""The log of a replica: of all its pods, from before the first one exists until the replica has ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from topcoat.notices import notice
from topcoat.schedulers.kubernetes.client import Client, Objects
from topcoat.schedulers.kubernetes.fields import (
    TORCHX_REPLICA,
    Manifest,
    created,
    field,
    indexes,
    is_true,
    replica_of,
    role_of,
    text,
)
from topcoat.schedulers.kubernetes.kinds import POD
from topcoat.schedulers.kubernetes.labels import COMPLETION_INDEX, LABEL_APP, LABEL_ROLE, role_label
from topcoat.schedulers.kubernetes.observe import AppObjects, fetch
from topcoat.schedulers.kubernetes.pod_log import PodLog, Window
from topcoat.schedulers.kubernetes.replica_states import replicas_of
from topcoat.schedulers.kubernetes.status import summarize
from topcoat.schedulers.logs import decode, filter_regex
from topcoat.specs import AppState, is_terminal

_CHECK_S = 5
_ENDING_PAUSE_S = 0.3


def replica_log(
    client: Client,
    namespace: str,
    app: str,
    role: str,
    replica: int,
    *,
    regex: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    should_tail: bool = False,
) -> Iterable[str]:
    """Return the log lines of a replica; see ``Scheduler.log_iter``.

    The pods of failed attempts come first, as far as the cluster keeps them.
    """
    log = ReplicaLog(client, namespace, app, role, replica, Window.of(since, until))
    lines = decode(log.follow() if should_tail else log.read(), whole=regex is not None)
    return lines if regex is None else filter_regex(regex, lines)


class ReplicaLog:
    """Read the log of one replica; *app* is the application's name in the cluster."""

    def __init__(self, client: Client, namespace: str, app: str, role: str, replica: int, window: Window) -> None:
        self._client = client
        self._namespace = namespace
        self._app = app
        self._role = role
        self._replica = replica
        self._where = f"{role}/{replica}"
        self._window = window
        self._shown = ""
        role_labels = f"{LABEL_APP}={app},{LABEL_ROLE}={role_label(role)}"
        objects = fetch(client, namespace, app)
        index_label = TORCHX_REPLICA if objects and objects.volcano_jobs else COMPLETION_INDEX
        self._labels = f"{role_labels},{index_label}={replica}"

    def read(self) -> Iterator[bytes]:
        """Yield what the cluster has of the log now."""
        pods, _ = self._pods()
        for pod in pods:
            yield from PodLog(self._client, pod, self._where, self._window).read()

    def follow(self) -> Iterator[bytes]:
        """Yield the log until the replica has ended; empty pieces while it is silent."""
        finished: set[str] = set()
        while True:
            pods, version = self._pods()
            new = [pod for pod in pods if text(pod, "metadata", "uid") not in finished]
            on_nodes = [pod for pod in new if text(pod, "spec", "nodeName")]
            for pod in on_nodes:
                yield from self._follow_pod(pod)
                finished.add(text(pod, "metadata", "uid"))
            if self._is_past():
                return
            if on_nodes:
                continue
            # A pod may have come since the list.
            if self._has_ended() and not any(text(pod, "metadata", "uid") not in finished for pod in self._pods()[0]):
                return
            yield b""
            if pods and not new:
                # Whether another attempt follows, the Job says, not the pods.
                time.sleep(_ENDING_PAUSE_S)
            else:
                self._client.wait_for_change(POD, self._namespace, version, labels=self._labels, timeout=_CHECK_S)

    def _follow_pod(self, pod: Manifest) -> Iterator[bytes]:
        next_check = time.monotonic() + _CHECK_S
        for piece in PodLog(self._client, pod, self._where, self._window).follow():
            yield piece
            if not piece and time.monotonic() > next_check:
                # A pod that cannot start, such as one with an image that does not exist, has no end of its own.
                if self._has_ended():
                    return
                next_check = time.monotonic() + _CHECK_S

    def _pods(self) -> tuple[Objects, str]:
        """Return the pods of the replica, the oldest first, and the version of the list."""
        pods, version = self._client.list_version(POD, self._namespace, labels=self._labels)
        own = [pod for pod in pods if role_of(pod) == self._role and replica_of(pod) == self._replica]
        return sorted(own, key=created), version

    def _is_past(self) -> bool:
        return self._window.until is not None and self._client.now() * 10**9 > self._window.until

    def _has_ended(self) -> bool:
        """Tell whether the replica will have no further pod."""
        objects = fetch(self._client, self._namespace, self._app)
        if objects is None or _no_pod_will_come(objects, self._role, self._replica):
            return True
        self._say_why_it_waits(objects)
        return False

    def _say_why_it_waits(self, objects: AppObjects) -> None:
        """Tell the user once why the replica does not run."""
        replicas = [item for item in replicas_of(objects) if (item.role, item.number) == (self._role, self._replica)]
        reason = next((item.reason for item in replicas if item.state is AppState.PENDING), None)
        shown = f"{self._where}: {reason.text}" if reason else ""
        if not shown and replicas and replicas[0].pod is None:
            # A queue, or a quota.
            shown = summarize(objects).msg
        if shown and shown != self._shown:
            notice(shown)
        self._shown = shown


def _no_pod_will_come(objects: AppObjects, role: str, replica: int) -> bool:
    if is_terminal(summarize(objects).state):
        return True
    if objects.job_sets or objects.volcano_jobs:
        # All replicas may be started again together.
        return False
    job = next((job for job in objects.jobs if role_of(job) == role), None)
    if job is None or is_true(job, "Complete") or is_true(job, "Failed") or field(job, "metadata", "deletionTimestamp"):
        return True
    ended = [*indexes(job, "status", "completedIndexes"), *indexes(job, "status", "failedIndexes")]
    return any(replica in part for part in ended)
