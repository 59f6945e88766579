"""Find schedulers: the built-in ones, and those that installed packages add.

Packages add theirs through the entry point groups ``topcoat.schedulers`` and ``torchx.schedulers``. A scheduler is
imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from topcoat.schedulers.api import Scheduler

GROUPS = ("topcoat.schedulers", "torchx.schedulers")
"""The entry point groups, in order of precedence."""

BUILT_IN: Mapping[str, str] = {
    "local": "topcoat.schedulers.local.scheduler:create_scheduler",
    "local_cwd": "topcoat.schedulers.local.cwd_scheduler:create_scheduler",
    "local_docker": "topcoat.schedulers.docker.scheduler:create_scheduler",
    "slurm": "topcoat.schedulers.slurm.scheduler:create_scheduler",
}
"""The built-in schedulers and their factories; the first one is the default."""


class SchedulerFactory(Protocol):
    """Make a scheduler."""

    def __call__(self, session_name: str, **kwargs: object) -> Scheduler[Any]:
        """Return a scheduler for *session_name*; unknown keyword arguments are ignored."""


def get_default_scheduler_name() -> str:
    """Return the name of the default scheduler."""
    return next(iter(BUILT_IN))


def get_scheduler_factories(*, skip_defaults: bool = False) -> dict[str, SchedulerFactory]:
    """Return the factory of each scheduler, by name: the built-in ones, then those of installed packages.

    A package's scheduler takes the place of a built-in one of the same name. A factory raises ``SchedulerError`` if
    the package cannot be imported. With *skip_defaults*, return the packages' only.
    """
    factories: dict[str, SchedulerFactory] = {}
    if not skip_defaults:
        factories.update({name: _built_in(path) for name, path in BUILT_IN.items()})
    factories.update({name: _installed(name, entry) for name, entry in _entry_points().items()})
    return factories


def unknown_scheduler(name: str, available: Mapping[str, object]) -> Exception:
    """Return the error for a scheduler *name* that is not in *available*."""
    from topcoat.errors import UnknownScheduler
    from topcoat.suggest import did_you_mean

    hint = did_you_mean(name, available, otherwise=f"available schedulers: {', '.join(available)}")
    return UnknownScheduler(f"unknown scheduler {name!r}", hint=hint)


def _built_in(path: str) -> SchedulerFactory:
    def create(session_name: str, **kwargs: object) -> Scheduler[Any]:
        from importlib import import_module

        module, _, function = path.partition(":")
        scheduler: Scheduler[Any] = getattr(import_module(module), function)(session_name, **kwargs)
        return scheduler

    return create


def _installed(name: str, entry: EntryPoint) -> SchedulerFactory:
    def create(session_name: str, **kwargs: object) -> Scheduler[Any]:
        from topcoat.errors import SchedulerError, TopcoatError
        from topcoat.schedulers.api import Scheduler
        from topcoat.torchx_alias import load_entry_point

        owner = entry.dist.name if entry.dist else entry.value
        try:
            scheduler = load_entry_point(entry)(session_name, **kwargs)
        except TopcoatError:
            raise
        except Exception as error:
            raise SchedulerError(
                f"the scheduler {name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}",
                hint=f"reinstall {owner}, or remove it",
            ) from error
        if not isinstance(scheduler, Scheduler):
            raise SchedulerError(
                f"the scheduler {name!r} of {owner} is a {type(scheduler).__module__}.{type(scheduler).__qualname__}, "
                "not a topcoat.schedulers.api.Scheduler",
                hint="derive it from topcoat.schedulers.api.Scheduler",
            )
        return scheduler

    return create


def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of both groups by name; of equal names the first one, in the order of ``GROUPS``."""
    from importlib.metadata import entry_points

    entries: dict[str, EntryPoint] = {}
    for group in GROUPS:
        for entry in entry_points(group=group):
            # topcoat's own entries in TorchX's group are for TorchX.
            if not (group != GROUPS[0] and entry.value.startswith("topcoat.")):
                entries.setdefault(entry.name, entry)
    return entries
