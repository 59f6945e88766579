"""Labels and annotations by which the objects of an application are found again, and the ids and names they hold."""

from __future__ import annotations

import re

from topcoat.errors import InvalidHandle
from topcoat.schedulers.ids import dns_label

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
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Kubernetes' own label and annotation of a pod: the replica's number within its Job."""

MAX_NAME = 63
_APP_ID = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def role_label(role_name: str) -> str:
    """Return the name of a role as a label value that is also a DNS label; different names stay different."""
    label = dns_label(role_name)
    if label == role_name:
        return label
    import hashlib

    # dns_label maps "a b" and "a-b" to one label.
    return f"{dns_label(role_name, MAX_NAME - 9)}-{hashlib.sha256(role_name.encode(errors='surrogatepass')).hexdigest()[:8]}"


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
