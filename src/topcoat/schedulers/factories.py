"""Find schedulers: the built-in ones, and those that installed packages add.

Packages add theirs through ``torchx_plugins.schedulers`` (``topcoat.plugins``) and the entry point groups
``topcoat.schedulers`` and ``torchx.schedulers``. A scheduler of an entry point is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from topcoat.plugins.registry import PluginType, entry_points_in, registry
from topcoat.torchx_alias import load_entry_point

if TYPE_CHECKING:
    from topcoat.schedulers.api import Scheduler

GROUPS = ("torchx.schedulers", "topcoat.schedulers")
"""The entry point groups; the last one wins."""

BUILT_IN: Mapping[str, str] = {
    "local": "topcoat.schedulers.local.scheduler:create_scheduler",
    "local_cwd": "topcoat.schedulers.local.cwd_scheduler:create_scheduler",
    "local_docker": "topcoat.schedulers.docker.scheduler:create_scheduler",
    "slurm": "topcoat.schedulers.slurm.scheduler:create_scheduler",
    "kubernetes": "topcoat.schedulers.kubernetes.scheduler:create_scheduler",
    "aws_batch": "topcoat.schedulers.aws_batch.scheduler:create_scheduler",
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
    for name, plugin in registry().in_namespace(PluginType.SCHEDULER).items():
        factories[name] = _installed(name, plugin.__module__, partial(_same, plugin))
    for name, entry in entry_points_in(*GROUPS).items():
        # topcoat's own entries in TorchX's group are for TorchX.
        if not (entry.group.startswith("torchx.") and entry.value.startswith("topcoat.")):
            owner = entry.dist.name if entry.dist else entry.value
            factories[name] = _installed(name, owner, partial(load_entry_point, entry))
    return factories


def unknown_scheduler(name: str, available: Mapping[str, object]) -> Exception:
    """Return the error for a scheduler *name* that is not in *available*."""
    from topcoat.errors import UnknownScheduler
    from topcoat.suggest import did_you_mean

    hint = did_you_mean(name, available, otherwise=f"available schedulers: {', '.join(available)}")
    return UnknownScheduler(f"unknown scheduler {name!r}", hint=hint)


def _same(plugin: Any) -> Any:
    return plugin


def _built_in(path: str) -> SchedulerFactory:
    def create(session_name: str, **kwargs: object) -> Scheduler[Any]:
        from importlib import import_module

        module, _, function = path.partition(":")
        scheduler: Scheduler[Any] = getattr(import_module(module), function)(session_name, **kwargs)
        return scheduler

    return create


def _installed(name: str, owner: str, load: Callable[[], Any]) -> SchedulerFactory:
    def create(session_name: str, **kwargs: object) -> Scheduler[Any]:
        from topcoat.errors import SchedulerError, TopcoatError
        from topcoat.schedulers.api import Scheduler

        try:
            scheduler = load()(session_name, **kwargs)
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
