"""What starts and restarts the replicas of an application together."""

from __future__ import annotations

from typing import Any

import pytest

from topcoat.components.dist import ddp
from topcoat.errors import InvalidApp, InvalidRunConfigException, SchedulerError
from topcoat.schedulers.kubernetes.arrangement import arrange
from topcoat.schedulers.kubernetes.kinds import JOB, JOB_SET, POD_GROUP, VOLCANO_JOB, WORKLOAD, Kind
from topcoat.schedulers.kubernetes.options import Opts
from topcoat.specs import AppDef, RetryPolicy, Role

APPLICATION, ROLE, REPLICA = RetryPolicy.APPLICATION, RetryPolicy.ROLE, RetryPolicy.REPLICA


def role(name: str = "trainer", replicas: int = 1, retries: int = 0, policy: RetryPolicy = APPLICATION) -> Role:
    return Role(name, "image", entrypoint="x", num_replicas=replicas, max_retries=retries, retry_policy=policy)


def app(*roles: Role) -> AppDef:
    return AppDef("app", list(roles))


def chosen(application: AppDef, *served: Kind, **options: Any) -> tuple[str, str]:
    arrangement = arrange(application, Opts(**options), lambda kind: kind in served)
    return arrangement.top.api_version.partition("/")[0], arrangement.gang


PLAIN, SET, VOLCANO = "batch", "jobset.x-k8s.io", "batch.volcano.sh"
GANG = app(role(replicas=2))
ROLES = app(role(), role("reader"))


def test_one_replica_needs_nothing_and_asks_nothing() -> None:
    def ask(kind: Kind) -> bool:
        raise AssertionError(kind)

    for policy in RetryPolicy:
        for retries in (0, 3):
            arrangement = arrange(app(role(retries=retries, policy=policy)), Opts(), ask)
            assert arrangement == (JOB, "none", "", False)


@pytest.mark.parametrize("application", [GANG, ROLES])
def test_auto_takes_the_best_that_the_cluster_has(application: AppDef) -> None:
    assert chosen(application, POD_GROUP, VOLCANO_JOB, JOB_SET) == (PLAIN, "podgroup")
    assert chosen(application, VOLCANO_JOB, JOB_SET) == (VOLCANO, "volcano")
    assert chosen(application) == (PLAIN, "none")


def test_auto_says_what_it_takes() -> None:
    for served in ([POD_GROUP], [VOLCANO_JOB], []):
        arrangement = arrange(GANG, Opts(), lambda kind, served=served: kind in served)  # type: ignore[misc]
        assert arrangement.note.startswith(f"gang={arrangement.gang}: ")


def test_roles_without_a_gang_end_together_in_a_job_set() -> None:
    assert chosen(ROLES, JOB_SET) == (SET, "none")
    assert chosen(GANG, JOB_SET) == (PLAIN, "none")


def test_without_a_cluster_auto_is_none_and_says_so() -> None:
    arrangement = arrange(GANG, Opts(), None)
    assert arrangement[:2] == (JOB, "none")
    assert "no cluster" in arrangement.note
    assert arrange(GANG, Opts(gang="podgroup"), None)[:2] == (JOB, "podgroup")
    assert arrange(GANG, Opts(gang="volcano"), None)[:2] == (VOLCANO_JOB, "volcano")
    assert arrange(ROLES, Opts(queue="q"), None)[:2] == (JOB_SET, "kueue")
    assert arrange(app(role(replicas=2, retries=1)), Opts(), None)[:2] == (JOB_SET, "none")


def test_replicas_that_are_retried_alone_are_no_gang() -> None:
    assert chosen(app(role(replicas=2, retries=1, policy=REPLICA)), POD_GROUP, VOLCANO_JOB) == (PLAIN, "none")


def test_a_gang_of_replicas_that_are_retried_alone_comes_with_a_warning() -> None:
    arrangement = arrange(app(role(replicas=2, retries=1, policy=REPLICA)), Opts(gang="podgroup"), lambda _: True)
    assert arrangement[:2] == (JOB, "podgroup")
    assert "waits for ever" in arrangement.note
    assert not arrange(GANG, Opts(gang="podgroup"), lambda _: True).note


@pytest.mark.parametrize("policy", list(RetryPolicy))
@pytest.mark.parametrize("gang", ["auto", "podgroup", "none", "volcano", "kueue"])
def test_no_policy_is_refused_without_retries(policy: RetryPolicy, gang: str) -> None:
    queue = {"queue": "q"} if gang == "kueue" else {}
    for application in (app(role(replicas=3, policy=policy)), app(role(policy=policy), role("reader", policy=policy))):
        arrange(application, Opts(gang=gang, **queue), lambda _: True)


@pytest.mark.parametrize("policy", [APPLICATION, ROLE])
@pytest.mark.parametrize("gang", ["auto", "none"])
def test_restarts_of_several_replicas_are_a_job_sets_or_volcanos(policy: RetryPolicy, gang: str) -> None:
    application = app(role(replicas=2, retries=2, policy=policy))
    assert chosen(application, POD_GROUP, JOB_SET, VOLCANO_JOB, gang=gang) == (SET, "none")
    assert chosen(application, POD_GROUP, VOLCANO_JOB) == (VOLCANO, "volcano")
    with pytest.raises(InvalidApp, match="retry policy") as raised:
        chosen(application, POD_GROUP, gang=gang)
    assert raised.value.hint
    for choice in ("--retry-policy REPLICA", "--max-retries 0", "gang=volcano", "JobSet"):
        assert choice in raised.value.hint


def test_no_gang_is_made_for_restarts_if_the_user_wants_none() -> None:
    with pytest.raises(InvalidApp):
        chosen(app(role(replicas=2, retries=2)), VOLCANO_JOB, gang="none")
    trainer = Role("a", "image", entrypoint="torchrun", args=["x.py"], num_replicas=2, max_retries=1)
    assert chosen(app(trainer), POD_GROUP, VOLCANO_JOB, gang="none") == (PLAIN, "none")


def test_a_role_of_one_replica_is_restarted_alone() -> None:
    application = app(role(retries=2, policy=ROLE), role("reader", 3))
    assert chosen(application) == (PLAIN, "none")


def test_a_pod_group_cannot_restart_replicas_together() -> None:
    with pytest.raises(InvalidApp, match="JobSet cannot be in a PodGroup"):
        chosen(app(role(replicas=2, retries=1)), POD_GROUP, JOB_SET, gang="podgroup")


def test_volcano_cannot_restart_one_role_of_several() -> None:
    application = app(role(replicas=2, retries=1, policy=ROLE), role("reader"))
    with pytest.raises(InvalidApp, match="one replica or all roles"):
        chosen(application, VOLCANO_JOB, gang="volcano")
    with pytest.raises(InvalidApp):
        chosen(application, VOLCANO_JOB)


@pytest.mark.parametrize(
    ("entrypoint", "args", "is_torchrun"),
    [
        ("torchrun", ["--nnodes", "2", "x.py"], True),
        ("/usr/bin/torchrun", ["x.py"], True),
        ("python", ["-m", "torch.distributed.run", "x.py"], True),
        ("bash", ["-c", "export A=1; torchrun x.py"], True),
        ("bash", ["-lc", "exec /opt/bin/torchrun x.py"], True),
        ("bash", ["-c", "python x.py"], False),
        ("bash", ["torchrun", "x.py"], False),
        ("python", ["torchrun"], False),
        ("echo", ["torchrun ", "x"], False),
    ],
)
def test_torchrun_restarts_its_own_processes(entrypoint: str, args: list[str], is_torchrun: bool) -> None:
    trainer = Role("a", "image", entrypoint=entrypoint, args=args, num_replicas=2, max_retries=1)
    if not is_torchrun:
        with pytest.raises(InvalidApp):
            arrange(app(trainer), Opts(), lambda _: False)
        return
    assert arrange(app(trainer), Opts(), lambda _: False).torchrun_restarts
    assert arrange(app(trainer), Opts(), lambda kind: kind is POD_GROUP)[:2] == (JOB, "podgroup")
    assert arrange(app(trainer), Opts(gang="podgroup"), lambda _: True).torchrun_restarts


def test_the_component_dist_ddp_is_restarted_by_torchrun() -> None:
    application = ddp(script="x.py", image="image", j="2x1", max_retries=2)
    assert arrange(application, Opts(), lambda _: False).torchrun_restarts


def test_a_queue_is_kueues_or_volcanos() -> None:
    assert chosen(app(role()), WORKLOAD, POD_GROUP, queue="q") == (PLAIN, "kueue")
    assert chosen(GANG, WORKLOAD, POD_GROUP, queue="q") == (PLAIN, "kueue")
    assert chosen(ROLES, WORKLOAD, JOB_SET, queue="q") == (SET, "kueue")
    assert chosen(GANG, VOLCANO_JOB, queue="q") == (VOLCANO, "volcano")
    with pytest.raises(SchedulerError, match="neither Kueue nor Volcano"):
        chosen(GANG, POD_GROUP, queue="q")


def test_several_roles_in_a_queue_need_a_job_set() -> None:
    with pytest.raises(InvalidRunConfigException, match="needs JobSet"):
        chosen(ROLES, WORKLOAD, queue="q")
    with pytest.raises(InvalidRunConfigException, match="needs JobSet"):
        chosen(app(role(replicas=2, retries=1)), WORKLOAD, queue="q", gang="kueue")


@pytest.mark.parametrize("gang", ["podgroup", "volcano"])
def test_a_gang_that_the_cluster_does_not_have_is_refused(gang: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=f"gang={gang} needs") as raised:
        chosen(GANG, gang=gang)
    assert "gang=auto" in str(raised.value.hint)
