"""Components for distributed PyTorch jobs; the image needs ``bash`` and ``torchrun``."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable
from typing import Any, ParamSpec

from topcoat import specs
from topcoat.components.structured_arg import (
    JobShape,
    StructuredJArgument,
    StructuredNameArgument,
    program_name,
)
from topcoat.specs.default_image import default_image

P = ParamSpec("P")

DEFAULT_RDZV_PORT = 29500

_DEBUG_ENV = {
    "CUDA_LAUNCH_BLOCKING": "1",
    "NCCL_DESYNC_DEBUG": "1",
    "TORCH_DISTRIBUTED_DEBUG": "DETAIL",
    "TORCH_SHOW_CPP_STACKTRACES": "1",
}


def torchrun(
    *script_args: str,
    script: str | None = None,
    m: str | None = None,
    image: str = "",
    name: str = "/",
    h: str | None = None,
    cpu: int = 2,
    gpu: int = 0,
    memMB: int = 1024,  # noqa: N803  (TorchX's name)
    j: str = "1x2",
    env: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    max_retries: int = 0,
    rdzv_port: int = DEFAULT_RDZV_PORT,
    rdzv_backend: str = "c10d",
    rdzv_conf: str | None = None,
    mounts: list[str] | None = None,
    debug: bool = False,
    tee: int = 3,
) -> specs.AppDef:
    """Run a script or module on one or more nodes with torchrun.

    For example: topcoat run dist.torchrun -j 2x8 --script main.py. The processes rendezvous at rdzv_port of the first
    replica; on a single node, at a free port.

    Args:
        script_args: arguments of the script or module
        script: script to run
        m: module to run, as python -m does
        image: image to run in, with bash and torchrun (default: $TOPCOAT_IMAGE)
        name: experiment/run; the default run name is that of the script or module
        h: named resource, instead of cpu, gpu and memMB
        cpu: CPUs of each node
        gpu: GPUs of each node
        memMB: memory of each node in MiB
        j: [min_nodes:]nodes x processes_per_node; a single number is the number of nodes of a named resource,
            with one process for each GPU, else the number of processes on one node
        env: environment variables (K=V,K2=V2)
        metadata: for the scheduler (K=V,K2=V2)
        max_retries: maximum number of restarts
        rdzv_port: rendezvous port of the first replica (the default on Slurm follows from the job's id)
        rdzv_backend: torchrun's rendezvous backend
        rdzv_conf: torchrun's rendezvous configuration (timeout=600,join_timeout=600)
        mounts: mounts of the container, such as type=bind,src=/host,dst=/job,readonly
        debug: set the variables for verbose output of PyTorch and NCCL
        tee: streams that torchrun both prints and saves (0 none, 1 stdout, 2 stderr, 3 both)
    """
    names = StructuredNameArgument.parse_from(name, m=m, script=script)
    shape = JobShape.parse(str(StructuredJArgument.parse_from(h, j)) if h and j.isdigit() else j)
    words = ["--rdzv_backend", rdzv_backend]
    words += ["--rdzv_conf", rdzv_conf] if rdzv_conf else []
    words += ["--rdzv_id", specs.macros.app_id, "--nnodes", str(shape)]
    words += ["--nproc_per_node", str(shape.processes), "--tee", str(tee), "--role", ""]
    if rdzv_backend == "static":
        words += ["--node_rank", specs.macros.replica_id]
    words += ["-m", m] if m else [script or ""]
    # The scheduler substitutes the variable's name, and the shell reads it; $$ is a dollar sign in text with macros.
    # On Slurm, replicas of several jobs may share a node, so there the default port follows from the job's id.
    port = f"$${{TOPCOAT_RANK0_PORT:-{rdzv_port}}}" if rdzv_port == DEFAULT_RDZV_PORT else str(rdzv_port)
    rank0 = f'"$${{{specs.macros.rank0_env}:=localhost}}":{port}'
    endpoint = rank0 if shape.nodes > 1 else "localhost:0"
    command = f"torchrun --rdzv_endpoint {endpoint} {shlex.join([*words, *script_args])}"
    role = specs.Role(
        name=program_name(script, m),
        image=image or default_image(),
        min_replicas=shape.min_nodes,
        entrypoint="bash",
        args=["-c", command],
        env={
            "LOGLEVEL": os.environ.get("LOGLEVEL", "WARNING"),
            **(env or {}),
            "TORCHX_TRACKING_EXPERIMENT_NAME": names.experiment_name,
            "TORCHX_TRACKING_RUN_NAME": names.run_name,
            **(_DEBUG_ENV if debug else {}),
        },
        num_replicas=shape.nodes,
        max_retries=max_retries,
        resource=specs.resource(cpu=cpu, gpu=gpu, memMB=memMB, h=h),
        port_map={"c10d": rdzv_port},
        mounts=specs.parse_mounts(mounts or []),
    )
    return specs.AppDef(name=names.run_name, roles=[role], metadata=dict(metadata or {}))


def _with_parameters_of(
    other: Callable[P, specs.AppDef],
) -> Callable[[Callable[..., specs.AppDef]], Callable[P, specs.AppDef]]:
    """Give a component the signature of *other*, and its help for the parameters that it does not describe itself."""

    def decorate(component: Callable[..., specs.AppDef]) -> Callable[P, specs.AppDef]:
        summary, args, own = (inspect.getdoc(component) or "").partition("Args:\n")
        inherited = (inspect.getdoc(other) or "").partition("Args:\n")[2]
        component.__doc__ = f"{summary}{args}{inherited}\n{own}"
        vars(component)["__signature__"] = inspect.signature(other)
        return component

    return decorate


@_with_parameters_of(torchrun)
def ddp(*script_args: str, j: str = "1x2", **options: Any) -> specs.AppDef:
    """Older name of dist.torchrun, where a single number for -j is always the number of processes on one node.

    Args:
        j: [[min_nodes:]nodes x]processes_per_node
    """
    return torchrun(*script_args, j=f"1x{j}" if j.isdigit() else j, **options)


def spmd(
    *args: str,
    script: str | None = None,
    m: str | None = None,
    image: str = "",
    name: str = "/",
    h: str = "gpu.small",
    j: str = "1x1",
    env: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    max_retries: int = 0,
    mounts: list[str] | None = None,
    debug: bool = False,
) -> specs.AppDef:
    """Older form of dist.torchrun for named resources, where a single number for -j is always the number of nodes.

    Args:
        args: arguments of the script or module
        script: script to run
        m: module to run, as python -m does
        image: image to run in, with bash and torchrun (default: $TOPCOAT_IMAGE)
        name: experiment/run; the default run name is that of the script or module
        h: named resource of each node
        j: nodes x processes_per_node, or nodes with one process for each GPU
        env: environment variables (K=V,K2=V2)
        metadata: for the scheduler (K=V,K2=V2)
        max_retries: maximum number of restarts
        mounts: mounts of the container, such as type=bind,src=/host,dst=/job,readonly
        debug: set the variables for verbose output of PyTorch and NCCL
    """
    return torchrun(
        *args,
        script=script,
        m=m,
        image=image,
        name=name,
        h=h,
        j=str(StructuredJArgument.parse_from(h, j)),
        env=env,
        metadata=metadata,
        max_retries=max_retries,
        mounts=mounts,
        debug=debug,
    )
