"""A typed use of every public name of ``topcoat.schedulers`` and its ``api``, and a scheduler as a user writes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from typing_extensions import assert_type

from topcoat import schedulers
from topcoat.schedulers import SchedulerFactory, get_default_scheduler_name, get_scheduler_factories
from topcoat.schedulers.api import (
    AppDryRunInfo,
    DescribeAppResponse,
    Freeable,
    JobOutputs,
    ListAppResponse,
    ReplicaTimes,
    Scheduler,
    Stream,
    StructuredOpts,
    filter_regex,
    split_lines,
    split_lines_iterator,
)
from topcoat.specs import AppDef, AppState, CfgVal, runopts
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin


@dataclass
class Opts(StructuredOpts):
    """Options of a queue."""

    queue: str
    """where to wait"""

    priority: int = 0
    """higher goes first"""


class QueueScheduler(DockerWorkspaceMixin, Scheduler[Opts]):
    """Put applications into a queue."""

    def __init__(self, session_name: str, **kwargs: object) -> None:
        super().__init__("queue", session_name)

    def _run_opts(self) -> runopts:
        return Opts.as_runopts()

    def _submit_dryrun(self, app: AppDef, cfg: Opts) -> AppDryRunInfo[dict[str, Any]]:
        images = self.dryrun_push_images(app, {"image_repo": "r/app"})
        return AppDryRunInfo({"queue": cfg.queue, "priority": cfg.priority, "images": images}, str)

    def schedule(self, dryrun_info: AppDryRunInfo[dict[str, Any]]) -> str:
        self.push_images(dryrun_info.request["images"])
        return "id"

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        return DescribeAppResponse(app_id=app_id, state=AppState.RUNNING)

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        return [ListAppResponse(app_id="id", state=AppState.RUNNING)]

    def _cancel_existing(self, app_id: str) -> None:
        print(app_id)

    def replica_times(self, app_id: str) -> Sequence[ReplicaTimes]:
        return [ReplicaTimes("role", 0, datetime(2030, 1, 31), None, None)]

    def outputs(self, app_id: str) -> JobOutputs | None:
        return JobOutputs("/jobs/id", ["model.pt"], are_deleted=True)

    def freeable(self) -> Sequence[Freeable]:
        return [Freeable("archive of id", "archives/id", 1024)]

    def log_iter(
        self,
        app_id: str,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        lines = split_lines_iterator(["a\nb", "c\n"])
        return filter_regex(regex, lines) if regex else lines


def create_scheduler(session_name: str, **kwargs: object) -> QueueScheduler:
    """Return the scheduler."""
    return QueueScheduler(session_name)


factory: SchedulerFactory = create_scheduler
factories: dict[str, SchedulerFactory] = {**get_scheduler_factories(), "queue": factory}
assert_type(get_default_scheduler_name(), str)
assert_type(split_lines("a\nb"), list[str])
names: list[str] = [*schedulers.BUILT_IN, *schedulers.GROUPS]
assert_type(schedulers.unknown_scheduler("local_doker", factories), Exception)

scheduler = create_scheduler("session")
assert_type(scheduler.run_opts(), runopts)
assert_type(scheduler.submit(AppDef("a"), Opts(queue="q"), workspace="src"), str)
assert_type(scheduler.exists("id"), bool)
for line in scheduler.log_iter("id", "role", streams=Stream.STDERR):
    assert_type(line, str)
for times in scheduler.replica_times("id"):
    print(times.started, times.ended, times.exit_code)
for item in scheduler.freeable():
    scheduler.free(item)
scheduler.copy_from("id", "role", 0, "/out/model.pt", "model.pt")
scheduler.copy_to("id", "role", 0, "data.csv", "/tmp/data.csv")
assert_type(scheduler.execute("id", "role", 0, ["nvidia-smi"], tty=True), int)
scheduler.attach("id", "role", 0)
scheduler.cancel("id")
scheduler.delete("id")
scheduler.close()
