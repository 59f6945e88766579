from __future__ import annotations

from typing import Any

import pytest

from topcoat.errors import InvalidApp, InvalidRunConfigException
from topcoat.schedulers.slurm.capacity import check_capacity, memory_is_configured, nodes_of
from topcoat.schedulers.slurm.parse import PartitionNodes
from topcoat.specs import AppDef, Resource, Role

INFINITE = float("inf")
CPU = PartitionNodes("cpu", True, True, 3600.0, 1, INFINITE, 4, 8, 16000, 0)
GPU = PartitionNodes("gpu", False, True, INFINITE, 1, INFINITE, 2, 32, 256000, 4)
BIG = PartitionNodes("gpu", False, True, INFINITE, 1, INFINITE, 1, 64, 512000, 8)
ALL = [CPU, GPU, BIG]


def app(replicas: int = 1, cpu: int = 1, gpu: int = 0, memory: int = 1) -> AppDef:
    return AppDef("a", [Role("r", "", num_replicas=replicas, resource=Resource(cpu, gpu, memory))])


@pytest.mark.parametrize(
    ("asked", "cfg"),
    [
        (app(4, cpu=8), {}),
        (app(3, gpu=4), {"partition": "gpu"}),
        (app(gpu=8, memory=500000), {"partition": "gpu"}),
        (app(gpu=8), {"partition": "cpu,gpu"}),
        (app(), {"time": "1:00:00"}),
        (app(), {"time": "infinite", "partition": "gpu"}),
        (AppDef("a", [Role("r", "")]), {}),
    ],
)
def test_what_a_partition_can_run_is_accepted(asked: AppDef, cfg: dict[str, Any]) -> None:
    check_capacity(asked, cfg, nodes_of(ALL, cfg.get("partition", "")))


@pytest.mark.parametrize(
    ("asked", "cfg", "words"),
    [
        (app(5), {}, "role 'r' has 5 replicas, each on a node of its own, and the partition cpu has 4 such nodes"),
        (app(cpu=9), {}, "requests 9 CPUs, and a node of the partition cpu has 8"),
        (app(gpu=1), {}, "requests 1 GPUs, and a node of the partition cpu has 0"),
        (app(memory=16001), {}, "requests 16001 MiB of memory"),
        (app(2, gpu=8), {"partition": "gpu"}, "the partition gpu has 1 such nodes"),
        (app(), {"time": "1:00:01"}, "invalid time '1:00:01': the partition cpu allows 1:00:00"),
        (app(), {"time": "0"}, "invalid time '0': the partition cpu allows 1:00:00"),
        (app(9), {"partition": "cpu,gpu"}, "the partition cpu has 4 such nodes"),
        (app(), {"partition": "gpus"}, "unknown partition 'gpus'"),
    ],
)
def test_what_would_wait_for_ever_is_refused(asked: AppDef, cfg: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidApp, InvalidRunConfigException), match=words) as refused:
        check_capacity(asked, cfg, nodes_of(ALL, cfg.get("partition", "")))
    assert refused.value.hint


def test_a_partition_has_a_number_of_nodes_for_each_role_of_a_job() -> None:
    limited = CPU._replace(min_nodes=2, max_nodes=3)
    pair = AppDef("a", [Role(name, "", num_replicas=2) for name in "rs"])
    check_capacity(pair, {}, [limited])
    for replicas, limit in ((1, "at least 2"), (4, "at most 3")):
        with pytest.raises(InvalidApp, match=f"{replicas} replicas.* the partition cpu allows {limit} nodes"):
            check_capacity(app(replicas), {}, [limited])
    check_capacity(app(4), {"partition": "cpu,gpu"}, [limited, BIG._replace(nodes=9)])


def test_replicas_in_bundles_are_parts_of_one_node_and_a_qos_may_lift_the_limits() -> None:
    limited = CPU._replace(max_nodes=2)
    for cfg in ({"container": "oci"}, {"qos": "long"}):
        check_capacity(app(3), cfg, [limited])
    check_capacity(app(), {"qos": "long", "time": "9-0"}, [limited])


def test_nodes_that_are_excluded_do_not_count() -> None:
    cfg = {"exclude": "n[1-2]"}
    with pytest.raises(InvalidApp, match=r"has 3 replicas.* has 2 such nodes, without those of exclude=n\[1-2\]"):
        check_capacity(app(3), cfg, [CPU._replace(nodes=2)])
    with pytest.raises(InvalidApp, match="has 0 such nodes"):
        check_capacity(app(), cfg, [CPU._replace(nodes=0)])


def test_all_roles_together_need_a_node_for_each_replica() -> None:
    pair = AppDef("a", [Role(name, "", num_replicas=3) for name in "rs"])
    with pytest.raises(InvalidApp, match="the roles 'r', 's' have 6 replicas"):
        check_capacity(pair, {}, [CPU])


def test_roles_that_fit_the_same_nodes_need_enough_of_them_together() -> None:
    roles = [Role(name, "", resource=Resource(1, gpu, 1)) for name, gpu in (("a", 8), ("b", 0), ("c", 8))]
    with pytest.raises(InvalidApp, match=r"the roles 'a', 'c' have 2 replicas.* has 1 such nodes"):
        check_capacity(AppDef("x", roles), {"partition": "gpu"}, nodes_of(ALL, "gpu"))
    check_capacity(AppDef("x", roles[:2]), {"partition": "gpu"}, nodes_of(ALL, "gpu"))


def test_many_roles_are_counted_in_short_time() -> None:
    roles = [Role(f"r{number}", "", resource=Resource(1, 0, 1)) for number in range(40)]
    with pytest.raises(InvalidApp, match="have 40 replicas"):
        check_capacity(AppDef("x", roles), {}, nodes_of(ALL, ""))


def test_a_cluster_that_cannot_be_asked_refuses_nothing() -> None:
    check_capacity(app(99), {}, [])


def test_a_partition_without_configured_memory_is_asked_for_none() -> None:
    default = CPU._replace(memory_mb=1)
    assert not memory_is_configured([default])
    check_capacity(app(memory=9999), {}, [default])
    assert memory_is_configured(ALL)
    assert memory_is_configured([])


def test_without_a_cluster_any_partition_is_accepted() -> None:
    cfg = {"partition": "gpu"}
    assert nodes_of([], "gpu") == []
    check_capacity(AppDef("a", [Role("r", "", resource=Resource(2, 1, 1024))]), cfg, [])
