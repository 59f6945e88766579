"""Read the log of a node from the log service: page by page, every line once, also while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from topcoat.aws import aws_errors, is_missing
from topcoat.schedulers.aws_batch.jobs import Job, job_state, log_group, log_streams, to_millis_since_epoch
from topcoat.specs import is_terminal

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_MIN_POLL_S, _MAX_POLL_S = 1.0, 5.0
# The log service may get the last lines a moment after the job has ended.
_QUIET_POLLS_AT_END = 3


def read_log(
    client: CloudWatchLogsClient,
    node: Callable[[], Job | None],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    follow: bool = False,
) -> Iterator[str]:
    """Yield the lines of a node's log, those of earlier runs first; with *follow*, until the node has ended.

    Args:
        client: of the log service.
        node: returns what AWS knows of the node now, ``None`` for nothing.
        since: only lines written since then.
        until: only lines written until then; a log that is followed ends then.
        follow: wait for more.
    """
    times: dict[str, int] = {}
    if since is not None:
        times["startTime"] = to_millis_since_epoch(since)
    if until is not None:
        # AWS leaves out the end itself.
        times["endTime"] = to_millis_since_epoch(until) + 1
    streams: dict[str, _Stream] = {}
    quiet, pause = 0, _MIN_POLL_S
    while True:
        # Ask first, then read: what was written before the end must not be missed.
        detail = node()
        has_ended = detail is None or is_terminal(job_state(detail)) or _is_past(until)
        count = 0
        for name in log_streams(detail or {}):
            stream = streams.setdefault(name, _Stream(client, log_group(detail or {}), name, times))
            for line in stream.new_lines():
                count += 1
                yield line
        quiet = 0 if count or not has_ended else quiet + 1
        if not follow or (has_ended and quiet >= _QUIET_POLLS_AT_END):
            return
        # A quiet log is read less often: AWS limits the requests of an account, and a job may have many nodes.
        pause = _MIN_POLL_S if count or has_ended else min(pause * 1.5, _MAX_POLL_S)
        time.sleep(pause)


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and time.time() > moment.timestamp()


class _Stream:
    """Read one log stream on from where it was read to."""

    def __init__(self, client: CloudWatchLogsClient, group: str, name: str, times: dict[str, int]) -> None:
        self._client = client
        self._fixed: dict[str, Any] = {"logGroupName": group, "logStreamName": name, "startFromHead": True, **times}
        self._token = ""

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that were not read before."""
        while True:
            position: dict[str, Any] = {"nextToken": self._token} if self._token else {}
            with aws_errors(f"reading the log {self._fixed['logStreamName']}"):
                try:
                    page = self._client.get_log_events(**self._fixed, **position)
                    events, token = page["events"], page["nextForwardToken"]
                except Exception as error:
                    # The stream is made with its first line.
                    if is_missing(error):
                        return
                    raise
            yield from (f"{event.get('message') or ''}\n" for event in events)
            # A page may be empty; the end is where the token stays the same.
            if token == self._token:
                return
            self._token = token
