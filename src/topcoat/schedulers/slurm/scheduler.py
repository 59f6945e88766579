"""Submit jobs to a Slurm cluster and manage them there (``slurm``)."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from topcoat.errors import InvalidApp, SchedulerError, TopcoatError, UsageError
from topcoat.notices import notice
from topcoat.schedulers.api import (
    DescribeAppResponse,
    Freeable,
    JobOutputs,
    ListAppResponse,
    ReplicaTimes,
    Scheduler,
    Stream,
)
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.logs import filter_regex
from topcoat.schedulers.slurm.capacity import check_capacity, memory_is_configured, nodes_of
from topcoat.schedulers.slurm.client import MAX_AGE_S, QUERY_TIMEOUT_S, SlurmClient
from topcoat.schedulers.slurm.files import JobFiles, is_facts_directory, job_files, own_directory
from topcoat.schedulers.slurm.logs import follow
from topcoat.schedulers.slurm.options import SlurmOpts, check_options
from topcoat.schedulers.slurm.parse import PartitionNodes, QueueRow, Run
from topcoat.schedulers.slurm.request import (
    SlurmBatchRequest,
    SlurmReplicaRequest,
    SlurmRoleRequest,
    check_app,
    check_size,
    facts_json,
    make_request,
)
from topcoat.schedulers.slurm.site import LocalSite, Site, open_site
from topcoat.schedulers.slurm.snapshot import SnapshotWorkspace, absolute, shared_root
from topcoat.schedulers.slurm.states import appstate_from_slurm_state, combined_state
from topcoat.schedulers.slurm.status import (
    JobFacts,
    describe_ended,
    describe_forgotten,
    describe_queued,
    last_runs,
    run_state,
)
from topcoat.specs import AppDef, AppDryRunInfo, AppState, CfgVal, Role, is_terminal, runopts
from topcoat.specs.delivery import Delivered
from topcoat.workspace.api import MultiWorkspaceMixin, WorkspaceMixin
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom

if TYPE_CHECKING:
    from docker import DockerClient

_APP_ID = re.compile(r"(\d{1,18})(?:@([^\s/]+))?", re.ASCII)
_LIST_DAYS = 14
_DELETE_TIMEOUT_S = 60.0
_ACCOUNTING_LAG_S = 5.0


class SlurmScheduler(MultiWorkspaceMixin, Scheduler[SlurmOpts]):
    """Run each replica on a node of its own, in one job of Slurm (TorchX's name).

    The id of an application is Slurm's id of the job; over ssh it is ``ID@HOST``.
    """

    poll_interval: ClassVar[float] = 5.0

    def __init__(self, session_name: str, docker_client: DockerClient | None = None) -> None:
        super().__init__("slurm", session_name)
        self._builders: dict[str, WorkspaceMixin[Any]] = {
            "dir": SnapshotWorkspace(),
            "docker": DockerWorkspaceMixin(docker_client=docker_client),
        }
        self._clients: dict[str, SlurmClient] = {}

    def close(self) -> None:
        """Close the connections to login nodes and container engines."""
        for client in self._clients.values():
            client.site.close()

    def workspace_builders(self) -> Mapping[str, WorkspaceMixin[Any]]:
        """Return the kinds of workspace: a directory, or an image in a registry."""
        return self._builders

    def _run_opts(self) -> runopts:
        return SlurmOpts.as_runopts()

    def _client(self, host: str) -> SlurmClient:
        if host not in self._clients:
            self._clients[host] = SlurmClient(open_site(host))
        return self._clients[host]

    def _find(self, app_id: str) -> tuple[SlurmClient, str] | None:
        match = _APP_ID.fullmatch(app_id)
        return (self._client(match[2] or ""), match[1]) if match else None
