"""The log of one pod, every line once: connections break, containers restart, nodes rotate their files."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from topcoat.errors import RequestRefused, SchedulerError, SchedulerUnavailable
from topcoat.foreign_text import escaped
from topcoat.notices import notice
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.fields import Manifest, main_container, name_of, number, section, text
from topcoat.schedulers.kubernetes.kinds import POD

# A load balancer may drop a silent connection without a word; then the log is asked for again.
_READ_TIMEOUT_S = 60.0
_OUTAGE_TIMEOUT_S = 300
_MIN_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0
_PIECE = 1 << 16
_MAX_LINE = 16 << 20
_NANO = 10**9
# A line's time and the space after it.
_STAMP_BYTES = 64
_LOOK_AFTER_BYTES = 1 << 16
_LOOK_PAUSE_S = 1.0
_MAX_STAMPS = 1 << 18
_MIN_GAP = _NANO // 1000
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


class Stamps:
    """Read the times at the start of lines: nanoseconds since 1970."""

    def __init__(self) -> None:
        self._second = (b"", b"", 0)

    def split(self, line: bytes) -> tuple[int | None, bytes]:
        """Return a line's time, ``None`` without one, and the rest of the line."""
        match = _STAMP.match(line)
        if match is None:
            return None, line
        second, fraction, zone = match.groups(b"")
        if (second, zone) != self._second[:2]:
            moment = datetime.fromisoformat(f"{second.decode()}{zone.decode().replace('Z', '+00:00')}")
            self._second = (second, zone, int(moment.timestamp()))
        return self._second[2] * _NANO + int(fraction.ljust(9, b"0")), line[match.end() :]


class Window(NamedTuple):
    """The lines that are wanted, by their time in nanoseconds since 1970; ``None``: no limit."""

    since: int | None = None
    until: int | None = None

    @classmethod
    def of(cls, since: datetime | None, until: datetime | None) -> Window:
        """Return the window between two times; a naive one is local time."""
        return cls(*(None if moment is None else int(moment.timestamp() * _NANO) for moment in (since, until)))


class PodLog:
    """Read the log of a pod's main container.

    Args:
        client: of the cluster.
        pod: as the server sent it.
        where: the replica, for messages.
        window: which lines.
    """

    def __init__(self, client: Client, pod: Manifest, where: str, window: Window) -> None:
        self._client = client
        self._pod: Manifest | None = pod
        self._namespace = text(pod, "metadata", "namespace")
        self._name = name_of(pod)
        self._uid = text(pod, "metadata", "uid")
        self._container = text(pod, "spec", "containers", 0, "name")
        self._where = where
        self._window = window
        self._stamps = Stamps()
        self._last: int | None = None
        self._restarts = number(main_container(pod), "restartCount")
        self._rotations = _Rotations()

    def read(self) -> Iterator[bytes]:
        """Yield what the node has of the log now."""
        yield from self._connect(follow=False, is_final=True)

    def follow(self) -> Iterator[bytes]:
        """Yield the log until the container has ended for good or the pod is gone; empty pieces while it is silent."""
        pause, outage_since = _MIN_PAUSE_S, None
        while True:
            has_ended = _has_ended(self._pod)
            try:
                got_any = False
                for piece in self._connect(follow=not has_ended, is_final=has_ended):
                    got_any = True
                    yield piece
                outage_since = None
                if has_ended or self._is_past():
                    return
                self._refresh()
            except SchedulerUnavailable:
                outage_since = outage_since or time.monotonic()
                if time.monotonic() - outage_since > _OUTAGE_TIMEOUT_S:
                    raise
                notice(f"the connection to {self._client.cluster} is lost; trying again")
                got_any = False
            if self._pod is None:
                return
            restarts = number(main_container(self._pod), "restartCount")
            if restarts > self._restarts:
                yield from self._rest_of_previous(restarts)
            if not got_any:
                yield b""
            pause = _MIN_PAUSE_S if got_any else min(pause * 1.2, _MAX_PAUSE_S)
            if not _has_ended(self._pod):
                time.sleep(pause)

    def _refresh(self) -> None:
        pod = self._client.get(POD, self._namespace, self._name)
        self._pod = pod if pod is not None and text(pod, "metadata", "uid") == self._uid else None

    def _is_past(self) -> bool:
        """Tell whether no further line can be within the window."""
        return self._window.until is not None and self._client.now() * _NANO > self._window.until

    def _rest_of_previous(self, restarts: int) -> Iterator[bytes]:
        """Yield what the container wrote before it was started again; the log is now that of its new run."""
        yield from self._connect(follow=False, is_final=True, previous=True)
        if restarts - self._restarts > 1:
            notice(f"{self._where}: the container restarted more than once; lines of its runs between may be missing")
        self._restarts, self._last = restarts, None

    def _connect(self, *, follow: bool, is_final: bool, previous: bool = False) -> Iterator[bytes]:
        """Yield the lines after the last one, as far as one connection brings them.

        With *is_final*, nothing more will be written, so an unfinished last line is yielded too.
        """
        from urllib3.exceptions import HTTPError

        query = {"container": self._container, "timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"previous": "true"} if previous else {}
        start = self._window.since if self._last is None else self._last
        if start is not None:
            # The node cuts the time to whole seconds.
            query["sinceTime"] = datetime.fromtimestamp(start // _NANO, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        timeout = _READ_TIMEOUT_S
        if self._window.until is not None:
            timeout = min(timeout, max(1.0, self._window.until / _NANO - self._client.now()))
        path = f"{POD.path(self._namespace, self._name)}/log"
        is_first = True
        try:
            response = self._client.open(path, query, f"reading the log of {self._where}", read_timeout=timeout)
        except RequestRefused as error:
            # 400: the container has not started. 404: the pod is gone. 5xx: its node does not respond.
            if error.status in (400, 404):
                return
            if error.status >= 500 and follow:
                raise SchedulerUnavailable(str(error)) from error
            raise
        try:
            for line in _lines(response.stream(_PIECE), keep_rest=is_final):
                yield from self._line(line, is_first)
                is_first = False
                if follow and self._rotations.is_due(len(line)):
                    self._look_for_rotation()
            if is_final:
                self._look_for_rotation()
        except (HTTPError, OSError):
            # Broken, or silent for long: the caller connects again.
            return
        finally:
            response.close()

    def _line(self, line: bytes, is_first: bool) -> Iterator[bytes]:
        stamp, content = self._stamps.split(line)
        if stamp is None:
            # The node writes its own errors into the log.
            if content.strip():
                notice(f"{self._where}: {escaped(content.decode('utf-8', 'replace').strip())}")
            return
        if self._last is not None:
            if is_first and stamp > self._last:
                self._report_gap(self._last, stamp)
            if stamp <= self._last:
                return
        self._last = stamp
        self._rotations.stamps.append(stamp)
        if self._is_wanted(stamp):
            yield content

    def _is_wanted(self, stamp: int) -> bool:
        since, until = self._window
        return (since is None or stamp >= since) and (until is None or stamp <= until)

    def _look_for_rotation(self) -> None:
        """Ask for the first line of the node's file: a new one means that the node has begun a new file.

        What a job writes while the node changes files is in the old one, which a follower has left by then.
        """
        from urllib3.exceptions import HTTPError

        if not self._rotations.bytes_followed:
            return
        query = {"container": self._container, "timestamps": "true", "limitBytes": str(_STAMP_BYTES)}
        path = f"{POD.path(self._namespace, self._name)}/log"
        try:
            response = self._client.open(path, query, f"reading the log of {self._where}", read_timeout=_READ_TIMEOUT_S)
        except (RequestRefused, SchedulerUnavailable):
            return
        try:
            first, _ = self._stamps.split(response.read(_STAMP_BYTES))
        except (HTTPError, OSError):
            return
        finally:
            response.close()
        gap = self._rotations.gap_before(first)
        if gap is not None:
            self._report_gap(*gap)

    def _report_gap(self, last: int, following: int) -> None:
        """Say that lines may be missing between two that came."""
        start, end = (
            datetime.fromtimestamp(moment / _NANO, timezone.utc).strftime("%H:%M:%S.%f") for moment in (last, following)
        )
        notice(f"{self._where}: the node has rotated the log; lines between {start} and {end} (UTC) may be missing")


class _Rotations:
    """Notice that the node has rotated a log that is being followed.

    Attributes:
        bytes_followed: since the log was looked at.
        stamps: of the lines that came lately.
    """

    def __init__(self) -> None:
        self.bytes_followed = 0
        self.stamps: deque[int] = deque(maxlen=_MAX_STAMPS)
        self._next_look = 0.0
        self._file_start: int | None = None

    def is_due(self, count: int) -> bool:
        """Count the bytes of a line, and tell whether it is time to look: not for every line, nor for a quiet log."""
        self.bytes_followed += count
        return self.bytes_followed >= _LOOK_AFTER_BYTES and time.monotonic() >= self._next_look

    def gap_before(self, first: int | None) -> tuple[int, int] | None:
        """Return the times of the last line of the old file and of the *first* one of a new file.

        ``None`` if the file is the same, its first line has not come yet, or the two lines leave no room for others.
        """
        self._next_look = time.monotonic() + _LOOK_PAUSE_S
        if first is None or not self.stamps or first > self.stamps[-1]:
            return None
        self.bytes_followed = 0
        is_new = self._file_start is not None and first > self._file_start
        self._file_start = first
        earlier = [stamp for stamp in self.stamps if stamp < first]
        for _ in earlier:
            self.stamps.popleft()
        return (earlier[-1], first) if is_new and earlier and first - earlier[-1] > _MIN_GAP else None


def _has_ended(pod: Manifest | None) -> bool:
    """Tell whether a pod's main container has ended and will not be started again."""
    if pod is None or text(pod, "status", "phase") in ("Succeeded", "Failed"):
        return True
    is_terminated = bool(section(main_container(pod), "state", "terminated"))
    return is_terminated and text(pod, "spec", "restartPolicy") == "Never"


def _lines(pieces: Iterator[bytes], *, keep_rest: bool) -> Iterator[bytes]:
    """Split *pieces* into lines; an unfinished last line is kept, or left for the next connection.

    Raises:
        SchedulerError: a line is too long.
    """
    rest: list[bytes] = []
    size = 0
    for piece in pieces:
        first, newline, others = piece.partition(b"\n")
        rest.append(first + newline)
        size += len(rest[-1])
        if size > _MAX_LINE:
            raise SchedulerError(
                f"a line of the log is longer than {_MAX_LINE >> 20} MB", hint="kubectl logs prints such a line"
            )
        if not newline:
            continue
        yield b"".join(rest)
        *lines, last = others.split(b"\n")
        yield from (line + b"\n" for line in lines)
        rest, size = [last], len(last)
    if keep_rest and size:
        yield b"".join(rest)
