"""TorchX's module name for ``slurm``."""

from topcoat.schedulers.slurm.options import SlurmOpts
from topcoat.schedulers.slurm.request import SlurmBatchRequest, SlurmReplicaRequest
from topcoat.schedulers.slurm.scheduler import SlurmScheduler, create_scheduler
from topcoat.schedulers.slurm.states import SLURM_STATES, appstate_from_slurm_state, get_appstate_from_job

__all__ = [
    "SLURM_STATES",
    "SlurmBatchRequest",
    "SlurmOpts",
    "SlurmReplicaRequest",
    "SlurmScheduler",
    "appstate_from_slurm_state",
    "create_scheduler",
    "get_appstate_from_job",
]
