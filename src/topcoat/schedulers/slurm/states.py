"""States and reasons of Slurm, in words. No side effects."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping

from topcoat.specs import AppState

SLURM_STATES: Mapping[str, AppState] = {
    "BOOT_FAIL": AppState.FAILED,
    "CANCELLED": AppState.CANCELLED,
    "COMPLETED": AppState.SUCCEEDED,
    "COMPLETING": AppState.RUNNING,
    "CONFIGURING": AppState.PENDING,
    "DEADLINE": AppState.FAILED,
    "EXPEDITING": AppState.PENDING,
    "FAILED": AppState.FAILED,
    "LAUNCH_FAILED": AppState.FAILED,
    "NODE_FAIL": AppState.FAILED,
    "OUT_OF_MEMORY": AppState.FAILED,
    "PENDING": AppState.PENDING,
    "POWER_UP_NODE": AppState.PENDING,
    "PREEMPTED": AppState.FAILED,
    "RECONFIG_FAIL": AppState.FAILED,
    "REQUEUED": AppState.PENDING,
    "REQUEUE_FED": AppState.PENDING,
    "REQUEUE_HOLD": AppState.PENDING,
    "RESIZING": AppState.PENDING,
    "RESV_DEL_HOLD": AppState.PENDING,
    "REVOKED": AppState.FAILED,
    "RUNNING": AppState.RUNNING,
    "SIGNALING": AppState.RUNNING,
    "SPECIAL_EXIT": AppState.PENDING,
    "STAGE_OUT": AppState.RUNNING,
    "STOPPED": AppState.PENDING,
    "SUSPENDED": AppState.PENDING,
    "TIMEOUT": AppState.FAILED,
    "UPDATE_DB": AppState.RUNNING,
}
"""What each state and flag of a job means for the application (TorchX's name)."""

_PRECEDENCE = (
    *(AppState.RUNNING, AppState.PENDING, AppState.UNKNOWN),
    *(AppState.CANCELLED, AppState.FAILED, AppState.SUCCEEDED),
)

_ENDINGS = {
    "BOOT_FAIL": "a node could not be booted",
    "DEADLINE": "its deadline has passed",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "it ran out of memory",
    "PREEMPTED": "it was preempted by another job",
    "REVOKED": "another cluster runs it",
    "TIMEOUT": "it reached its time limit",
}
_WAITING = {
    "CONFIGURING": "its nodes are being started",
    "POWER_UP_NODE": "its nodes are being started",
    "REQUEUE_HOLD": "it was requeued, and is held: scontrol release",
    "RESV_DEL_HOLD": "its reservation was deleted, and it is held: scontrol release",
    "SPECIAL_EXIT": "it was requeued with an exit code, and is held: scontrol release",
    "STOPPED": "a signal has stopped it",
    "SUSPENDED": "it is suspended: scontrol resume, or it goes on when a more important job has ended",
}
_REASONS = {
    "BadConstraints": "no node has what it requests, and it would wait for ever: cancel it",
    "BeginTime": "it waits for its start time; a restarted job waits some seconds",
    "Dependency": "it waits for another job to end",
    "DependencyNeverSatisfied": "it waits for another job that did not succeed, for ever: cancel it",
    "InvalidAccount": "its account is invalid",
    "InvalidQOS": "its QOS is invalid",
    "JobHeldAdmin": "an administrator holds it",
    "JobHoldMaxRequeue": "it was requeued too often, and is held: scontrol release",
    "JobHeldUser": "its user holds it: scontrol release",
    "JobLaunchFailure": "it could not be launched on its node; if its job directory is missing there, the nodes do not "
    "share the file system of job_root",
    "Licenses": "it waits for a license",
    "NodeDown": "a node of it is down",
    "NonZeroExitCode": "it ended with an exit code",
    "OutOfMemory": "it ran out of memory",
    "PartitionConfig": "it requests more than the partition allows, and would wait for ever",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive",
    "PartitionNodeLimit": "it requests more nodes than the partition allows, and would wait for ever",
    "PartitionTimeLimit": "its time limit is above that of the partition, and it would wait for ever",
    "Priority": "other jobs have a higher priority",
    "QOSNotAllowed": "its account or partition does not allow its QOS",
    "ReqNodeNotAvail": "a node that it requests is not available",
    "Reservation": "it waits for its reservation",
    "Resources": "it waits for free nodes",
    "TimeLimit": "it reached its time limit",
}
_LIMIT = re.compile(r"(QOS|Assoc)(?:Grp|Max|(Min))?(.*?)(?:Limit|NotSatisfied)?")
_WORD = re.compile(r"[A-Z]{2,}s?(?=[A-Z]|\b)|[A-Z][a-z]+|[A-Z]+")


def appstate_from_slurm_state(slurm_state: str) -> AppState:
    """Return the state of an application for a state of Slurm, such as ``CANCELLED by 0`` (TorchX's name)."""
    word = re.match(r"[A-Z_]*", slurm_state)
    return SLURM_STATES.get(word[0] if word else "", AppState.UNKNOWN)


def get_appstate_from_job(job: Mapping[str, object]) -> AppState:
    """Return the state of a job of ``squeue --json``: a string, or since 23.11 a list, the state before its flags."""
    state = job.get("job_state")
    if isinstance(state, list):
        state = state[0] if state else ""
    return appstate_from_slurm_state(str(state))


def combined_state(states: Iterable[AppState]) -> AppState:
    """Return the state of an application from those of its components."""
    return min(states, key=_PRECEDENCE.index, default=AppState.UNKNOWN)


def ending_in_words(state: str) -> str:
    """Return in words how a job ended, by its state in Slurm; empty if the state says nothing more."""
    return _ENDINGS.get(state.split(" ", 1)[0], "")


def reason_in_words(reason: str, state: str = "") -> str:
    """Return a reason of Slurm in words, with Slurm's own word behind; without one, what *state* says of a wait."""
    reason = reason.strip("() ")
    if reason in ("", "None"):
        return _WAITING.get(state, "")
    name, _, rest = reason.partition(",")
    words = _REASONS.get(name)
    if words is None and (match := _LIMIT.fullmatch(name)) and match[3]:
        owner = "the QOS" if match[1] == "QOS" else "the account"
        what = " ".join(
            word if word.isupper() or word[:-1].isupper() else word.lower() for word in _WORD.findall(match[3])
        )
        fault = f"it requests less than the minimum of {owner}" if match[2] else f"a limit of {owner} is reached"
        words = f"{fault}: {what}"
    if words is None:
        return reason
    return f"{words} ({name}{', ' + rest.strip() if rest else ''})"


def exit_in_words(code: int, signal_number: int = 0) -> str:
    """Return in words how a process ended: an exit code as a shell reports it, or a signal."""
    number = signal_number or (code - 128 if code > 128 else 0)
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        return f"was killed by {name}" if signal_number else f"ended with exit code {code} ({name})"
    return f"ended with exit code {code}"
