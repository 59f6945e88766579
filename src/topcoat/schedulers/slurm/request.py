"""Build the request for a job of Slurm: the command line of sbatch and the files that it needs. No side effects."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from topcoat.errors import InvalidApp
from topcoat.schedulers.env import RANK0_ENV, job_env
from topcoat.schedulers.local.app_json import role_to_dict
from topcoat.schedulers.slurm.bundle import JobBundle
from topcoat.schedulers.slurm.containers import Containers
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.sbatch import options, role_options, sbatch_options, step_size
from topcoat.schedulers.slurm.script import JOB_ID, ReplicaCommand, RoleStep, batch_script, quote, replica_script
from topcoat.specs import AppDef, CfgVal, RetryPolicy, Role, macros
from topcoat.system_text import system_bytes
from topcoat.version import __version__

MAX_SCRIPT = 4 << 20
"""Bytes of a script that sbatch accepts."""
MAX_GROUPS = 128
"""Components of a heterogeneous job."""

# Of 255 that a name of a file may have; behind it come the number and the kind of a log.
_MAX_ROLE_NAME = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# The set by rank 0's host: only the job knows them, so its script sets them.
_SET_BY_SCRIPT = ("TORCHX_RANK0_HOST", "TOPCOAT_RANK0_HOST")
_PER_JOB = ("mail-user", "mail-type")


class RolePlace(NamedTuple):
    """Where the replicas of a role run.

    Attributes:
        directory: their working directory.
        required: directories and files of the node that must exist.
        inner_files: the facts directory as a replica sees it.
        img_root: the value of the macro.
        container: how they are put into containers.
        snapshot: the directory of the node that their workspace was copied to; empty without one.
    """

    directory: str
    required: Sequence[str]
    inner_files: str
    img_root: str
    container: Containers = Containers()
    snapshot: str = ""


@dataclass
class SlurmReplicaRequest:
    """Hold what one replica runs, and what it needs (TorchX's name); text may contain `JOB_ID`.

    Attributes:
        name: ``role-number``.
        entrypoint: the program.
        args: its arguments.
        srun_opts: options of srun for this replica alone.
        sbatch_opts: options of sbatch for this replica alone.
        env: its variables.
        directory: its working directory; empty for that of the image.
    """

    name: str
    entrypoint: str
    args: list[str]
    srun_opts: dict[str, str | None]
    sbatch_opts: dict[str, str | None]
    env: dict[str, str]
    directory: str = ""

    @classmethod
    def from_role(
        cls, name: str, role: Role, cfg: Mapping[str, CfgVal], nomem: bool, container_image: str | None = None
    ) -> SlurmReplicaRequest:
        """Return the request for a replica of *role*, whose macros are substituted; *nomem* requests no memory."""
        image: dict[str, str | None] = {"container-image": container_image} if container_image else {}
        return cls(
            name=name,
            entrypoint=role.entrypoint,
            args=list(role.args),
            srun_opts={**step_size(role, 1), **image},
            sbatch_opts={"job-name": name, **role_options(role, cfg, 1, use_memory=not nomem)},
            env=dict(role.env),
        )

    def materialize(self) -> tuple[list[str], list[str]]:
        """Return the arguments of sbatch, and the words of srun for a shell."""
        return options(self.sbatch_opts), [*map(quote, (*options(self.srun_opts), self.entrypoint, *self.args))]


@dataclass
class SlurmRoleRequest:
    """Hold the group of nodes of one role: a component of a heterogeneous job, or the whole job.

    Attributes:
        replica: the number of the only replica, if each replica has a group; ``None``: the group has all of them.
        files: the facts directory as a task sees it.
        inner_files: the facts directory as a replica sees it.
    """

    name: str
    num_replicas: int
    files: str
    inner_files: str
    sbatch_opts: dict[str, str | None]
    srun_opts: dict[str, str | None]
    restarts: int = 0
    replica_restarts: int = 0
    replica: int | None = None
    wrapper: list[str] = field(default_factory=list)


@dataclass
class SlurmBatchRequest:
    """Hold a job (TorchX's name).

    Attributes:
        cmd: sbatch with the options of the whole job.
        roles: the groups, in order.
        replicas: by name, ``role-number``.
        job_dir: the directory of the code that the user chose; ``None`` for the job's own.
        max_retries: how often a failure restarts the job.
        files: where the job's files are.
        required: the directories and files that must exist when the job starts.
        facts: the content of ``job.json``.
        bundles: the bundles of the roles, for Slurm's own containers.
        interactive: whether the replica waits for a terminal.
        delivered: the content of ``delivered``; empty if the files of the snapshots are no hard links.
    """

    cmd: list[str]
    roles: list[SlurmRoleRequest]
    replicas: dict[str, SlurmReplicaRequest]
    job_dir: str | None
    max_retries: int
    files: JobFiles
    required: list[str]
    facts: dict[str, Any]
    bundles: list[JobBundle] = field(default_factory=list)
    interactive: bool = False
    delivered: bytes = b""

    def materialize(self) -> str:
        """Return the batch script."""
        required = {
            path: "the snapshot" if path in self.facts["snapshots"] else "the directory or file"
            for path in self.required
        }
        return batch_script(self.files.directory, required, self._steps(), interactive=self.interactive)

    def replica_script(self) -> str:
        """Return the script of the replicas."""
        commands = [
            ReplicaCommand(name, [replica.entrypoint, *replica.args], replica.env, replica.directory)
            for name, replica in self.replicas.items()
        ]
        return replica_script(self._steps(), commands)

    def command(self) -> list[str]:
        """Return the whole command line of sbatch."""
        words = [*self.cmd]
        for number, role in enumerate(self.roles):
            words += [":"] if number else []
            words += options(role.sbatch_opts)
        return [*words, self.files.script]

    def _steps(self) -> list[RoleStep]:
        steps, first = [], 0
        for number, role in enumerate(self.roles):
            steps.append(
                RoleStep(
                    role=role.name,
                    first=str(first) if role.replica is None else f"={role.replica}",
                    restarts=role.restarts,
                    replica_restarts=role.replica_restarts,
                    srun=options(role.srun_opts),
                    group=number if len(self.roles) > 1 else None,
                    files=role.files,
                    inner_files=role.inner_files,
                    wrapper=role.wrapper,
                    is_alone=role.replica is not None,
                )
            )
            first += role.num_replicas
        return steps

    def __str__(self) -> str:
        def shown(text: str) -> str:
            return text.replace(JOB_ID, macros.app_id)

        return shown(
            f"{shlex.join(self.command())}\n\n# {self.files.script}\n{self.materialize()}\n"
            f"# {self.files.replica_script}\n{self.replica_script()}"
        )


def check_app(app: AppDef, *, has_container: bool = False, interactive: bool = False, nodelist: str = "") -> None:
    """Raise ``InvalidApp`` if Slurm cannot run *app*."""
    if nodelist and len(app.roles) > 1:
        raise InvalidApp(
            f"every role must have the nodes nodelist={nodelist}, and roles share no node",
            hint="leave nodelist out, or choose nodes with constraint, exclude or reservation",
        )
    if interactive and (len(app.roles) > 1 or app.roles[0].num_replicas > 1):
        raise InvalidApp("interactive=true needs an application of one replica", hint="--num-replicas 1")
    for role in app.roles:
        # The records of the replicas are found with a pattern, which does not match hidden files.
        if not role.name or role.name.startswith(".") or "/" in role.name or _CONTROL.search(role.name):
            raise InvalidApp(
                f"invalid role name {role.name!r}: not a file name without '.' at the beginning", hint="rename the role"
            )
        if len(system_bytes(role.name)) > _MAX_ROLE_NAME:
            raise InvalidApp(
                f"the role name {role.name[:20]!r}... has more than {_MAX_ROLE_NAME} bytes, too many for a file name",
                hint="choose a shorter name",
            )
        texts = [role.entrypoint, *role.args, *role.env, *role.env.values()]
        if any("\0" in text for text in texts) or any("=" in name or not name for name in role.env):
            raise InvalidApp(f"role {role.name!r} has a NUL character, or an invalid name of a variable")
        if role.retry_policy is RetryPolicy.ROLE and role.max_retries and len(app.roles) > 1:
            raise InvalidApp(
                f"role {role.name!r} has the retry policy ROLE, and Slurm restarts whole jobs or single replicas",
                hint="choose the retry policy APPLICATION or REPLICA",
            )
        if role.mounts and not has_container:
            raise InvalidApp(
                f"role {role.name!r} has mounts, and its command runs on the node itself",
                hint="-cfg container=pyxis, apptainer or oci runs it in a container; else leave the mounts out",
            )


def make_request(
    app: AppDef,
    cfg: Mapping[str, CfgVal],
    *,
    backend: str,
    session_name: str,
    files: JobFiles,
    places: Mapping[str, RolePlace],
    use_memory: bool = True,
) -> SlurmBatchRequest:
    """Return the request for *app*.

    Args:
        app: the application; its roles are final.
        cfg: the resolved run options, checked.
        backend: name of the scheduler.
        session_name: second part of the handle.
        files: where the job's files go.
        places: where each role runs.
        use_memory: request the memory of the roles.
    """
    groups: list[SlurmRoleRequest] = []
    replicas = {}
    for role in app.roles:
        place = places[role.name]
        per_replica = role.retry_policy is RetryPolicy.REPLICA
        # A container of Slurm's own does not know the number of its task.
        numbers = [None] if place.container.task_has_env else range(role.num_replicas)
        for number in numbers:
            count = role.num_replicas if number is None else 1
            group = SlurmRoleRequest(
                name=role.name,
                num_replicas=count,
                files=files.directory if place.container.wrapper else place.inner_files,
                inner_files=place.inner_files,
                sbatch_opts=sbatch_options(app, role, cfg, files, count, use_memory=use_memory),
                srun_opts={**step_size(role, count), **place.container.srun},
                restarts=0 if per_replica else role.max_retries,
                replica_restarts=role.max_retries if per_replica else 0,
                replica=number,
                wrapper=list(place.container.wrapper),
            )
            groups.append(group)
        for number in range(role.num_replicas):
            values = macros.Values(place.img_root, JOB_ID, str(number), RANK0_ENV)
            replica, name = values.apply(role), f"{role.name}-{number}"
            own = job_env(
                backend=backend,
                session_name=session_name,
                app_id=JOB_ID,
                role=role,
                replica_id=number,
                rank0_host="",
            )
            for variable in _SET_BY_SCRIPT:
                del own[variable]
            env = {
                **place.container.env,
                **own,
                "TORCHX_MAX_RETRIES": str(role.max_retries),
                "TORCHELASTIC_ERROR_FILE": f"{place.inner_files}/exit/{name}.error",
                "PYTHONUNBUFFERED": "1",
                **replica.env,
            }
            made = SlurmReplicaRequest.from_role(name, replica, cfg, nomem=not use_memory)
            made.env, made.directory = env, place.directory
            replicas[name] = made
    if len(groups) > MAX_GROUPS:
        raise InvalidApp(f"the job has {len(groups)} groups of nodes, and Slurm allows {MAX_GROUPS}")
    required = [directory for place in places.values() for directory in place.required]
    snapshots = [place.snapshot for place in places.values() if place.snapshot]
    job_dir = str(cfg.get("job_dir") or "")
    return SlurmBatchRequest(
        cmd=[
            "sbatch",
            "--parsable",
            # Slurm replaces %j and its kind also in the names of directories.
            f"--output={files.batch_log.replace('%', '%%')}",
            "--open-mode=append",
            *options({key: str(cfg[key]) for key in _PER_JOB if cfg.get(key)}),
        ],
        roles=groups,
        replicas=replicas,
        job_dir=job_dir or None,
        max_retries=min(role.max_retries for role in app.roles),
        files=files,
        required=list(dict.fromkeys(required)),
        facts={**_facts(app, session_name, snapshots, groups), "interactive": bool(cfg.get("interactive"))},
        interactive=bool(cfg.get("interactive")),
    )


def check_size(request: SlurmBatchRequest) -> None:
    """Raise ``InvalidApp`` if sbatch would refuse the script for its size."""
    size = len(system_bytes(request.materialize()))
    if size > MAX_SCRIPT:
        raise InvalidApp(f"the batch script has {size} bytes, and Slurm accepts {MAX_SCRIPT}")


def _facts(
    app: AppDef, session_name: str, snapshots: Sequence[str], groups: Sequence[SlurmRoleRequest]
) -> dict[str, Any]:
    return {
        "version": 1,
        "topcoat": __version__,
        "name": app.name,
        "session": session_name,
        "metadata": dict(app.metadata),
        "snapshots": list(dict.fromkeys(snapshots)),
        "roles": [role_to_dict(role) for role in app.roles],
        "groups": [
            {
                "role": group.name,
                "replica": group.replica,
                "srun": {name: value for name, value in group.srun_opts.items() if name.startswith("container")},
                "wrapper": group.wrapper,
                "inner_files": group.inner_files,
            }
            for group in groups
        ],
    }


def facts_json(request: SlurmBatchRequest) -> bytes:
    """Return the content of ``job.json``: with the bytes of names, which other locales read as other text."""
    return system_bytes(json.dumps(request.facts, indent=1, default=str, ensure_ascii=False))
