"""The request for an application: its objects, and the definition that ``describe`` reads back. No side effects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from topcoat.schedulers.kubernetes.arrangement import Arrangement
from topcoat.schedulers.kubernetes.jobs import job_set, plain_jobs
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, SERVICE, VOLCANO_JOB, kind_of
from topcoat.schedulers.kubernetes.labels import (
    ANNOTATION_APP_DEF,
    ANNOTATION_PULL_PATIENCE,
    ANNOTATION_ROLE_NAME,
)
from topcoat.schedulers.kubernetes.template import Submission
from topcoat.schedulers.kubernetes.volcano import volcano_job
from topcoat.schedulers.local.app_json import role_to_dict
from topcoat.specs import AppDef

if TYPE_CHECKING:
    from yaml.nodes import ScalarNode

# Kubernetes allows 256 KiB of annotations; kubectl apply adds the whole object once more.
MAX_APP_DEF = 48 << 10
_TOP = (JOB, JOB_SET, VOLCANO_JOB)
# What some YAML parsers take for a number or a truth value, and PyYAML for a string.
_AMBIGUOUS = re.compile(r"[-+.]?[0-9].*|[yYnN]|", re.DOTALL)


@dataclass
class KubernetesJob:
    """Hold the objects of an application (TorchX's names).

    Attributes:
        images_to_push: what ``dryrun_push_images`` returned.
        resource: the first top object, the one that TorchX has: a Job, a JobSet or a Job of Volcano.
        others: the other objects, in the order in which they are created.
    """

    images_to_push: dict[str, tuple[str, str]]
    resource: dict[str, Any]
    others: list[dict[str, Any]] = field(default_factory=list)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """All objects, in the order in which they are created."""
        return [self.resource, *self.others]

    def __str__(self) -> str:
        """Return the objects as YAML, for ``kubectl apply -f -``."""
        return to_yaml(self.objects)

    def __repr__(self) -> str:
        return str(self)


def make_job(
    submission: Submission, arrangement: Arrangement, images_to_push: Mapping[str, tuple[str, str]]
) -> KubernetesJob:
    """Return the objects of an application, arranged as *arrangement* says."""
    if arrangement.top is JOB:
        first, *others = plain_jobs(submission, arrangement)
    else:
        first, others = job_set(submission, arrangement), []
        if arrangement.top is VOLCANO_JOB:
            first = volcano_job(submission)
    request = KubernetesJob(dict(images_to_push), first, others)
    for top in top_objects(request):
        top["metadata"]["annotations"][ANNOTATION_PULL_PATIENCE] = str(submission.cfg.pull_patience)
    set_app_def(request, submission.app)
    return request


def top_objects(request: KubernetesJob) -> list[dict[str, Any]]:
    """Return the objects that run pods: they own the others."""
    return [manifest for manifest in request.objects if kind_of(manifest) in _TOP]


def needs_owner(manifest: Mapping[str, Any]) -> bool:
    """Tell whether an object stays behind unless it is owned by the top objects."""
    return kind_of(manifest) in (SERVICE, POD_GROUP)


def set_app_def(request: KubernetesJob, app: AppDef) -> None:
    """Write the definition of *app* into the top objects, unless it is too large for an annotation."""
    roles = [role_to_dict(role) for role in app.roles]
    text = json.dumps({"name": app.name, "metadata": app.metadata, "roles": roles}, default=str, separators=(",", ":"))
    for top in top_objects(request):
        annotations = top["metadata"].setdefault("annotations", {})
        if len(text) <= MAX_APP_DEF:
            annotations[ANNOTATION_APP_DEF] = text
        else:
            annotations.pop(ANNOTATION_APP_DEF, None)


def set_interactive(request: KubernetesJob) -> None:
    """Give each container a terminal; its input waits for the first client and ends with it."""
    for template in _pod_templates(request.objects):
        template["spec"]["containers"][0].update(stdin=True, stdinOnce=True, tty=True)


def set_images(request: KubernetesJob, images: Mapping[str, tuple[str, str]]) -> None:
    """Replace the image of roles, by role name: from the one that was planned to the one that was delivered.

    A container that an overlay gave another image keeps it.
    """
    for template in _pod_templates(request.objects):
        role = ((template.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_ROLE_NAME)
        planned, delivered = images.get(str(role), ("", ""))
        for container in (template.get("spec") or {}).get("containers") or []:
            if delivered and container.get("image") == planned:
                container["image"] = delivered
                for variable in container.get("env") or []:
                    if variable.get("name") == "TORCHX_IMAGE":
                        variable["value"] = delivered


def _pod_templates(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each pod template in objects of any kind."""
    if isinstance(value, list):
        for item in value:
            yield from _pod_templates(item)
    elif isinstance(value, dict):
        if "containers" in (value.get("spec") or {}):
            yield value
        else:
            for item in value.values():
                yield from _pod_templates(item)


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Return *objects* as YAML that kubectl and Python read in the same way."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """YAML without aliases, and with quotes around strings that look like something else."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
        style = "|" if "\n" in text else "'" if _AMBIGUOUS.fullmatch(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    Dumper.add_representer(str, represent_text)
    return yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=120, explicit_start=True)
