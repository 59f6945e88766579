"""Applications, their roles, and the result of a dry run: they refer to each other, so they share a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from topcoat.errors import UnknownRole
from topcoat.specs.delivery import Delivered, WorkspacePlan
from topcoat.specs.mounts import BindMount, DeviceMount, VolumeMount
from topcoat.specs.resources import NULL_RESOURCE, Resource
from topcoat.specs.sentinels import MISSING
from topcoat.specs.workspace import Workspace

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with default=, which typing has since Python 3.13

    from topcoat.specs.cfg import CfgVal

    CfgT = TypeVar("CfgT", bound=Mapping[str, CfgVal], default=Mapping[str, CfgVal])
else:
    from typing import TypeVar

    CfgT = TypeVar("CfgT")

T = TypeVar("T")


class RetryPolicy(str, Enum):
    """Select what the scheduler restarts when a replica fails, is preempted or loses its host.

    REPLICA: only that replica. APPLICATION: the whole application; every scheduler supports it. ROLE: all
    replicas of its role. HOT_SPARE, of TorchX 0.7, means APPLICATION: no scheduler has hot spares.
    """

    REPLICA = "REPLICA"
    APPLICATION = "APPLICATION"
    ROLE = "ROLE"
    HOT_SPARE = APPLICATION

    @classmethod
    def _missing_(cls, value: object) -> RetryPolicy | None:
        return cls.APPLICATION if value == "HOT_SPARE" else None


@dataclass
class Role:
    """Declare replicas that run the same command in the same image (TorchX's names, order and defaults).

    Args:
        name: unique within the application.
        image: the container image, or the directory, that the command runs in; the scheduler interprets it.
            A workspace build replaces it in place.
        min_replicas: minimum number of replicas of an elastic job.
        entrypoint: the program.
        args: its arguments; macros are substituted.
        env: environment variables; macros are substituted in the values.
        num_replicas: number of replicas to start.
        max_retries: maximum number of restarts.
        retry_policy: what to restart.
        resource: resources of one replica.
        port_map: port name to port number.
        metadata: for the scheduler, with keys like ``kubernetes`` or ``kubernetes/...``; macros are substituted.
        mounts: host paths, volumes and devices to mount in the container.
        workspace: local code to lay over the image.
        overrides: TorchX-internal and deprecated: field name to value, or to a function that returns the value;
            applied once, when the role is created.
        base_image: of TorchX 0.7, accepted and ignored: no scheduler has used it.
    """

    name: str
    image: str
    min_replicas: int | None = None
    entrypoint: str = MISSING
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    num_replicas: int = 1
    max_retries: int = 0
    retry_policy: RetryPolicy = RetryPolicy.APPLICATION
    resource: Resource = field(default_factory=lambda: NULL_RESOURCE)
    port_map: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    mounts: list[BindMount | VolumeMount | DeviceMount] = field(default_factory=list)
    workspace: Workspace | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    base_image: InitVar[str | None] = field(default=None, kw_only=True)

    def __post_init__(self, base_image: str | None) -> None:
        overrides, self.overrides = self.overrides, {}
        for name, value in overrides.items():
            setattr(self, name, value() if callable(value) else value)

    def pre_proc(self, scheduler: str, dryrun_info: AppDryRunInfo[Any]) -> AppDryRunInfo[Any]:
        """Return *dryrun_info*, with the changes that this role needs; the default makes none.

        *scheduler* names the scheduler that created the request. Its ``submit_dryrun`` calls this for each role in
        order.
        """
        return dryrun_info


@dataclass
class AppDef:
    """Declare an application: roles that are submitted together.

    Args:
        name: the scheduler derives a unique application id from it.
        roles: in order; the first replica of the first role is rank 0.
        metadata: for the scheduler.
    """

    name: str
    roles: list[Role] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)

    __iter__: ClassVar[None] = None  # else ``for role in app`` would call __getitem__ with numbers

    def get_role(self, name: str) -> Role:
        """Return the role *name* itself, not a copy; ``app[name]`` is the same. Raise ``UnknownRole``."""
        for role in self.roles:
            if role.name == name:
                return role
        names = ", ".join(role.name for role in self.roles)
        raise UnknownRole(f"the application {self.name!r} has no role {name!r}", hint=f"it has {names or 'no roles'}")

    def __getitem__(self, name: str) -> Role:
        return self.get_role(name)

    def __contains__(self, name: object) -> bool:
        return any(role.name == name for role in self.roles)


class AppDryRunInfo(Generic[T, CfgT]):
    """Hold the request that a scheduler would submit; printing it shows the request.

    ``Scheduler._submit_dryrun`` creates it; ``Scheduler.submit_dryrun`` and ``Runner.dryrun`` then fill it in.

    Args:
        request: the request, in the scheduler's own type.
        fmt: formats the request as text.

    Attributes:
        app: the application, or ``None`` if the scheduler has not set it.
        cfg: the resolved run options, in the type that the scheduler declares (``Scheduler[Opts]``).
    """

    def __init__(self, request: T, fmt: Callable[[T], str]) -> None:
        self.request = request
        self.app: AppDef | None = None
        self.cfg: CfgT = cast(CfgT, {})
        self._fmt = fmt
        self._scheduler: str | None = None  # TorchX's schedulers read it
        self._workspace_plan: WorkspacePlan | None = None
        self._app_id = ""
        self._delivered: Mapping[str, Delivered] | None = None

    def fill_in(
        self,
        *,
        app: AppDef,
        cfg: Mapping[str, CfgVal],
        scheduler: str | None = None,
        app_id: str = "",
        workspace_plan: WorkspacePlan | None = None,
    ) -> None:
        """Set what the request was made from."""
        self.app, self.cfg, self._scheduler = app, cast(CfgT, cfg), scheduler
        self._app_id, self._workspace_plan = app_id, workspace_plan

    if not TYPE_CHECKING:

        def __class_getitem__(cls, params: Any) -> Any:
            """Accept one parameter too: before Python 3.13, a TypeVar has no default."""
            return super().__class_getitem__(params if isinstance(params, tuple) else (params, Mapping[str, Any]))

    # TorchX 0.7 has these two names.

    @property
    def _app(self) -> AppDef | None:
        return self.app

    @_app.setter
    def _app(self, app: AppDef | None) -> None:
        self.app = app

    @property
    def _cfg(self) -> CfgT:
        return self.cfg

    @_cfg.setter
    def _cfg(self, cfg: CfgT) -> None:
        self.cfg = cfg

    @property
    def scheduler(self) -> str | None:
        """The scheduler's name, or ``None`` if the runner has not set it."""
        return self._scheduler

    @property
    def app_id(self) -> str:
        """The application's id; empty if the backend chooses it when the application is submitted."""
        return self._app_id

    @property
    def workspace_plan(self) -> WorkspacePlan | None:
        """What has to be delivered before the request is submitted; ``None`` if nothing has to be."""
        return self._workspace_plan

    def deliver(self) -> Mapping[str, Delivered]:
        """Carry out the workspace plan, the first time; return what each role got, by role name.

        Raise ``WorkspaceChanged`` if the files are no longer what was planned; it can then be called again.
        """
        if self._delivered is None:
            self._delivered = self._workspace_plan.carry_out() if self._workspace_plan else {}
        return self._delivered

    def __repr__(self) -> str:
        return self._fmt(self.request)
