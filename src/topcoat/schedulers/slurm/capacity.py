"""Requests that would wait for ever: more nodes, CPUs, memory, GPUs or time than the partition has. No side effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations

from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.schedulers.slurm.options import time_limit_s
from topcoat.schedulers.slurm.parse import PartitionNodes
from topcoat.specs import AppDef, CfgVal, Role
from topcoat.suggest import did_you_mean

# There are 2^N sets.
_MAX_ROLES_OF_SETS = 10

MIN_MEMORY_MB = 1000
"""Memory of a node below which it is not configured: ParallelCluster's default is 1 MB."""


def nodes_of(partitions: Sequence[PartitionNodes], chosen: str) -> list[PartitionNodes]:
    """Return the nodes of the *chosen* partitions, or of the default one; none if *partitions* are not known.

    Raises:
        InvalidRunConfigException: there is no such partition.
    """
    if not chosen or not partitions:
        return [row for row in partitions if row.is_default]
    names = {row.partition for row in partitions}
    for name in chosen.split(","):
        if name.strip() not in names:
            hint = did_you_mean(name, names, otherwise=f"choose {', '.join(sorted(names))}")
            raise InvalidRunConfigException(f"unknown partition {name!r}", "partition", hint=hint)
    return [row for row in partitions if row.partition in {name.strip() for name in chosen.split(",")}]


def memory_is_configured(nodes: Sequence[PartitionNodes]) -> bool:
    """Return whether the nodes say how much memory they have; if not, a request for memory could not be met."""
    return not nodes or any(row.memory_mb > MIN_MEMORY_MB for row in nodes)


def check_capacity(app: AppDef, cfg: Mapping[str, CfgVal], nodes: Sequence[PartitionNodes]) -> None:
    """Raise if *nodes*, those of the partition, could never run *app*: Slurm would let it wait for ever.

    Raises:
        InvalidApp: a role, or all of them, need more than there is.
        InvalidRunConfigException: the time limit is above that of the partition.
    """
    failures: list[InvalidApp | InvalidRunConfigException] = []
    partitions = dict.fromkeys(row.partition for row in nodes)
    for name in partitions:
        try:
            _check_partition(app, cfg, name, [row for row in nodes if row.partition == name])
        except (InvalidApp, InvalidRunConfigException) as failure:
            failures.append(failure)
    if failures and len(failures) == len(partitions):
        raise failures[0]


def _check_partition(app: AppDef, cfg: Mapping[str, CfgVal], name: str, nodes: Sequence[PartitionNodes]) -> None:
    where = f"the partition {name}"
    time = cfg.get("time")
    longest = max(row.time_limit_s for row in nodes)
    # 0 asks for no limit. A QOS may take the place of the limits of a partition (sacctmgr(1), Flags).
    if time is not None and not cfg.get("qos") and (time_limit_s(str(time)) or float("inf")) > longest:
        raise InvalidRunConfigException(
            f"invalid time {time!r}: {where} allows {_duration(longest)}", "time", hint="choose a shorter time limit"
        )
    use_memory = memory_is_configured(nodes)
    for role in app.roles:
        _check_role(role, where, nodes, use_memory=use_memory)
        if not cfg.get("qos"):
            # In Slurm's own containers, each replica is a part of its own.
            _check_size(role, 1 if cfg.get("container") == "oci" else role.num_replicas, where, nodes[0])
    # The parts of a heterogeneous job share no node either.
    for roles in _sets(app.roles):
        replicas = sum(role.num_replicas for role in roles)
        count = sum(row.nodes for row in nodes if any(_fits(role, row, use_memory=use_memory) for role in roles))
        if replicas > count:
            names = ", ".join(repr(role.name) for role in roles)
            who = f"role {names} has" if len(roles) == 1 else f"the roles {names} have"
            without = f", without those of exclude={cfg['exclude']}" if cfg.get("exclude") else ""
            raise InvalidApp(
                f"{who} {replicas} replicas, each on a node of its own, and {where} has {count} such nodes{without}",
                hint="choose fewer replicas, or another partition: -cfg partition=NAME (sinfo -s)",
            )


def _check_role(role: Role, where: str, nodes: Sequence[PartitionNodes], *, use_memory: bool) -> None:
    wanted = role.resource
    largest = {
        "CPUs": (wanted.cpu, max(row.cpus for row in nodes)),
        "GPUs": (wanted.gpu, max(row.gpus for row in nodes)),
        "MiB of memory": (wanted.memMB if use_memory else 0, max(row.memory_mb for row in nodes)),
    }
    for what, (requested, available) in largest.items():
        if requested > available:
            raise InvalidApp(
                f"a replica of role {role.name!r} requests {requested} {what}, and a node of {where} has {available}",
                hint="request less, or choose another partition: -cfg partition=NAME (sinfo -o '%P %c %m %G')",
            )


def _check_size(role: Role, count: int, where: str, partition: PartitionNodes) -> None:
    """Raise if the part of a job for *role*, which has *count* nodes, has too many or too few of them."""
    low, high = partition.min_nodes, partition.max_nodes
    if not low <= count <= high:
        limit = f"at most {high:.0f} nodes" if count > high else f"at least {low} nodes"
        raise InvalidApp(
            f"role {role.name!r} has {role.num_replicas} replicas, each on a node of its own; {where} allows {limit}",
            hint="choose another number of replicas, or another partition: -cfg partition=NAME (sinfo -o '%P %s')",
        )


def _sets(roles: Sequence[Role]) -> Iterator[tuple[Role, ...]]:
    """Return the sets of *roles*, small ones first: with enough nodes for each set there are enough for all (Hall)."""
    sizes = range(1, len(roles) + 1) if len(roles) <= _MAX_ROLES_OF_SETS else (1, len(roles))
    return chain.from_iterable(combinations(roles, size) for size in sizes)


def _fits(role: Role, row: PartitionNodes, *, use_memory: bool) -> bool:
    wanted = role.resource
    return row.cpus >= wanted.cpu and row.gpus >= wanted.gpu and (row.memory_mb >= wanted.memMB or not use_memory)


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    text = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text
