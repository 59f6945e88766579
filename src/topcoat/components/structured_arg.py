"""Arguments with several values: ``-j 2x8`` and ``--name experiment/run``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from topcoat import specs
from topcoat.errors import InvalidComponent

_SHAPE = re.compile(r"(?:(?:(?P<min>\d+):)?(?P<nodes>\d+)x)?(?P<processes>\d+)")


@dataclass
class StructuredNameArgument:
    """Hold ``experiment/run``."""

    experiment_name: str
    run_name: str

    def __str__(self) -> str:
        return f"{self.experiment_name}/{self.run_name}"

    @staticmethod
    def parse_from(
        name: str,
        m: str | None = None,
        script: str | None = None,
        default_experiment_name: str = "default-experiment",
    ) -> StructuredNameArgument:
        """Split *name* at its first slash; a name without a slash is the run.

        The default run name is the last part of the module *m* or the stem of *script*. Raise ``InvalidComponent``
        unless exactly one of these two is given.
        """
        if bool(m) == bool(script):
            raise InvalidComponent("exactly one of --script and -m is required", hint="add --script FILE or -m MODULE")
        experiment, slash, run = name.partition("/")
        if not slash:
            experiment, run = "", name
        return StructuredNameArgument(experiment or default_experiment_name, run or program_name(script, m))


@dataclass
class StructuredJArgument:
    """Hold ``nodes x processes per node``."""

    nnodes: int
    nproc_per_node: int

    def __str__(self) -> str:
        return f"{self.nnodes}x{self.nproc_per_node}"

    @staticmethod
    def parse_from(h: str, j: str) -> StructuredJArgument:
        """Parse *j*: ``2x8``, or ``2`` for one process on each GPU of the resource *h*."""
        if not j.isdigit():
            shape = JobShape.parse(j)
            return StructuredJArgument(shape.nodes, shape.processes)
        gpus = specs.resource(h=h).gpu
        if gpus < 1:
            raise InvalidComponent(
                f"invalid -j {j!r}: the resource {h} has no GPUs, so the number of processes per node is required",
                hint=f"write -j {j}x<processes per node>",
            )
        return StructuredJArgument(int(j), gpus)


@dataclass(frozen=True)
class JobShape:
    """Hold the minimum and maximum number of nodes, and the number of processes on each."""

    min_nodes: int
    nodes: int
    processes: int

    def __str__(self) -> str:
        """Return torchrun's ``--nnodes``: ``2`` or ``2:5``."""
        return str(self.nodes) if self.min_nodes == self.nodes else f"{self.min_nodes}:{self.nodes}"

    @staticmethod
    def parse(j: str) -> JobShape:
        """Parse ``[[min:]nodes x]processes``, or raise ``InvalidComponent``."""
        match = _SHAPE.fullmatch(j)
        nodes = int(match["nodes"] or 1) if match else 0
        min_nodes = int(match["min"] or nodes) if match else 0
        processes = int(match["processes"]) if match else 0
        if not (0 < min_nodes <= nodes and processes):
            raise InvalidComponent(
                f"invalid -j {j!r}: expected [[min_nodes:]nodes x]processes_per_node",
                hint="for example -j 2x8, -j 1:4x8 or -j 8",
            )
        return JobShape(min_nodes, nodes, processes)


def program_name(script: str | None, m: str | None) -> str:
    """Return the stem of *script*, or the last part of the module *m*."""
    return PurePath(script).stem if script else (m or "").rpartition(".")[2]
