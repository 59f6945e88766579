"""The run options of ``kubernetes``, and their checks. No side effects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from topcoat.errors import InvalidOverlay, InvalidRunConfigException
from topcoat.schedulers.kubernetes.labels import MAX_NAME
from topcoat.schedulers.structured_opts import StructuredOpts
from topcoat.specs.cfg import one_of
from topcoat.specs.overlays import load_overlay, parse_overlay

GANGS = ("auto", "podgroup", "kueue", "volcano", "none")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
REPLACE_OR_KEEP = ("replace", "keep")
RESERVED_MILLICPU = 100
RESERVED_MEMMB = 1024
PULL_PATIENCE_S = 60
_MAX_INT32 = 2**31 - 1
_MAX_ANNOTATIONS = 128 << 10

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TOLERATION = re.compile(r"([^=:\s]*)(?:=([^:\s]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?")


@dataclass
class Opts(StructuredOpts):
    """The run options of the scheduler, under TorchX's names and some more."""

    namespace: str | None = None
    """namespace of the job (default: the one of the context, else default)"""

    kubeconfig: str | None = None
    """kubeconfig file (default: $KUBECONFIG, else ~/.kube/config; in a pod: its service account)"""

    context: str | None = None
    """context of the kubeconfig (default: its current context)"""

    queue: str | None = None
    """queue that the job waits in: Kueue's LocalQueue, or Volcano's queue with gang=volcano"""

    gang: str = "auto"
    """what starts all replicas or none: podgroup (the cluster's own scheduler), kueue, volcano, none; auto: the best
    that the cluster has"""

    service_account: str | None = None
    """service account of the pods"""

    image_pull_secrets: list[str] | None = None
    """secrets in the namespace with logins to registries"""

    image_pull_policy: str | None = None
    """when nodes pull the image: Always, IfNotPresent or Never (default: the cluster's)"""

    priority_class: str | None = None
    """priority class of the pods"""

    labels: dict[str, str] | None = None
    """labels for all objects, as k:v,k2:v2"""

    annotations: dict[str, str] | None = None
    """annotations for all objects, as k:v,k2:v2"""

    node_selector: dict[str, str] | None = None
    """labels that the nodes must have, as k:v,k2:v2, besides the capabilities of the role's resource"""

    tolerations: list[str] | None = None
    """taints that the pods tolerate, as key[=value][:effect],..."""

    affinity: str | None = None
    """affinity of the pods: YAML, or a file"""

    pod_overlay: str | None = None
    """fields to merge into every pod ({spec: {...}, metadata: {...}}): YAML, or a file"""

    ttl_seconds_after_finished: int | None = None
    """seconds after its end when the cluster deletes the job, with its logs (default: never)"""

    active_deadline_seconds: int | None = None
    """seconds after which the cluster ends the job and deletes its pods (default: never)"""

    validate_spec: bool | None = None
    """have the cluster check the objects before they are created (default: true; a dry run asks the cluster only if
    this is set)"""

    reserved_millicpu: int = RESERVED_MILLICPU
    """CPU that nodes keep for themselves, in 1/1000: pods request that much less than their limit"""

    reserved_memmb: int = RESERVED_MEMMB
    """memory that nodes keep for themselves, in MB: pods request that much less than their limit"""

    efa_device_count: int | None = None
    """EFA devices of each replica (default: those of its resource; 0: none)"""

    wait_for_rank0: bool = True
    """with several replicas, start each command when the name of the first one resolves; this needs sh in the image"""

    pull_patience: int = PULL_PATIENCE_S
    """seconds that a job may fail to pull its image before waiting for it ends"""


KubernetesOpts = Opts


def check_options(cfg: Opts) -> None:
    """Raise ``InvalidRunConfigException`` for the first invalid option; no file is read."""
    if cfg.namespace is not None and not _DNS_LABEL.fullmatch(cfg.namespace):
        raise _invalid("namespace", cfg.namespace, f"at most {MAX_NAME} lower-case letters, digits and dashes")
    one_of(cfg, "gang", GANGS)
    if cfg.image_pull_policy is not None:
        one_of(cfg, "image_pull_policy", PULL_POLICIES)
    one_of(cfg, "image_entrypoint", REPLACE_OR_KEEP)
    for key in ("service_account", "priority_class", "queue"):
        if cfg[key] is not None and not _DNS_NAME.fullmatch(str(cfg[key])):
            raise _invalid(key, cfg[key], "lower-case letters, digits, dashes and dots")
    for name in cfg.image_pull_secrets or ():
        if not _DNS_NAME.fullmatch(name):
            raise _invalid("image_pull_secrets", name, "the name of a secret")
    for key, at_least in (
        ("ttl_seconds_after_finished", 0),
        ("active_deadline_seconds", 1),
        ("reserved_millicpu", 0),
        ("reserved_memmb", 0),
        ("efa_device_count", 0),
        ("pull_patience", 0),
    ):
        value = cfg[key]
        if isinstance(value, int) and not at_least <= value <= _MAX_INT32:
            raise _invalid(key, value, f"an integer from {at_least} to {_MAX_INT32}")
    _check_labels("labels", cfg.labels or {})
    _check_labels("node_selector", cfg.node_selector or {})
    for name in cfg.annotations or {}:
        if not is_label_key(name):
            raise _invalid("annotations", name, "names of the form [prefix/]name")
    if sum(len(name) + len(value.encode(errors="replace")) for name, value in (cfg.annotations or {}).items()) > (
        _MAX_ANNOTATIONS
    ):
        raise InvalidRunConfigException(f"annotations are larger than {_MAX_ANNOTATIONS >> 10} KiB", "annotations")
    _check_queue(cfg)
    parse_tolerations(cfg)


def _check_queue(cfg: Opts) -> None:
    if cfg.queue and cfg.gang in ("podgroup", "none"):
        raise InvalidRunConfigException(
            f"queue={cfg.queue} has no effect with gang={cfg.gang}",
            "queue",
            hint="leave one out: a queue is Kueue's (gang=kueue) or Volcano's (gang=volcano)",
        )
    if cfg.gang == "kueue" and not cfg.queue:
        raise InvalidRunConfigException("gang=kueue needs a queue", "queue", hint="-cfg gang=kueue,queue=LOCALQUEUE")


def _check_labels(option: str, labels: Mapping[str, str]) -> None:
    for name, value in labels.items():
        if not is_label_key(name):
            raise _invalid(option, name, "names of the form [prefix/]name")
        if not is_label_value(value):
            raise _invalid(option, f"{name}: {value}", f"values of at most {MAX_NAME} letters, digits, -, _ and .")


def is_label_key(key: str) -> bool:
    """Tell whether *key* is ``[prefix/]name`` as Kubernetes wants it."""
    prefix, slash, name = key.rpartition("/")
    return bool(_LABEL_NAME.fullmatch(name)) and (not slash or bool(_DNS_NAME.fullmatch(prefix)))


def is_label_value(value: str) -> bool:
    """Tell whether *value* may be the value of a label."""
    return not value or bool(_LABEL_NAME.fullmatch(value))


def parse_tolerations(cfg: Opts) -> list[dict[str, str]]:
    """Return the option ``tolerations`` as the API wants it; an effect that is left out means every effect."""
    tolerations = []
    for text in cfg.tolerations or ():
        match = _TOLERATION.fullmatch(text)
        if not match or (match[1] and not is_label_key(match[1])) or not is_label_value(match[2] or ""):
            raise _invalid("tolerations", text, "key[=value][:NoSchedule|PreferNoSchedule|NoExecute]")
        key, value, effect = match.groups()
        toleration = {"operator": "Exists"} if value is None else {"operator": "Equal", "value": value}
        tolerations.append({**({"key": key} if key else {}), **toleration, **({"effect": effect} if effect else {})})
    return tolerations


def read_overlay(cfg: Opts) -> dict[str, Any]:
    """Return the option ``pod_overlay``, from its text or its file; empty without one."""
    return _yaml_or_file("pod_overlay", cfg.pod_overlay)


def read_affinity(cfg: Opts) -> dict[str, Any]:
    """Return the option ``affinity``, from its text or its file; empty without one."""
    return _yaml_or_file("affinity", cfg.affinity)


def _yaml_or_file(option: str, text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        # No path has one of these, and YAML of an object has one.
        if "{" in text or "\n" in text or ": " in text:
            return parse_overlay(text, option)
        return load_overlay(text)
    except InvalidOverlay as error:
        raise InvalidRunConfigException(
            error.message, option, hint=f"-cfg {option}=FILE.yaml, or -cfg {option}='{{spec: {{...}}}}'"
        ) from error


def _invalid(option: str, value: object, allowed: str) -> InvalidRunConfigException:
    return InvalidRunConfigException(f"invalid {option} {value!r}: expected {allowed}", option)
