"""The environment variables of every replica, on every scheduler."""

from __future__ import annotations

from topcoat.specs import Role, make_app_handle

RANK0_ENV = "TORCHX_RANK0_HOST"
"""The value of the macro ``rank0_env``."""


def job_env(
    *, backend: str, session_name: str, app_id: str, role: Role, replica_id: int, rank0_host: str
) -> dict[str, str]:
    """Return topcoat's and TorchX's variables for one replica; the role's own ones override them.

    *rank0_host* is the host name of the first replica of the first role, as seen from this one.
    """
    return {
        "TOPCOAT_APP_ID": app_id,
        "TOPCOAT_ROLE": role.name,
        "TOPCOAT_REPLICA_ID": str(replica_id),
        "TOPCOAT_NUM_REPLICAS": str(role.num_replicas),
        "TOPCOAT_RANK0_HOST": rank0_host,
        "TORCHX_JOB_ID": make_app_handle(backend, session_name, app_id),
        "TORCHX_IMAGE": role.image,
        RANK0_ENV: rank0_host,
    }
