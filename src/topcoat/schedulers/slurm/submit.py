"""Submit a job: write its files into the shared directory, and call sbatch."""

from __future__ import annotations

import contextlib

from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import own_directory
from topcoat.schedulers.slurm.images import check_runtime, write_bundle
from topcoat.schedulers.slurm.request import SlurmBatchRequest, facts_json
from topcoat.schedulers.slurm.site import Site
from topcoat.system_text import system_bytes

# The facts directories of the jobs that this process has submitted: no failed submission may remove their files.
_submitted: set[str] = set()


def submit(client: SlurmClient, request: SlurmBatchRequest, container: str) -> str:
    """Write the files of the job, submit it and return its id; if that fails, remove the files.

    Raises:
        SchedulerError: Slurm cannot be reached or refuses the job, the shared directory cannot be written, or the
            request has been submitted before.
    """
    if request.files.directory in _submitted:
        raise SchedulerError(
            f"this job has been submitted already, with its files in {request.files.directory}",
            hint="make another dry run: each one is one job",
        )
    try:
        check_runtime(client, container)
        _write_files(client.site, request)
        job_id = _submit_once(client, request)
    except BaseException:
        discard(client, request)
        raise
    _submitted.add(request.files.directory)
    return job_id


def _submit_once(client: SlurmClient, request: SlurmBatchRequest) -> str:
    try:
        return client.submit(request.command())
    except BaseException as error:
        # Slurm may have taken the job although sbatch failed: it did not respond in time, or the connection was lost.
        job_id = _find(client, request)
        if not job_id:
            raise
        if isinstance(error, Exception):
            return job_id
        with contextlib.suppress(SchedulerError):
            client.cancel(job_id)  # ^C
        raise


def _find(client: SlurmClient, request: SlurmBatchRequest) -> str:
    """Return the id of the job whose files are those of *request*; no text if Slurm has no such job, or is silent."""
    with contextlib.suppress(SchedulerError):
        for row in client.queue_of_user():
            if row.directory == request.files.directory:
                return row.job_id
    return ""


def discard(client: SlurmClient, request: SlurmBatchRequest) -> None:
    """Remove the files of a job that was not submitted, and its snapshot unless ``job_dir`` names its place."""
    if request.files.directory not in _submitted:
        with contextlib.suppress(OSError, SchedulerError):
            client.site.remove_tree(own_directory(request.files))


def _write_files(site: Site, request: SlurmBatchRequest) -> None:
    files = request.files
    try:
        # The scripts have the variables of the job.
        site.make_dir(files.directory, 0o700)
        site.make_dir(files.logs, 0o700)
        for path, data in (
            (files.replica_script, request.replica_script()),
            (files.script, request.materialize()),
        ):
            site.write_file(path, system_bytes(data), 0o700)
        for bundle in request.bundles:
            write_bundle(site, bundle)
        if request.delivered:
            site.write_file(files.delivered, request.delivered, 0o600)
        site.write_file(files.job_json, facts_json(request), 0o600)
    except OSError as error:
        raise SchedulerError(
            f"cannot write the files of the job to {files.directory}: {error.strerror or error}",
            hint="choose a directory that the nodes share and that has room: -cfg job_root=DIR",
        ) from error
