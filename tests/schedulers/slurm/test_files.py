"""Which directories are those of jobs: everything in them may be removed with the job."""

from __future__ import annotations

import pytest

from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.slurm.files import is_facts_directory, job_files

NAME = app_id_for("train")


@pytest.mark.parametrize("name", ["train", "a b/c", "-", "x" * 300, "0"])
def test_the_facts_of_every_job_are_known(name: str) -> None:
    app_id = app_id_for(name)
    assert is_facts_directory(job_files(app_id, "/home/me/.topcoat/jobs", "").directory)
    assert is_facts_directory(job_files(app_id, "/home/me/.topcoat/jobs", "/home/me/run").directory)


@pytest.mark.parametrize(
    "directory",
    [
        "/home/me/.topcoat",
        "/home/me/.topcoat/jobs",
        "/home/me",
        "/.topcoat",
        ".topcoat",
        "/",
        "",
        f"/home/me/.topcoat/jobs/{NAME}",
        f"/home/me/.topcoat/jobs/{NAME}/code",
        f"/home/me/.topcoat/jobs/{NAME}/.topcoat/logs",
        "/home/me/data-training/.topcoat",
    ],
)
def test_no_other_directory_is_taken_for_one(directory: str) -> None:
    assert not is_facts_directory(directory)
