"""What is left of a submission that failed, or seems to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.schedulers.slurm.test_request import role
from topcoat.errors import SchedulerError
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import job_files
from topcoat.schedulers.slurm.images import RoleImages
from topcoat.schedulers.slurm.parse import QueueRow
from topcoat.schedulers.slurm.request import SlurmBatchRequest, make_request
from topcoat.schedulers.slurm.site import LocalSite
from topcoat.schedulers.slurm.submit import discard, submit
from topcoat.specs import AppDef


class _Client(SlurmClient):
    """Submits with *answer*, and has these jobs in its queue."""

    def __init__(self, answer: str | BaseException, queue: list[QueueRow] | SchedulerError) -> None:
        super().__init__(LocalSite())
        self.answer, self.in_queue, self.cancelled = answer, queue, list[str]()

    def submit(self, command: Sequence[str]) -> str:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def queue_of_user(self) -> list[QueueRow]:
        if isinstance(self.in_queue, SchedulerError):
            raise self.in_queue
        return self.in_queue

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


@pytest.fixture
def request_(tmp_path: Path) -> SlurmBatchRequest:
    files = job_files("train-x", str(tmp_path), "")
    (tmp_path / "train-x/code").mkdir(parents=True)
    app = AppDef("train", [role()])
    places = {"train": RoleImages(LocalSite(), {}).place(app.roles[0], files)}
    return make_request(app, {}, backend="slurm", session_name="s", files=files, places=places)


def _queued(request: SlurmBatchRequest) -> list[QueueRow]:
    return [_row("6", "/elsewhere"), _row("7", request.files.directory)]


def _row(job_id: str, directory: str) -> QueueRow:
    fields = dict.fromkeys(QueueRow._fields, "") | {"job_id": job_id, "directory": directory}
    return QueueRow(**fields)  # type: ignore[arg-type]


def test_a_refused_job_leaves_nothing(request_: SlurmBatchRequest, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="refused"):
        submit(_Client(SchedulerError("refused"), [_row("6", "/elsewhere")]), request_, "none")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_slurm_took_although_sbatch_failed_is_submitted(request_: SlurmBatchRequest) -> None:
    assert submit(_Client(SchedulerError("no response"), _queued(request_)), request_, "none") == "7"
    assert Path(request_.files.job_json).exists()


def test_a_job_that_slurm_took_before_an_interrupt_is_cancelled(request_: SlurmBatchRequest, tmp_path: Path) -> None:
    client = _Client(KeyboardInterrupt(), _queued(request_))
    with pytest.raises(KeyboardInterrupt):
        submit(client, request_, "none")
    assert client.cancelled == ["7"]
    assert list(tmp_path.iterdir()) == []


def test_the_first_error_is_told_if_slurm_is_silent(request_: SlurmBatchRequest, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="first"):
        submit(_Client(SchedulerError("first"), SchedulerError("second")), request_, "none")
    assert list(tmp_path.iterdir()) == []


def test_a_second_submission_of_one_request_is_refused_and_leaves_the_first(request_: SlurmBatchRequest) -> None:
    assert submit(_Client("7", []), request_, "none") == "7"
    client = _Client(SchedulerError("AssocMaxSubmitJobLimit"), [])
    with pytest.raises(SchedulerError, match="submitted already") as raised:
        submit(client, request_, "none")
    assert "dry run" in str(raised.value.hint)
    discard(client, request_)
    assert Path(request_.files.job_json).exists()
