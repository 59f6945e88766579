"""Applications with the hostile names and values that real ones may have."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from topcoat.schedulers.kubernetes.options import Opts
from topcoat.schedulers.kubernetes.template import Submission
from topcoat.specs import AppDef, BindMount, DeviceMount, Resource, RetryPolicy, Role, VolumeMount

# Text that a process can get: no NUL, no lone surrogates.
_LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXT = st.text(_LETTERS, max_size=30) | st.sampled_from(
    [
        "",
        "$$",
        "$(date)",
        "$(X",
        "${app_id}-${replica_id}",
        "a\nb\n",
        "1e3",
        "yes",
        "y",
        "null",
        "é$é",
        " ",
        "- x",
        "---",
        "0o17",
        "#",
        "\x85\u2028",
    ]
)
_NAMES = st.text(_LETTERS, min_size=1, max_size=80) | st.sampled_from(
    ["trainer", "Trainer", "a b", "a-b", "1", "-", "x" * 200, "-a-", "ünïcode", "a.b", "A_B", "0" * 70]
)
_ENV_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_RESOURCES = st.builds(
    Resource,
    cpu=st.integers(-1, 200),
    gpu=st.integers(-1, 16),
    memMB=st.integers(-1, 10**7),
    capabilities=st.dictionaries(
        st.sampled_from(["node.kubernetes.io/instance-type", "gpu", "kubernetes.io/arch"]),
        st.sampled_from(["p4d.24xlarge", "arm64", True, ""]),
        max_size=2,
    ),
    devices=st.dictionaries(st.sampled_from(["vpc.amazonaws.com/efa", "a.b/c"]), st.integers(0, 4), max_size=2),
)
_MOUNTS = st.lists(
    st.sampled_from(
        [
            BindMount("/host", "/job", read_only=True),
            VolumeMount("claim", "/data"),
            DeviceMount("/dev/fuse", "/dev/fuse"),
            BindMount("/shm", "/dev/shm"),
        ]
    ),
    unique_by=lambda mount: mount.dst_path,
    max_size=3,
)
_METADATA: Any = st.sampled_from(
    [
        {},
        {"kubernetes": {"spec": {"tolerations": [{"operator": "Exists"}], "imagePullSecrets": ({"name": "x"},)}}},
        {"kubernetes": {"V1Pod": {"metadata": {"labels": {"dev.topcoat.app": "mine"}}, "spec": {"hostNetwork": True}}}},
    ]
)
ROLES = st.builds(
    Role,
    name=_NAMES,
    image=st.sampled_from(["python:3.12", "registry.example/a/b:tag@sha256:" + "0" * 64]),
    entrypoint=TEXT.filter(bool),
    args=st.lists(TEXT, max_size=4),
    env=st.dictionaries(_ENV_NAMES, TEXT, max_size=4),
    num_replicas=st.sampled_from([1, 1, 2, 3, 100, 10_000]),
    max_retries=st.sampled_from([0, 0, 1, 3]),
    retry_policy=st.sampled_from(RetryPolicy),
    resource=_RESOURCES,
    port_map=st.dictionaries(TEXT, st.integers(1, 65535), max_size=3),
    metadata=_METADATA,
    mounts=_MOUNTS,
)
APPS = st.builds(AppDef, name=_NAMES, roles=st.lists(ROLES, min_size=1, max_size=3, unique_by=lambda role: role.name))
OPTIONS = st.builds(
    Opts,
    queue=st.just("queue"),
    gang=st.just("auto"),
    service_account=st.sampled_from([None, "runner"]),
    image_pull_secrets=st.sampled_from([None, ["a", "b.c"]]),
    image_pull_policy=st.sampled_from([None, "Always"]),
    priority_class=st.sampled_from([None, "high"]),
    labels=st.sampled_from([None, {"team": "a", "example.com/x": ""}]),
    annotations=st.sampled_from([None, {"example.com/note": "any text: {}"}]),
    node_selector=st.sampled_from([None, {"pool": "gpu"}]),
    tolerations=st.sampled_from([None, ["nvidia.com/gpu", "a=b:NoSchedule", ":NoExecute", "a="]]),
    ttl_seconds_after_finished=st.sampled_from([None, 0, 60]),
    active_deadline_seconds=st.sampled_from([None, 1]),
    efa_device_count=st.sampled_from([None, 0, 4]),
    wait_for_rank0=st.booleans(),
)


def submission(app: AppDef, cfg: Opts | None = None, name: str = "train-x1234567") -> Submission:
    """Return a submission of *app* in the namespace ``team``."""
    return Submission(app, cfg or Opts(), name, "team", session_name="s")
