"""TorchX's module name for ``local_cwd``."""

from topcoat.schedulers.local.cwd_scheduler import LocalScheduler, Opts, PopenRequest, ReplicaParam, create_scheduler
from topcoat.schedulers.local.image_providers import CWDImageProvider, ImageProvider, LocalDirectoryImageProvider
from topcoat.schedulers.local.log_iterator import LogIterator

__all__ = [
    "CWDImageProvider",
    "ImageProvider",
    "LocalDirectoryImageProvider",
    "LocalScheduler",
    "LogIterator",
    "Opts",
    "PopenRequest",
    "ReplicaParam",
    "create_scheduler",
]
