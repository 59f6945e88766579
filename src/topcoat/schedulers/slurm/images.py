"""Where a role runs: in a directory of the node, or in a container of one of three runtimes."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from topcoat.errors import InvalidApp, InvalidRunConfigException, SchedulerError
from topcoat.schedulers.slurm.bundle import ROOT, BaseBundle, JobBundle, job_config, parse_bundle
from topcoat.schedulers.slurm.client import QUERY_TIMEOUT_S, SlurmClient
from topcoat.schedulers.slurm.containers import (
    DEFAULT_WORKDIR,
    INNER_FILES,
    Containers,
    apptainer,
    binds,
    pyxis,
)
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.options import free_options
from topcoat.schedulers.slurm.request import RolePlace
from topcoat.schedulers.slurm.site import Site
from topcoat.specs import BindMount, CfgVal, Role

_MAX_CONFIG = 4 << 20
_LIST_ROOT = ("-mindepth", "1", "-maxdepth", "1", "-printf", r"%y/%f/%l\0")


class RoleImages:
    """Find out where roles run, for one set of run options."""

    def __init__(self, site: Site, cfg: Mapping[str, CfgVal]) -> None:
        self._site, self._cfg = site, cfg
        self._container = str(cfg.get("container") or "none")

    def place(self, role: Role, files: JobFiles) -> RolePlace:
        """Return where *role*, whose image and mounts are final, runs."""
        if self._container == "none":
            directory = self._directory(role)
            snapshot = directory if role.workspace else ""
            return RolePlace(directory, [directory], files.directory, directory, snapshot=snapshot)
        is_image = role.workspace is not None and self._cfg.get("workspace_type") == "docker"
        workdir = "" if is_image else role.env.get("WORKSPACE_DIR", "") if role.workspace else self.workdir(role)
        sources = {mount.dst_path: mount.src_path for mount in role.mounts if isinstance(mount, BindMount)}
        snapshot = sources.get(workdir, "") if role.workspace and not is_image else ""
        container = self._containers(role, files, workdir)
        return RolePlace(workdir, list(sources.values()), INNER_FILES, "", container, snapshot)

    def workdir(self, role: Role) -> str:
        """Return the directory for the code in the container of *role*: that of the base, or ``workspace_dir``."""
        chosen = str(self._cfg.get("workspace_dir") or "")
        if chosen:
            if not posixpath.isabs(chosen) or posixpath.normpath(chosen) == "/":
                raise InvalidRunConfigException(
                    f"invalid workspace_dir {chosen!r}", "workspace_dir", hint="an absolute path, such as /workspace"
                )
            return posixpath.normpath(chosen)
        if not role.image:
            raise InvalidApp(
                f"the role {role.name} has no image to run in a container",
                hint="--image IMAGE; components also take it from TOPCOAT_IMAGE",
            )
        if self._container == "oci":
            return self._base_bundle(role).workdir
        if role.image.startswith(("/", "./")) or "#" in role.image or "://" in role.image:
            return DEFAULT_WORKDIR
        workdir = _working_dir(role.image)
        return DEFAULT_WORKDIR if workdir == "/" else workdir

    def bundle(self, role: Role, files: JobFiles) -> JobBundle:
        """Return the job's bundle for *role*, whose image is a bundle."""
        base, workdir = self._base_bundle(role), self.place(role, files).directory
        config = job_config(base, binds(role, files.directory), workdir)
        return JobBundle(_bundle_path(role, files), config, base.directories, base.links)

    def _containers(self, role: Role, files: JobFiles, workdir: str) -> Containers:
        if self._container == "pyxis":
            return pyxis(role, files.directory, workdir)
        if self._container == "apptainer":
            # `gres`, `gpus`, `gpus-per-node`: the user may ask for GPUs in several ways.
            asked = [str(self._cfg.get("gres") or ""), *map(str, free_options(self._cfg).items())]
            has_gpus = role.resource.gpu > 0 or any("gpu" in text for text in asked)
            return apptainer(role, files.directory, workdir, has_gpus=has_gpus)
        env = self._base_bundle(role).env
        return Containers(srun={"container": _bundle_path(role, files)}, task_has_env=False, env=env)

    def _base_bundle(self, role: Role) -> BaseBundle:
        path = role.image
        hint = "the image of a role is the path of a bundle: a directory with config.json and rootfs"
        if not posixpath.isabs(path):
            raise InvalidApp(f"invalid image {path!r} of role {role.name!r}: not an absolute path", hint=hint)
        try:
            config = self._site.read_file(f"{path}/config.json", 0, _MAX_CONFIG)
        except OSError as error:
            raise InvalidApp(f"cannot read the bundle {path}: {error.strerror or error}", hint=hint) from None
        base = parse_bundle(path, config, (), {})
        listed = self._site.run(["find", base.root, *_LIST_ROOT], timeout_s=QUERY_TIMEOUT_S)
        if listed.exit_code:
            raise InvalidApp(f"cannot read the bundle {path}: it has no {ROOT}", hint=hint)
        entries = [entry.split("/", 2) for entry in listed.stdout.split("\0") if entry.count("/") >= 2]
        return base._replace(
            directories=sorted(name for kind, name, _ in entries if kind == "d"),
            links={name: target for kind, name, target in entries if kind == "l"},
        )

    def _directory(self, role: Role) -> str:
        if role.workspace or posixpath.isabs(role.image):
            return role.image
        return self._site.home() if self._site.host else os.getcwd()


def check_runtime(client: SlurmClient, container: str) -> None:
    """Raise ``SchedulerError`` if the cluster has not these containers: without oci.conf, Slurm runs on the node."""
    if container == "pyxis":
        done = client.site.run(["srun", "--help"], timeout_s=QUERY_TIMEOUT_S)
        if "--container-image" not in done.stdout:
            raise SchedulerError(
                "this cluster has no pyxis: srun has no option --container-image",
                hint="-cfg container=apptainer or container=oci, or ask the administrators for pyxis",
            )
    if container == "oci" and not client.has_oci_conf():
        raise SchedulerError(
            "this cluster has no oci.conf, and Slurm would run the job outside of the container",
            hint="-cfg container=apptainer or container=pyxis, or ask the administrators for oci.conf",
        )


def write_bundle(site: Site, bundle: JobBundle) -> None:
    """Create the bundle of a job; raise ``OSError`` if that is impossible."""
    root = f"{bundle.path}/{ROOT}"
    site.make_dir(root)
    names = [f"{root}/{name}" for name in bundle.directories]
    links = [word for name, target in bundle.links.items() for word in (target, f"{root}/{name}")]
    script = 'count=$1; shift; while [ "$count" -gt 0 ]; do mkdir -p "$1" || exit; shift; count=$((count - 1)); done\n'
    script += 'while [ $# -gt 0 ]; do ln -s "$1" "$2" || exit; shift 2; done\n'
    command = ["/bin/sh", "-c", script, "sh", str(len(names)), *names, *links]
    done = site.run(command, timeout_s=QUERY_TIMEOUT_S)
    if done.exit_code:
        raise OSError(done.stderr.strip())
    site.write_file(f"{bundle.path}/config.json", bundle.config, 0o600)


def _bundle_path(role: Role, files: JobFiles) -> str:
    return f"{files.directory}/bundles/{role.name}"


def _working_dir(image: str) -> str:
    from topcoat.bases.base import images_of, look_up
    from topcoat.bases.registry_bases import RegistryBases
    from topcoat.registry.clients import Clients

    return images_of(look_up(RegistryBases(Clients()), image))[0].config.working_dir
