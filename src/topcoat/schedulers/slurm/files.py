"""Where the files of a job are: its facts directory, on the file system that the nodes share.

It is Slurm's working directory of the job, so Slurm itself tells any machine where a job's files are.
"""

from __future__ import annotations

from typing import NamedTuple

from topcoat.scan.job_dirs import BATCH_LOG, BATCH_SCRIPT, DELIVERED, FACTS, JOB_JSON, REPLICA_SCRIPT
from topcoat.schedulers.ids import is_app_id


class JobFiles(NamedTuple):
    """Name the files of one job.

    Attributes:
        directory: the facts directory: ``ROOT/NAME/.topcoat``, or ``JOB_DIR/.topcoat/NAME``.
    """

    directory: str

    @property
    def job_json(self) -> str:
        """The application and its roles, written before the submission."""
        return f"{self.directory}/{JOB_JSON}"

    @property
    def delivered(self) -> str:
        """The paths of the snapshot's files, of hard links only: what else is there, the job wrote."""
        return f"{self.directory}/{DELIVERED}"

    @property
    def script(self) -> str:
        """The batch script."""
        return f"{self.directory}/{BATCH_SCRIPT}"

    @property
    def replica_script(self) -> str:
        """The script of a replica."""
        return f"{self.directory}/{REPLICA_SCRIPT}"

    @property
    def logs(self) -> str:
        """The directory of the logs."""
        return f"{self.directory}/logs"

    @property
    def batch_log(self) -> str:
        """What the batch script, srun and Slurm itself print."""
        return f"{self.directory}/{BATCH_LOG}"

    @property
    def records(self) -> str:
        """The directory of the replicas' records: node, times, exit code."""
        return f"{self.directory}/exit"

    def log(self, role: str, replica: int, stream: str) -> str:
        """Return the log of a replica; *stream* is ``out`` or ``err``."""
        return f"{self.logs}/{role}-{replica}.{stream}"


def job_files(app_id: str, root: str, job_dir: str) -> JobFiles:
    """Return the files of a job that is not submitted yet.

    Args:
        app_id: the id that the plan has chosen.
        root: the directory of the jobs without *job_dir*.
        job_dir: the directory that the user chose for the code; empty without one.
    """
    return JobFiles(f"{job_dir}/{FACTS}/{app_id}" if job_dir else f"{root}/{app_id}/{FACTS}")


def own_directory(files: JobFiles) -> str:
    """Return the directory that belongs to the job alone: everything in it may be removed with the job."""
    parent, _, name = files.directory.rpartition("/")
    return parent if name == FACTS else files.directory


def is_facts_directory(path: str) -> bool:
    """Tell whether *path*, the working directory of a job of Slurm, is the facts directory of a job of topcoat.

    A user may submit other jobs from ``~/.topcoat``: only the name of a job beside `FACTS` says that it is one.
    """
    parent, name = path.split("/")[-2:] if path.count("/") > 1 else ("", "")
    return (name == FACTS and is_app_id(parent)) or (parent == FACTS and is_app_id(name))
