"""Submit a job: write its files into the shared directory, and call sbatch."""

from __future__ import annotations

import contextlib

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import own_directory
from topcoat.schedulers.slurm.images import check_runtime, write_bundle
from topcoat.schedulers.slurm.request import SlurmBatchRequest, facts_json
from topcoat.schedulers.slurm.site import Site


def submit(client: SlurmClient, request: SlurmBatchRequest, container: str) -> str:
    """Write the files of the job, submit it and return its id; if that fails, remove the files.

    Raises:
        SchedulerError: Slurm cannot be reached or refuses the job, or the shared directory cannot be written.
    """
    try:
        check_runtime(client, container)
        _write_files(client.site, request)
        return client.submit(request.command())
    except BaseException:
        discard(client, request)
        raise


def discard(client: SlurmClient, request: SlurmBatchRequest) -> None:
    """Remove the files of a job that was not submitted, and its snapshot unless ``job_dir`` names its place."""
    with contextlib.suppress(OSError, SchedulerError):
        client.site.remove_tree(own_directory(request.files))


def _write_files(site: Site, request: SlurmBatchRequest) -> None:
    files = request.files
    try:
        # The scripts have the variables of the job.
        site.make_dir(files.directory, 0o700)
        site.make_dir(files.logs, 0o700)
        for path, data in (
            (f"{files.directory}/replica.sh", request.replica_script()),
            (files.script, request.materialize()),
        ):
            site.write_file(path, data.encode(errors="surrogateescape"), 0o700)
        for bundle in request.bundles:
            write_bundle(site, bundle)
        site.write_file(files.job_json, facts_json(request), 0o600)
    except OSError as error:
        raise SchedulerError(
            f"cannot write the files of the job to {files.directory}: {error.strerror or error}",
            hint="choose a directory that the nodes share and that has room: -cfg job_root=DIR",
        ) from error
