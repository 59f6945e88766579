"""What the partitions of clusters have, asked once: whether a job can run there, and whether to request memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from topcoat.errors import InvalidApp, InvalidRunConfigException, SchedulerError
from topcoat.notices import notice
from topcoat.schedulers.slurm.capacity import check_capacity, memory_is_configured, nodes_of
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.parse import PartitionNodes
from topcoat.specs import AppDef, CfgVal


class Partitions:
    """The partitions of this machine's cluster, and of those of login nodes."""

    def __init__(self, find_client: Callable[[str], SlurmClient]) -> None:
        """Take a function that returns the client of a ``slurm_host``."""
        self._find_client = find_client
        # By host, and by the nodes that are excluded.
        self._known: dict[tuple[str, str], list[PartitionNodes]] = {}
        self._failures: dict[str, SchedulerError] = {}

    def check(self, app: AppDef, cfg: Mapping[str, CfgVal]) -> None:
        """Raise if the cluster could never run *app*; a cluster that cannot be asked refuses nothing.

        Raises:
            InvalidApp: a role, or all of them, need more than there is.
            InvalidRunConfigException: there is no such partition, or it does not allow the time limit.
        """
        # An earlier failure may be over.
        self._failures.pop(_host(cfg), None)
        partition, nodes = self._nodes(cfg)
        qos = cfg.get("qos") or (self._find_client(_host(cfg)).site.variable("SBATCH_QOS") if nodes else "")
        try:
            check_capacity(app, {**cfg, "qos": qos}, nodes)
        except (InvalidApp, InvalidRunConfigException) as refusal:
            if self._decides({row.partition for row in nodes}, cfg, are_chosen=bool(partition)):
                raise
            notice(f"{refusal}; it is submitted all the same, because this cluster may have more than sinfo shows")

    def have_memory(self, cfg: Mapping[str, CfgVal]) -> bool:
        """Return whether the nodes say how much memory they have; if not, a request for memory could not be met."""
        return memory_is_configured(self._nodes(cfg)[1])

    def failure(self, cfg: Mapping[str, CfgVal]) -> SchedulerError | None:
        """Return why the cluster cannot be asked, if that was so before and still is."""
        if self._failures.pop(_host(cfg), None):
            self._rows(cfg)
        return self._failures.get(_host(cfg))

    def _decides(self, names: Collection[str], cfg: Mapping[str, CfgVal], *, are_chosen: bool) -> bool:
        try:
            return self._find_client(_host(cfg)).decides_capacity(names, are_chosen=are_chosen)
        except SchedulerError:
            return False

    def _nodes(self, cfg: Mapping[str, CfgVal]) -> tuple[str, list[PartitionNodes]]:
        """Return the partition that the user has chosen, and the nodes that the job may have."""
        rows, partition = self._rows(cfg), str(cfg.get("partition") or "")
        if rows and not partition:
            # sbatch reads it.
            partition = self._find_client(_host(cfg)).site.variable("SBATCH_PARTITION")
        return partition, nodes_of(rows, partition)

    def _rows(self, cfg: Mapping[str, CfgVal]) -> list[PartitionNodes]:
        """Return the partitions, none if Slurm cannot be asked: a dry run works without a cluster."""
        host, exclude = _host(cfg), str(cfg.get("exclude") or "")
        if (host, exclude) not in self._known and host not in self._failures:
            try:
                self._known[host, exclude] = self._find_client(host).partitions(exclude)
            except SchedulerError as error:
                self._failures[host] = error
        return self._known.get((host, exclude), [])


def _host(cfg: Mapping[str, CfgVal]) -> str:
    return str(cfg.get("slurm_host") or "")
