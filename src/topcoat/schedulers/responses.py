"""What the methods of a scheduler return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from topcoat.specs import NONE, AppState, Role, RoleStatus


class Stream(str, Enum):
    """Name the outputs of a replica."""

    STDOUT = "stdout"
    STDERR = "stderr"
    COMBINED = "combined"


@dataclass
class DescribeAppResponse:
    """Hold what a scheduler knows of an application (TorchX's names)."""

    app_id: str = "<NOT_SET>"
    state: AppState = AppState.UNSUBMITTED
    num_restarts: int = -1
    msg: str = NONE
    structured_error_msg: str = NONE
    ui_url: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    roles_statuses: list[RoleStatus] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)


@dataclass
class ListAppResponse:
    """Hold one line of a list of applications; the runner fills in the handle (TorchX's names).

    *created* and *ended*, with a time zone, are when it was submitted and when it ended; ``None`` if the backend does
    not tell. *directory* has its code, logs and files on this machine; empty without one.
    """

    app_id: str
    state: AppState
    app_handle: str = "<NOT_SET>"
    name: str = ""
    created: datetime | None = None
    ended: datetime | None = None
    directory: str = ""

    def __hash__(self) -> int:
        return hash((self.app_id, self.app_handle, self.state))


class ReplicaTimes(NamedTuple):
    """Say when the last run of a replica started and ended, and how.

    Attributes:
        role: name of its role.
        replica: its number in the role.
        started: when its process started, with a time zone; ``None`` if it has not, or the backend does not know.
        ended: when its process ended; ``None`` if it has not, or the backend does not know.
        exit_code: as a shell reports it, 128 + N for signal N; ``None`` like *ended*.
    """

    role: str
    replica: int
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None


class JobOutputs(NamedTuple):
    """Say which files a job wrote into its job directory.

    Attributes:
        directory: the job directory.
        files: the files that the job made or changed, relative to it, sorted.
        are_deleted: whether ``delete`` removes them.
    """

    directory: str
    files: Sequence[str]
    are_deleted: bool

    def __str__(self) -> str:
        from topcoat.foreign_text import escaped

        shown = ", ".join(map(escaped, self.files[:3])) + f" and {len(self.files) - 3} more" * (len(self.files) > 3)
        return f"{len(self.files)} file{'s' * (len(self.files) > 1)} of the job in {self.directory}: {shown}"


class Freeable(NamedTuple):
    """Describe something that a scheduler keeps and that can be removed without harm to a job that runs.

    Attributes:
        name: what it is, for people, such as ``snapshot of train-x1y2z3w4``.
        id: what the scheduler finds it by: a path, or an id of the backend.
        size: bytes that its removal gives back, ``None`` if the backend does not know.
    """

    name: str
    id: str
    size: int | None = None
