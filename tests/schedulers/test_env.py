from __future__ import annotations

from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.specs import Role


def test_the_environment_of_a_replica_identifies_it() -> None:
    role = Role("w", "repo:tag", num_replicas=3)
    env = job_env(backend="b", session_name="s", app_id="app-1", role=role, replica_id=2, rank0_host="h")
    assert env == {
        "TOPCOAT_APP_ID": "app-1",
        "TOPCOAT_ROLE": "w",
        "TOPCOAT_REPLICA_ID": "2",
        "TOPCOAT_NUM_REPLICAS": "3",
        "TOPCOAT_RANK0_HOST": "h",
        "TORCHX_JOB_ID": "b://s/app-1",
        "TORCHX_IMAGE": "repo:tag",
        "TORCHX_RANK0_HOST": "h",
    }
    assert RANK0_ENV in env
