"""A namespace of the real cluster for each test, and a runner that submits to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.components.images import Image, Pushed
from tests.components.kubernetes import Kubernetes
from tests.components.registries import Registry
from topcoat.runner import Runner
from topcoat.specs import AppDef, AppState, AppStatus, CfgVal, Resource, Role

T = TypeVar("T")
TIMEOUT_S = 60


def wait(check: Callable[[], T], timeout: float = TIMEOUT_S) -> T:
    """Wait until *check* returns something true, and return it."""
    deadline = time.monotonic() + timeout
    while not (result := check()):
        assert time.monotonic() < deadline, "the cluster did not get there"
        time.sleep(0.1)
    return result


class Jobs:
    """Submit applications to one namespace."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, runner: Runner, image: str) -> None:
        self.cluster = kubernetes
        self.namespace = namespace
        self.runner = runner
        self.image = image

    def role(self, script: str, name: str = "trainer", replicas: int = 1, **fields: Any) -> Role:
        """Return a role that runs a shell script in a small container."""
        script = script.replace("$", "$$")
        fields.setdefault("resource", Resource(cpu=-1, gpu=0, memMB=32))
        fields.setdefault("image", self.image)
        return Role(name, entrypoint="sh", args=["-c", script], num_replicas=replicas, **fields)

    def submit(self, *roles: Role, name: str = "app", **cfg: CfgVal) -> str:
        """Submit an application and return its handle."""
        options: dict[str, CfgVal] = {"namespace": self.namespace, "reserved_memmb": 0, **cfg}
        return self.runner.run(AppDef(name, list(roles)), "kubernetes", options)

    def status(self, handle: str) -> AppStatus:
        status = self.runner.status(handle)
        assert status is not None
        return status

    def wait(self, handle: str, *states: AppState) -> AppStatus:
        """Wait until an application is in one of *states*, by default in a terminal one, and return its status."""

        def arrived() -> AppStatus | None:
            status = self.status(handle)
            return status if status.state in states or (not states and status.is_terminal()) else None

        status = wait(arrived)
        assert status is not None
        return status

    def log(self, handle: str, role: str = "trainer", replica: int = 0, **query: Any) -> list[str]:
        """Follow the log of a replica to its end."""
        return list(self.runner.log_lines(handle, role, replica, should_tail=True, **query))

    def log_has(self, handle: str, text: str, role: str = "trainer") -> bool:
        """Tell whether the log of a role's first replica has *text*."""
        return any(text in line for line in self.runner.log_lines(handle, role, 0))

    def get(self, *args: str) -> Any:
        """Return what ``kubectl get ARGS -o json`` prints for the namespace."""
        return self.cluster.get("-n", self.namespace, *args)

    def pods(self) -> list[Any]:
        items: list[Any] = self.get("pods")["items"]
        return items

    def bound_pods(self) -> list[Any]:
        return [pod for pod in self.pods() if "nodeName" in pod["spec"]]

    def clear(self) -> None:
        """Delete what runs, so that the node has room for the next test."""
        kinds = "jobs,pods,podgroups"
        self.cluster.ctl.call("-n", self.namespace, "delete", kinds, "--all", "--wait=false", "--grace-period=1")


@pytest.fixture
def on_cluster(
    kubernetes: Kubernetes, registry: Registry, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Jobs]:
    """A new namespace of the cluster, with busybox as the image of its jobs."""
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    image = busybox_image.push(registry, "kubernetes-busybox").reference
    with Runner("topcoat") as runner:
        jobs = Jobs(kubernetes, kubernetes.make_namespace(), runner, image)
        with contextlib.ExitStack() as stack:
            stack.callback(jobs.clear)
            yield jobs


@pytest.fixture(scope="session")
def python_base(registry: Registry, python_image: Image) -> Pushed:
    return python_image.push(registry, "kubernetes-python")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    return directory
