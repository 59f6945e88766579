"""Containers of Slurm jobs: pyxis, Apptainer and Slurm's own. The base stays as it is, the snapshot is mounted.

Nodes convert an image before they run it, which takes minutes for a large one, and again for each image that is
changed. A mounted snapshot changes no image. No side effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from topcoat.errors import InvalidApp
from topcoat.oci.reference import Reference
from topcoat.specs import BindMount, Role
from topcoat.specs.delivery import Delivered, WorkspacePlan

DEFAULT_WORKDIR = "/workspace"
"""Where the code is if the base has no WORKDIR: nothing can be mounted at ``/``."""


INNER_FILES = "/.topcoat-job"
"""Where the job's own files are in a container: a home directory may be in the way of their own path."""


class MountedPlan:
    """A plan whose snapshots are mounted in containers, so that images stay as they are."""

    def __init__(self, plan: WorkspacePlan, workdirs: Mapping[str, str]) -> None:
        """Mount what *plan* delivers at *workdirs*, by role name."""
        self._plan, self._workdirs = plan, workdirs

    def expected(self) -> Mapping[str, Delivered]:
        """Return what each role will get, by role name."""
        return self._mounted(self._plan.expected())

    def carry_out(self) -> Mapping[str, Delivered]:
        """Deliver the snapshots and return what each role got."""
        return self._mounted(self._plan.carry_out())

    def lines(self) -> list[str]:
        """Describe the plan, a line for each snapshot."""
        places = ", ".join(dict.fromkeys(self._workdirs.values()))
        return [f"{line}, mounted at {places}" for line in self._plan.lines()]

    def _mounted(self, delivered: Mapping[str, Delivered]) -> dict[str, Delivered]:
        return {role: mounted(result, self._workdirs[role]) for role, result in delivered.items()}


def mounted(delivered: Delivered, workdir: str) -> Delivered:
    """Return a snapshot that was *delivered* as a directory, mounted at *workdir* instead."""
    snapshot = delivered.image

    def inside(path: str) -> str:
        return workdir + path.removeprefix(snapshot) if path.startswith(snapshot) else path

    return Delivered(
        env={name: inside(value) for name, value in delivered.env.items()},
        pythonpath=tuple(map(inside, delivered.pythonpath)),
        mounts=(BindMount(snapshot, workdir),),
    )


class Containers(NamedTuple):
    """How the replicas of a role are put into containers.

    Attributes:
        srun: options of srun.
        wrapper: words before the script of a replica.
        task_has_env: whether the tasks see their own variables, such as their number.
        env: variables for the replicas: those of the image, if the runtime does not set them.
    """

    srun: Mapping[str, str | None] = {}
    wrapper: Sequence[str] = ()
    task_has_env: bool = True
    env: Mapping[str, str] = {}


def binds(role: Role, files: str) -> list[tuple[str, str, bool]]:
    """Return the directories to mount for *role*: source, target, read-only. The job's own *files* are among them.

    Raises:
        InvalidApp: the role has a volume or a device.
    """
    mounts = []
    for mount in role.mounts:
        if not isinstance(mount, BindMount):
            raise InvalidApp(
                f"role {role.name!r} has the mount {mount}, and containers of Slurm have bind mounts only",
                hint="type=bind,src=DIR,dst=DIR, with a directory that the nodes share",
            )
        mounts.append((mount.src_path, mount.dst_path, mount.read_only))
    return [*mounts, (files, INNER_FILES, False)]


def pyxis(role: Role, files: str, workdir: str) -> Containers:
    """Return the options of the plugin pyxis, whose runtime is enroot."""
    mounts = [f"{_plain(source)}:{_plain(target)}{':ro' * ro}" for source, target, ro in binds(role, files)]
    return Containers(
        srun={
            "container-image": enroot_image(role.image),
            "container-mounts": ",".join(mounts),
            "container-workdir": workdir,
        }
    )


def apptainer(role: Role, files: str, workdir: str, *, has_gpus: bool) -> Containers:
    """Return the command line of Apptainer; with *has_gpus*, ``--nv``."""
    words = ["apptainer", "exec", "--nv"] if has_gpus else ["apptainer", "exec"]
    for source, target, read_only in binds(role, files):
        words += ["--bind", f"{_plain(source)}:{_plain(target)}{':ro' * read_only}"]
    return Containers(wrapper=[*words, "--pwd", workdir, apptainer_image(role.image)])


def enroot_image(image: str) -> str:
    """Return *image* as enroot writes it: ``REGISTRY#REPOSITORY:TAG``; a digest takes the place of the tag.

    Raises:
        InvalidApp: it is a relative path.
    """
    if _is_file(image) or "#" in image:
        return image
    reference = Reference.parse(image)
    registry = "" if reference.registry == "docker.io" else f"{reference.registry}#"
    return f"{registry}{reference.repository}:{reference.digest or reference.tag}"


def apptainer_image(image: str) -> str:
    """Return *image* as Apptainer writes it; a reference with a digest has no tag there.

    Raises:
        InvalidApp: it is a relative path.
    """
    if _is_file(image) or "://" in image:
        return image
    reference = Reference.parse(image)
    identifier = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
    return f"docker://{reference.name}{identifier}"


def _is_file(image: str) -> bool:
    if image.startswith(("./", "../")):
        raise InvalidApp(
            f"invalid image {image!r}: a relative path, and the job runs in another directory",
            hint=f"write the absolute path: --image /PATH/{image.rpartition('/')[2]}",
        )
    return image.startswith("/")


def _plain(path: str) -> str:
    """Return *path*, which the runtime writes into a list.

    Raises:
        InvalidApp: it has a separator of that list.
    """
    if any(char in path for char in ",:"):
        raise InvalidApp(
            f"cannot mount {path!r} in a container: the list of mounts has no way to write ',' and ':'",
            hint="choose another directory: -cfg job_root=DIR or job_dir=DIR",
        )
    return path
