"""Labels and annotations by which the objects of an application are found again, and the ids and names they hold."""

from __future__ import annotations

import re

from topcoat.errors import InvalidHandle
from topcoat.schedulers.ids import dns_label, make_unique

LABEL_APP = "dev.topcoat.app"
"""On every object; its value is the name in the app id ``namespace:name``."""
LABEL_ROLE = "dev.topcoat.role"
"""On every object of one role; its value is ``role_label(role.name)``."""
ANNOTATION_ROLE_NAME = "dev.topcoat.role-name"
"""The role's exact name, on Jobs and pods."""
ANNOTATION_APP_NAME = "dev.topcoat.app-name"
"""The application's exact name, on every object but pods."""
ANNOTATION_APP_DEF = "dev.topcoat.app-def"
"""The application as JSON, on every top object (Job, JobSet, Volcano Job) unless it is too large."""
ANNOTATION_CANCELLED = "dev.topcoat.cancelled"
"""Set by ``cancel``: when the application was cancelled (RFC 3339)."""
ANNOTATION_PULL_PATIENCE = "dev.topcoat.pull-patience"
"""Seconds that the image may fail to be pulled before ``wait`` ends, on every top object and pod."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Kubernetes' own label and annotation of a pod: the replica's number within its Job."""
ANNOTATION_ISTIO_SIDECAR = "sidecar.istio.io/inject"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_JOB_SET_ROLE = "jobset.sigs.k8s.io/replicatedjob-name"

CONTAINER = "main"
"""Name of the container that runs the role's command; Volcano's pods have TorchX's name instead."""
ERROR_FILE = "/dev/termination-log"
"""Where torchrun writes its error: the cluster shows it as the message of the terminated container."""
WAITING_SHELL = "topcoat"
"""Name of the shell, its argument 3, that waits in a pod for the first replica before it runs the command."""
MAX_NAME = 63
_SUFFIX = 8
# The role's part, a number and JobSet's suffixes have to fit behind it.
_MAX_APP_NAME = 30
_APP_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def new_name(app_name: str) -> str:
    """Return a new, unique name for the objects of an application: a DNS label that starts with a letter."""
    label = dns_label(app_name, _MAX_APP_NAME - _SUFFIX - 1)
    if label[0].isdecimal():
        # A Service's name has to start with a letter.
        label = dns_label(f"x{label}", _MAX_APP_NAME - _SUFFIX - 1)
    return make_unique(label, _SUFFIX)


def role_part(app: str, role_name: str, num_replicas: int) -> str:
    """Return the part of a role in the names of its objects, which leaves room for the number of each replica.

    The longest name of a pod is JobSet's: ``app-role-0-index-xxxxx``.
    """
    limit = MAX_NAME - len(app) - len("--0-") - len(str(num_replicas - 1)) - len("-xxxxx")
    label = dns_label(role_name)
    if label == role_name and len(label) <= limit:
        return label
    return _with_digest(label[: limit - 9], role_name)


def role_label(role_name: str) -> str:
    """Return the name of a role as a label value that is also a DNS label; different names stay different."""
    label = dns_label(role_name)
    if label == role_name:
        return label
    # dns_label maps "a b" and "a-b" to one label.
    return _with_digest(label[: MAX_NAME - 9], role_name)


def _with_digest(label: str, text: str) -> str:
    import hashlib

    return f"{label.rstrip('-')}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def label_value(text: str) -> str:
    """Return *text* as a label value: what is not allowed becomes a dot, and the ends are letters or digits."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", ".", text[: 4 * MAX_NAME])
    return re.sub(r"[^A-Za-z0-9]+$", "", re.sub(r"^[^A-Za-z0-9]+", "", cleaned)[:MAX_NAME])


def app_id(namespace: str, name: str) -> str:
    """Return the id that users see, as TorchX writes it."""
    return f"{namespace}:{name}"


def split_app_id(app_id: str) -> tuple[str, str]:
    """Return the namespace and the name of an app id.

    Raises:
        InvalidHandle: it is not ``namespace:name``, both of them DNS labels.
    """
    namespace, _, name = app_id.partition(":")
    if not (_APP_ID.fullmatch(namespace) and _APP_ID.fullmatch(name)):
        raise InvalidHandle(
            f"invalid Kubernetes application id {app_id!r}: expected namespace:name",
            hint="topcoat list -s kubernetes shows the ids",
        )
    return namespace, name
