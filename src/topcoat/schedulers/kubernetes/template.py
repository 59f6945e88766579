"""The pod template of a role: what all replicas of an Indexed Job have in common. No side effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from topcoat.errors import InvalidOverlay
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.schedulers.image_entrypoint import keeps_entrypoint
from topcoat.schedulers.kubernetes.labels import (
    ANNOTATION_APP_NAME,
    ANNOTATION_PULL_PATIENCE,
    ANNOTATION_ROLE_NAME,
    COMPLETION_INDEX,
    CONTAINER,
    ERROR_FILE,
    LABEL_APP,
    LABEL_ROLE,
    WAITING_SHELL,
    app_id,
    label_value,
    role_label,
    role_part,
)
from topcoat.schedulers.kubernetes.options import (
    REPLACE_OR_KEEP,
    Opts,
    parse_tolerations,
    read_affinity,
    read_overlay,
)
from topcoat.schedulers.kubernetes.pod import field_entry, literal, role_to_pod
from topcoat.specs import AppDef, CfgVal, Role, macros
from topcoat.specs.overlays import apply_overlay, get_overlay

INDEX_ENV = "JOB_COMPLETION_INDEX"
"""The variable with the number of a replica; Kubernetes replaces ``$(NAME)`` in commands and environment."""
# Stands for the number of the replica until the rest of the text is escaped; no text of a role has it.
_INDEX_MARK = "\ue000topcoat-replica-id\ue001"

_WAIT = """\
trap 'exit 143' TERM
tries=
while [ ${#tries} -lt 600 ]; do
  if command -v getent >/dev/null; then getent hosts "$TOPCOAT_RANK0_HOST" >/dev/null && break
  elif command -v python3 >/dev/null; then
    python3 -c 'import os, socket; socket.getaddrinfo(os.environ["TOPCOAT_RANK0_HOST"], None)' 2>/dev/null && break
  else break
  fi
  tries=x$tries
  sleep 0.2
done
"""
_START = 'exec "$@"'
_RANK0 = f'if [ "${INDEX_ENV}" = 0 ]; then export {RANK0_ENV}=localhost; else\n{_WAIT}fi\n'


class Submission(NamedTuple):
    """An application with what its objects need to know besides it.

    Attributes:
        app: its images are final.
        cfg: checked run options.
        name: the application's, in Kubernetes.
        namespace: of all objects.
        backend: the scheduler's name, for the handle.
        session_name: for the handle.
        overlay: the option ``pod_overlay``.
        affinity: the option ``affinity``.
    """

    app: AppDef
    cfg: Opts
    name: str
    namespace: str
    backend: str = "kubernetes"
    session_name: str = ""
    overlay: Mapping[str, Any] = {}
    affinity: Mapping[str, Any] = {}

    @property
    def app_id(self) -> str:
        """The id that users see."""
        return app_id(self.namespace, self.name)

    @property
    def num_replicas(self) -> int:
        """The number of replicas of all roles."""
        return sum(role.num_replicas for role in self.app.roles)

    def part(self, role: Role) -> str:
        """Return the part of *role* in names."""
        return role_part(self.name, role.name, max(role.num_replicas for role in self.app.roles))

    def metadata(self, name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the metadata of an object of the application."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": {**self.labels(), **(labels or {})},
            "annotations": {**(self.cfg.annotations or {}), ANNOTATION_APP_NAME: self.app.name},
        }

    def labels(self, role: Role | None = None) -> dict[str, str]:
        """Return the labels of all objects, or of those of one role."""
        return {
            "app.kubernetes.io/name": label_value(self.app.name),
            "app.kubernetes.io/managed-by": "topcoat",
            **(self.cfg.labels or {}),
            LABEL_APP: self.name,
            **({LABEL_ROLE: role_label(role.name)} if role else {}),
        }


def read_files(submission: Submission) -> Submission:
    """Return *submission* with the files that its run options name."""
    cfg = submission.cfg
    return submission._replace(overlay=read_overlay(cfg), affinity=read_affinity(cfg))


def pod_template(
    submission: Submission, role: Role, *, rank0_host: str, subdomain: str, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the template of the pods of *role*.

    Args:
        submission: the application.
        role: one of its roles.
        rank0_host: host name of the first replica of the first role.
        subdomain: name of the headless Service.
        env: more variables; those of the role override them.
    """
    own = {"TORCHELASTIC_ERROR_FILE": ERROR_FILE, **(env or {})}
    replica = replica_role(submission, role, _INDEX_MARK, rank0_host, env=own)
    pod = base_pod(submission, replica, CONTAINER)
    container = pod["spec"]["containers"][0]
    container["env"].insert(0, field_entry(INDEX_ENV, f"metadata.annotations['{COMPLETION_INDEX}']"))
    pod["spec"]["subdomain"] = subdomain
    if submission.num_replicas > 1 and submission.cfg.wait_for_rank0:
        is_first = role is submission.app.roles[0] and RANK0_ENV not in role.env
        script = (_RANK0 if is_first else _WAIT) + _START
        container["command"] = ["sh", "-c", literal(script), WAITING_SHELL, *container["command"]]
    if keeps_entrypoint(submission.cfg, REPLACE_OR_KEEP):
        container["args"] = container.pop("command")
    template: dict[str, Any] = _with_index(overlaid(pod, submission, role, replica))
    return template


def replica_role(
    submission: Submission,
    role: Role,
    replica_id: str,
    rank0_host: str,
    *,
    env: Mapping[str, str],
    rank0_env: str = RANK0_ENV,
) -> Role:
    """Return *role* with its macros replaced and topcoat's variables added."""
    replica = macros.Values("", submission.name, replica_id, rank0_env).apply(role)
    own = job_env(
        backend=submission.backend,
        session_name=submission.session_name,
        app_id=submission.app_id,
        role=role,
        replica_id=0,
        rank0_host=rank0_host,
    )
    # The macro app_id is the name alone, as in TorchX; a handle has the namespace too.
    handle = replica.env.get("TORCHX_JOB_ID", "")
    if handle.endswith(f"/{submission.name}"):
        replica.env["TORCHX_JOB_ID"] = f"{handle.removesuffix(submission.name)}{submission.app_id}"
    replica.env = {**own, "TOPCOAT_REPLICA_ID": replica_id, **env, **replica.env}
    replica.env.pop(INDEX_ENV, None)
    return replica


def base_pod(submission: Submission, replica: Role, container: str) -> dict[str, Any]:
    """Return the pod of a replica with what the run options say."""
    cfg = submission.cfg
    pod = role_to_pod(
        container, replica, cfg.service_account, cfg.reserved_millicpu, cfg.reserved_memmb, cfg.efa_device_count
    )
    spec = pod["spec"]
    added = {
        "priorityClassName": cfg.priority_class,
        "imagePullSecrets": [{"name": name} for name in dict.fromkeys(cfg.image_pull_secrets or ())],
        "tolerations": parse_tolerations(cfg),
        "affinity": dict(submission.affinity),
        "nodeSelector": {**spec.get("nodeSelector", {}), **(cfg.node_selector or {})},
    }
    spec.update({key: value for key, value in added.items() if value})
    if cfg.image_pull_policy:
        spec["containers"][0]["imagePullPolicy"] = cfg.image_pull_policy
    pod["metadata"]["annotations"].update(cfg.annotations or {})
    return pod


def overlaid(pod: dict[str, Any], submission: Submission, role: Role, replica: Role) -> dict[str, Any]:
    """Return *pod* with the overlays of the run options, the application and *role*, and then with our labels."""
    for overlay in (
        dict(submission.overlay),
        get_overlay(submission.app, "kubernetes", "V1Pod"),
        get_overlay(replica, "kubernetes", "V1Pod"),
    ):
        apply_overlay(pod, overlay)
    if not isinstance(pod.get("spec"), dict) or not isinstance(pod.get("metadata"), dict):
        raise InvalidOverlay("the overlay removes spec or metadata of the pod", hint="overlay their fields")
    metadata = pod["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), **submission.labels(role)}
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        ANNOTATION_ROLE_NAME: role.name,
        ANNOTATION_PULL_PATIENCE: str(submission.cfg.pull_patience),
    }
    # As in TorchX, nothing else of an overlay counts.
    return {"metadata": metadata, "spec": pod["spec"]}


def selected_nodes(role: Role, cfg: Mapping[str, CfgVal], overlay: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels that the nodes of *role* must have, by its capabilities, the run options and overlays."""
    selector = dict(role.resource.capabilities)
    named = cfg.get("node_selector")
    pod: dict[str, Any] = {"spec": {"nodeSelector": {**selector, **(named if isinstance(named, dict) else {})}}}
    apply_overlay(pod, dict(overlay))
    apply_overlay(pod, get_overlay(role, "kubernetes", "V1Pod"))
    spec = pod.get("spec")
    found = spec.get("nodeSelector") if isinstance(spec, dict) else None
    return found if isinstance(found, dict) else {}


def _with_index(value: Any) -> Any:
    """Return *value* with the reference to the variable in place of each mark."""
    if isinstance(value, str):
        return value.replace(_INDEX_MARK, f"$({INDEX_ENV})")
    if isinstance(value, dict):
        return {key: _with_index(item) for key, item in value.items()}
    return [_with_index(item) for item in value] if isinstance(value, list) else value
