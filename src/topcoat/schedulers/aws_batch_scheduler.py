"""TorchX's module name for ``aws_batch``."""

from topcoat.schedulers.aws_batch.container import (
    DEFAULT_ROLE_NAME,
    ENV_TORCHX_ROLE_IDX,
    ENV_TORCHX_ROLE_NAME,
    ResourceType,
    resource_from_resource_requirements,
    resource_requirements_from_resource,
)
from topcoat.schedulers.aws_batch.jobs import JOB_STATE, to_datetime, to_millis_since_epoch
from topcoat.schedulers.aws_batch.options import AWSBatchOpts
from topcoat.schedulers.aws_batch.request import TAG_TORCHX_APPNAME, TAG_TORCHX_USER, TAG_TORCHX_VER, BatchJob
from topcoat.schedulers.aws_batch.scheduler import AWSBatchScheduler, create_scheduler

__all__ = [
    "DEFAULT_ROLE_NAME",
    "ENV_TORCHX_ROLE_IDX",
    "ENV_TORCHX_ROLE_NAME",
    "JOB_STATE",
    "TAG_TORCHX_APPNAME",
    "TAG_TORCHX_USER",
    "TAG_TORCHX_VER",
    "AWSBatchOpts",
    "AWSBatchScheduler",
    "BatchJob",
    "ResourceType",
    "create_scheduler",
    "resource_from_resource_requirements",
    "resource_requirements_from_resource",
    "to_datetime",
    "to_millis_since_epoch",
]
