"""TorchX's module name for ``local_docker``."""

from topcoat.images.tag import VERSION_LABEL as LABEL_VERSION
from topcoat.schedulers.docker.request import APP_ID as LABEL_APP_ID
from topcoat.schedulers.docker.request import REPLICA as LABEL_REPLICA_ID
from topcoat.schedulers.docker.request import ROLE as LABEL_ROLE_NAME
from topcoat.schedulers.docker.scheduler import (
    DockerContainer,
    DockerJob,
    DockerScheduler,
    Opts,
    create_scheduler,
    has_docker,
)

__all__ = [
    "LABEL_APP_ID",
    "LABEL_REPLICA_ID",
    "LABEL_ROLE_NAME",
    "LABEL_VERSION",
    "DockerContainer",
    "DockerJob",
    "DockerScheduler",
    "Opts",
    "create_scheduler",
    "has_docker",
]
