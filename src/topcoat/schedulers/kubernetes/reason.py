"""What a reason is, and the texts of conditions and events."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from topcoat.foreign_text import escaped
from topcoat.schedulers.kubernetes.fields import (
    Manifest,
    Manifests,
    created,
    field,
    seconds,
    text,
)

_MAX_TEXT = 600


class Rank(IntEnum):
    """How much a reason matters: the lowest is shown first."""

    FAILED = 0
    CANNOT_PULL = 1
    NOT_CREATED = 2
    NOT_STARTED = 3
    NOT_SCHEDULED = 4
    WAITS_FOR_GANG = 5
    WAITS_FOR_QUEUE = 6


class Reason(NamedTuple):
    """Why something does not run.

    Attributes:
        since: when that began, in seconds since 1970.
        is_hopeless: it does not end by itself.
    """

    rank: Rank
    text: str
    since: float = 0.0
    is_hopeless: bool = False


def events_of(manifest: Manifest, events: Manifests, *reasons: str) -> Manifests:
    """Return the events of an object with one of *reasons*, the newest first."""
    uid = field(manifest, "metadata", "uid")
    found = [
        event for event in events if field(event, "involvedObject", "uid") == uid and event.get("reason") in reasons
    ]
    return sorted(found, key=last_seen, reverse=True)


def first_seen(event: Manifest) -> float:
    return seconds(text(event, "firstTimestamp")) or seconds(text(event, "eventTime")) or created(event)


def last_seen(event: Manifest) -> float:
    stamps = (text(event, "lastTimestamp"), text(event, "series", "lastObservedTime"), text(event, "eventTime"))
    return max((seconds(stamp) or 0.0 for stamp in stamps), default=0.0) or created(event)


def named(manifest: Manifest) -> str:
    """Return reason and message of a condition, a state or an event."""
    reason, message = escaped(text(manifest, "reason")), shown(text(manifest, "message"))
    return f"{reason}: {message}" if reason and message else reason or message


def shown(message: str) -> str:
    return escaped(" ".join(message.split()), _MAX_TEXT)
