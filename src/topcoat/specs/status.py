"""The status of an application, its roles and their replicas."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from topcoat.errors import AppFailed
from topcoat.foreign_text import parse_json
from topcoat.specs.sentinels import NONE

AppStatusError = AppFailed
"""TorchX's name for what ``raise_for_status`` raises; its ``status`` is the ``AppStatus``."""


class AppState(int, Enum):
    """List the states of an application or replica; three of them are terminal."""

    UNSUBMITTED = 0
    SUBMITTED = 1
    PENDING = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    UNKNOWN = 7

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{self.name} ({self.value})"


ReplicaState = AppState


def is_terminal(state: AppState) -> bool:
    """Tell whether *state* is final."""
    return state in (AppState.SUCCEEDED, AppState.FAILED, AppState.CANCELLED)


def is_started(state: AppState) -> bool:
    """Tell whether *state* is ``RUNNING`` or terminal."""
    return state is AppState.RUNNING or is_terminal(state)


@dataclass
class ReplicaStatus:
    """Hold the status of one replica.

    Args:
        id: its number within the role (not torchrun's rank).
        state: its state.
        role: its role's name.
        hostname: the host that it runs on.
        structured_error_msg: the error file that the job wrote, as JSON text, or ``NONE``.
        hostaddr: DNS name or address of that host; its *hostname* by default.
    """

    id: int
    state: ReplicaState
    role: str
    hostname: str
    structured_error_msg: str = NONE
    hostaddr: str | None = None

    def __post_init__(self) -> None:
        if self.hostaddr is None:
            self.hostaddr = self.hostname


@dataclass
class RoleStatus:
    """Hold the status of a role's replicas."""

    role: str
    replicas: list[ReplicaStatus]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``; states are numbers, as in TorchX."""
        return {"role": self.role, "replicas": [asdict(replica) for replica in self.replicas]}


@dataclass
class AppStatus:
    """Hold the status of an application; *roles* are those of its latest attempt."""

    state: AppState
    num_restarts: int = 0
    msg: str = ""
    structured_error_msg: str = NONE
    ui_url: str | None = None
    roles: list[RoleStatus] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return YAML, as TorchX does; an error file of JSON is part of it."""
        import yaml

        fields = asdict(self)
        error = fields.pop("structured_error_msg")
        try:
            fields["structured_error_msg"] = parse_json(error)
        except ValueError:
            fields["structured_error_msg"] = error
        fields["state"] = repr(self.state)
        return str(yaml.dump({"AppStatus": fields}))

    def is_terminal(self) -> bool:
        """Tell whether the application has ended."""
        return is_terminal(self.state)

    def raise_for_status(self) -> None:
        """Raise ``AppFailed`` (TorchX: ``AppStatusError``) unless the application has succeeded."""
        if self.state is not AppState.SUCCEEDED:
            raise AppFailed(f"the job did not succeed: {self._summary()}", status=self)

    def to_json(self, filter_roles: list[str] | None = None) -> dict[str, Any]:
        """Return plain data for ``json.dumps``, if *filter_roles* is given only for these roles."""
        return {
            "state": str(self.state),
            "num_restarts": self.num_restarts,
            "roles": [role.to_json() for role in self._roles(filter_roles)],
            "msg": self.msg,
            "structured_error_msg": self.structured_error_msg,
            "url": self.ui_url,
        }

    def format(self, filter_roles: list[str] | None = None) -> str:
        """Return the status as text for people, if *filter_roles* is given only for these roles."""
        roles = "".join(
            f"\n {_replica_text(replica)}"
            for role in self._roles(filter_roles)
            for replica in sorted(role.replicas, key=lambda replica: replica.id)
        )
        return (
            "AppStatus:\n"
            f"    State: {self.state}\n"
            f"    Num Restarts: {self.num_restarts}\n"
            f"    Roles: {roles}\n"
            f"    Msg: {self.msg}\n"
            f"    Structured Error Msg: {self.structured_error_msg}\n"
            f"    UI URL: {self.ui_url}\n"
        )

    def _roles(self, names: list[str] | None) -> list[RoleStatus]:
        return [role for role in self.roles if not names or role.role in names]

    def _summary(self) -> str:
        failed = (replica for role in self.roles for replica in role.replicas if replica.state is AppState.FAILED)
        details = [text for text in (self.msg, *map(_error_text, failed)) if text and text != NONE]
        return ": ".join((str(self.state), *details[:1]))


def _replica_text(replica: ReplicaStatus) -> str:
    # A star marks the first replica of each role.
    text = f"{'*' if replica.id == 0 else ' '}{replica.role}[{replica.id}]:{replica.state}"
    error = _parse_error(replica.structured_error_msg)
    if error is None:
        ended_badly = replica.state in (AppState.FAILED, AppState.CANCELLED)
        return f"{text} (no error file)" if ended_badly else text
    message, exit_code, time = error
    indented = message.replace("\n", "\n" + " " * 17)
    return (
        f"{text} (exitcode: {exit_code or '<N/A>'})\n"
        f"        timestamp: {time or '<N/A>'}\n"
        f"        hostname: {replica.hostname}\n"
        f"      error_msg: {indented}"
    )


def _error_text(replica: ReplicaStatus) -> str:
    error = _parse_error(replica.structured_error_msg)
    return f"{replica.role}[{replica.id}]: {error[0]}" if error else ""


def _parse_error(text: str) -> tuple[str, object, str | None] | None:
    """Return message, exit code and time of an error file, whose message may be nested (torchrun) or flat.

    Jobs write these files, so they may hold anything: other content is returned as the message.
    """
    if text == NONE or not text:
        return None
    try:
        outer = parse_json(text)
    except ValueError:
        return text, None, None
    inner = outer.get("message") if isinstance(outer, dict) else None
    if isinstance(inner, str):
        return inner, outer.get("errorCode"), _time(outer.get("timestamp"))
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        extra = inner.get("extraInfo")
        stamp = extra.get("timestamp") if isinstance(extra, dict) else None
        return inner["message"], inner.get("errorCode"), _time(stamp)
    return text, None, None


def _time(stamp: object) -> str | None:
    from datetime import datetime

    try:
        return str(datetime.fromtimestamp(int(str(stamp))))
    except (ValueError, OverflowError, OSError):
        return None
