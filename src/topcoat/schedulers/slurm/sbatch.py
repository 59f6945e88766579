"""The options of sbatch and srun for a role. No side effects."""

from __future__ import annotations

import re
from collections.abc import Mapping

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.options import free_options
from topcoat.specs import AppDef, CfgVal, Role

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_NAME = 200


def options(values: Mapping[str, str | None]) -> list[str]:
    """Return the words of a command line for options by name; a flag has the value ``None``."""
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in values.items()]


def sbatch_options(
    app: AppDef, role: Role, cfg: Mapping[str, CfgVal], files: JobFiles, count: int, *, use_memory: bool
) -> dict[str, str | None]:
    """Return the options of sbatch for the nodes of *count* replicas of *role*.

    Raises:
        InvalidRunConfigException: the role and the run option ``gres`` both request GPUs.
    """
    name = app.name if len(app.roles) == 1 else f"{app.name}-{role.name}"
    job: dict[str, str | None] = {"job-name": _CONTROL.sub(" ", name)[:_MAX_NAME] or "topcoat"}
    return {**job, **role_options(role, cfg, count, use_memory=use_memory), "requeue": None, "chdir": files.directory}


def role_options(role: Role, cfg: Mapping[str, CfgVal], replicas: int, *, use_memory: bool) -> dict[str, str | None]:
    """Return the options that say what *replicas* of *role* need."""
    keys = ("account", "partition", "time", "comment", "constraint", "qos", "reservation", "nodelist", "exclude")
    values: dict[str, str | None] = {key: str(cfg[key]) for key in keys if cfg.get(key) is not None}
    values.update(step_size(role, replicas))
    resource = role.resource
    if use_memory and resource.memMB > 0:
        values["mem"] = f"{int(resource.memMB)}M"
    gres = [str(cfg["gres"])] if cfg.get("gres") else []
    if resource.gpu > 0:
        values["gpus-per-node"] = str(int(resource.gpu))
        if any(item.split(":")[0] == "gpu" for part in gres for item in part.split(",")):
            raise InvalidRunConfigException(
                f"role {role.name!r} requests {resource.gpu} GPUs, and the run option gres requests GPUs too",
                "gres",
                hint="give one of the two",
            )
    if gres:
        values["gres"] = gres[0]
    if cfg.get("exclusive"):
        values["exclusive"] = None
    values.update(free_options(cfg))
    return values


def step_size(role: Role, replicas: int) -> dict[str, str | None]:
    """Return the options for a node for each replica, which sbatch and srun both need (srun inherits no CPUs)."""
    count = str(replicas)
    size: dict[str, str | None] = {"nodes": count, "ntasks": count, "ntasks-per-node": "1"}
    if role.resource.cpu > 0:
        size["cpus-per-task"] = str(int(-(-role.resource.cpu // 1)))
    return size
