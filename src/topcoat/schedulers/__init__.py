"""Schedulers: what turns an application into processes, containers or jobs, and finds them again."""

from topcoat.schedulers.factories import (
    BUILT_IN,
    GROUPS,
    SchedulerFactory,
    get_default_scheduler_name,
    get_scheduler_factories,
    unknown_scheduler,
)

__all__ = [
    "BUILT_IN",
    "GROUPS",
    "SchedulerFactory",
    "get_default_scheduler_name",
    "get_scheduler_factories",
    "unknown_scheduler",
]
