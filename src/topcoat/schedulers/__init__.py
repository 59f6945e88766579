"""Schedulers: what turns an application into processes, containers or jobs, and finds them again."""

from typing import TYPE_CHECKING

from topcoat.schedulers.factories import (
    BUILT_IN,
    GROUPS,
    SchedulerFactory,
    get_default_scheduler_name,
    get_scheduler_factories,
    unknown_scheduler,
)

if TYPE_CHECKING:
    from topcoat.schedulers.api import Scheduler

__all__ = [
    "BUILT_IN",
    "GROUPS",
    "Scheduler",
    "SchedulerFactory",
    "get_default_scheduler_name",
    "get_scheduler_factories",
    "unknown_scheduler",
]


def __getattr__(name: str) -> object:
    # Imported on first use: most commands need a factory's name alone.
    if name != "Scheduler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from topcoat.schedulers.api import Scheduler

    return Scheduler
