"""Decide what starts and restarts the replicas of an application together. No side effects.

Two things are decided: the gang, which starts all replicas or none, and the kind of the top object, which restarts
them.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from topcoat.errors import InvalidApp, InvalidRunConfigException, SchedulerError
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, VOLCANO_JOB, Kind
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.specs import AppDef, RetryPolicy, Role

Serves = Callable[[Kind], bool]
"""Tells whether the cluster has a kind of objects."""

_SHELLS = ("sh", "bash", "dash", "zsh")
_TORCHRUN = re.compile(r"(?:^|[\s;&|/])(?:torchrun|python3? -m torch\.distributed\.(?:run|launch))\s")
_CHOICES = "choose --retry-policy REPLICA, --max-retries 0, gang=volcano, or a cluster with JobSet (https://jobset.sigs.k8s.io)"


class Arrangement(NamedTuple):
    """What an application becomes in Kubernetes.

    Attributes:
        top: the kind of the top objects: ``JOB`` (one for each role), ``JOB_SET`` or ``VOLCANO_JOB`` (one in all).
        gang: what starts the replicas together: ``podgroup``, ``kueue``, ``volcano`` or ``none``.
        note: what to tell the user about the choice; empty if there was none.
        torchrun_restarts: whether torchrun restarts its processes, because the cluster cannot restart all pods.
    """

    top: Kind
    gang: str
    note: str = ""
    torchrun_restarts: bool = False


def arrange(app: AppDef, cfg: Opts, serves: Serves | None) -> Arrangement:
    """Choose for *app* what the run options say, or the best that the cluster has.

    Args:
        app: the application.
        cfg: checked run options.
        serves: asked only where the choice depends on it; ``None`` if no cluster can be reached.

    Raises:
        InvalidApp: the cluster cannot restart what a retry policy says.
        SchedulerError: the cluster does not have what the options name.
    """
    together = restarted_together(app)
    gang = cfg.gang
    note = ""
    if gang == "auto" and cfg.queue:
        gang = _gang_of_queue(cfg.queue, serves)
        note = f"gang={gang}: the job waits in the queue {cfg.queue}"
    if gang == "volcano":
        _check_served(VOLCANO_JOB, "gang=volcano", serves)
        _check_volcano(app, together)
        return Arrangement(VOLCANO_JOB, gang, note)
    if gang == "kueue":
        if len(app.roles) > 1 or together:
            # Kueue admits one object at a time: plain Jobs could each get half of what they need, and wait for ever.
            _check_served(JOB_SET, "a queue for several roles, or for restarts of several replicas,", serves)
            return Arrangement(JOB_SET, gang, note)
        return Arrangement(JOB, gang, note)
    if gang == "auto":
        return _best(app, together, serves)
    if gang == "podgroup":
        _check_served(POD_GROUP, "gang=podgroup", serves)
        if together and not _is_torchrun(app):
            raise _cannot_restart(together[0], "a JobSet cannot be in a PodGroup")
        if any(role.max_retries > 0 for role in app.roles):
            note = "gang=podgroup: a replica that is retried after others have ended waits for ever, for its gang"
        return Arrangement(JOB, gang, note, torchrun_restarts=bool(together))
    if together:
        return _restarting(app, together, serves, may_be_gang=False)
    return Arrangement(JOB, "none")


def restarted_together(app: AppDef) -> list[Role]:
    """Return the roles whose retry policy restarts more than the replica that failed."""
    num_replicas = sum(role.num_replicas for role in app.roles)

    def scope(role: Role) -> int:
        if role.retry_policy is RetryPolicy.REPLICA:
            return 1
        return role.num_replicas if role.retry_policy is RetryPolicy.ROLE else num_replicas

    return [role for role in app.roles if role.max_retries > 0 and scope(role) > 1]


def _best(app: AppDef, together: Sequence[Role], serves: Serves | None) -> Arrangement:
    if sum(role.num_replicas for role in app.roles) == 1:
        return Arrangement(JOB, "none")
    if together:
        return _restarting(app, together, serves, may_be_gang=True)
    if serves is None:
        return Arrangement(JOB, "none", "gang=none: no cluster can be asked what it has; gang=podgroup or kueue set it")
    if any(role.max_retries > 0 for role in app.roles):
        # A PodGroup counts the pods that have not ended: a replica that is retried after others have ended would wait
        # for ever, in silence.
        return Arrangement(JOB, "none", "gang=none: replicas that are retried one by one also start one by one")
    if serves(POD_GROUP):
        return Arrangement(JOB, "podgroup", "gang=podgroup: the cluster's scheduler starts all replicas or none")
    if serves(VOLCANO_JOB):
        return Arrangement(VOLCANO_JOB, "volcano", "gang=volcano: Volcano starts all replicas or none")
    note = "gang=none: the cluster has neither PodGroups nor Volcano, so replicas start one by one"
    if len(app.roles) > 1 and serves(JOB_SET):
        return Arrangement(JOB_SET, "none", f"{note}; a JobSet ends all roles together")
    return Arrangement(JOB, "none", note)


def _restarting(app: AppDef, together: Sequence[Role], serves: Serves | None, *, may_be_gang: bool) -> Arrangement:
    """Choose what restarts several replicas together; it may also start them together if *may_be_gang*."""
    if serves is None or serves(JOB_SET):
        note = "gang=none: a JobSet restarts the replicas together, and replicas start one by one"
        if serves is None:
            note += "; no cluster can be asked whether it has JobSet"
        if len(app.roles) > 1 and any(role.retry_policy is RetryPolicy.ROLE for role in together):
            note += "; a JobSet restarts all roles, also for the policy ROLE"
        return Arrangement(JOB_SET, "none", note)
    if may_be_gang and serves(VOLCANO_JOB) and not _roles_alone(app, together):
        return Arrangement(VOLCANO_JOB, "volcano", "gang=volcano: Volcano restarts the replicas together")
    if _is_torchrun(app):
        gang = "podgroup" if may_be_gang and serves(POD_GROUP) else "none"
        note = f"gang={gang}: torchrun restarts its processes, and the cluster a replica that fails"
        return Arrangement(JOB, gang, note, torchrun_restarts=True)
    raise _cannot_restart(together[0], "it has neither JobSet nor Volcano")


def _roles_alone(app: AppDef, together: Sequence[Role]) -> list[Role]:
    """Return the roles that are restarted together without the other roles."""
    return [role for role in together if len(app.roles) > 1 and role.retry_policy is RetryPolicy.ROLE]


def _check_volcano(app: AppDef, together: Sequence[Role]) -> None:
    alone = _roles_alone(app, together)
    if alone:
        raise _cannot_restart(alone[0], "Volcano restarts one replica or all roles")


def _gang_of_queue(queue: str, serves: Serves | None) -> str:
    from topcoat.schedulers.kubernetes.kinds import WORKLOAD

    if serves is None or serves(WORKLOAD):
        return "kueue"
    if serves(VOLCANO_JOB):
        return "volcano"
    raise SchedulerError(
        f"cannot use the queue {queue!r}: the cluster has neither Kueue nor Volcano",
        hint="leave queue out; `kubectl get localqueues` lists Kueue's queues",
    )


def _check_served(kind: Kind, what: str, serves: Serves | None) -> None:
    if serves is not None and not serves(kind):
        raise InvalidRunConfigException(
            f"{what} needs {kind.name} of {kind.api_version}, which the cluster does not have",
            "gang",
            hint="-cfg gang=auto takes the best that the cluster has",
        )


def _cannot_restart(role: Role, why: str) -> InvalidApp:
    scope = "the role" if role.retry_policy is RetryPolicy.ROLE else "the application"
    return InvalidApp(
        f"role {role.name!r} asks to restart {scope} up to {role.max_retries} times (retry policy "
        f"{role.retry_policy.value}), and the cluster cannot: {why}",
        hint=_CHOICES,
    )


def _is_torchrun(app: AppDef) -> bool:
    """Tell whether *app* has one role, whose command is torchrun: that restarts its own processes."""
    if len(app.roles) != 1:
        return False
    role = app.roles[0]
    words = [os.path.basename(role.entrypoint), *role.args]
    if words[0] in _SHELLS and len(words) > 2 and re.fullmatch("-[a-z]*c", words[1]):
        return bool(_TORCHRUN.search(words[2]))
    return bool(_TORCHRUN.match(f"{' '.join(words)} "))
