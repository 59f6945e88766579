"""Jobs on a real cluster."""

from __future__ import annotations

from tests.components.slurm import Slurm


def test_the_cluster_has_four_idle_nodes(slurm: Slurm) -> None:
    assert slurm.run("sinfo", "-h", "-p", "main", "-o", "%D %T") == "4 idle"
