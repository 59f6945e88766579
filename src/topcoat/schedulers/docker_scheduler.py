"""TorchX's module name for ``local_docker``."""

from topcoat.schedulers.docker.scheduler import DockerContainer, DockerJob, DockerScheduler, create_scheduler

__all__ = ["DockerContainer", "DockerJob", "DockerScheduler", "create_scheduler"]
