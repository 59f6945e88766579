"""TorchX's module name for ``local_cwd``."""

from topcoat.schedulers.local.cwd_scheduler import LocalScheduler, PopenRequest, ReplicaParam, create_scheduler

__all__ = ["LocalScheduler", "PopenRequest", "ReplicaParam", "create_scheduler"]
