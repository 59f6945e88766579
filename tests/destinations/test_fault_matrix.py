"""Every fault at every request of a push: it ends in the right image or in one clear error, and the rerun is right.

``TOPCOAT_FAULT_CASES`` is the number of cases of each kind of push, ``all`` for every one; ``TOPCOAT_FAULT_SEED``
chooses them.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.images import Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.fake_bases import layer
from tests.support.images import fetch, stacked
from tests.support.inside import expected
from tests.support.pushing import fresh, push
from topcoat.destinations.base import DeliveryResult
from topcoat.errors import TopcoatError
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.testing.fault_proxy import FaultProxy
from topcoat.testing.faults import FAULTS
from topcoat.testing.registry import FakeRegistry

_CASES = os.environ.get("TOPCOAT_FAULT_CASES", "60")
_SEED = int(os.environ.get("TOPCOAT_FAULT_SEED", "1"))
# Retries make a push longer than it is without faults.
_EXTRA_REQUESTS = 2
# With the limits below; the clock decides nothing else here.
_MAX_SECONDS = 30.0
_FILES = {f"src/f{number}.py": f"x = {number}\n" * 200 for number in range(12)}
_EDITED = "src/f3.py"


@pytest.fixture(autouse=True)
def _no_first_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topcoat.registry.transport._FIRST_WAIT_S", 0.0)


@contextlib.contextmanager
def low_limits() -> Iterator[None]:
    """Wait not long for a push with a fault. One without a fault has the real limits: the machine may be slow."""
    limits = {
        "http.pool.RESPONSE_TIMEOUT_S": 0.4,
        "http.pool.CONNECT_TIMEOUT_S": 1.0,
        "http.pool._DRAIN_TIMEOUT_S": 0.05,
        "http.rate.NOTICE_AFTER_S": 0.2,
        "http.rate.WINDOW_S": 0.3,
        "registry.failures._ERROR_TIMEOUT_S": 0.2,
        "registry.transport._INSECURE_TLS_TIMEOUT_S": 0.3,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(f"topcoat.{name}", value)
        yield


class Setting:
    """A workspace, a cache, and registries, which go back to how they were before each push."""

    def __init__(self, kind: str, root: Path, target: FakeRegistry, source: FakeRegistry) -> None:
        self.kind, self.root, self.target, self.source = kind, root, target, source
        self.faulty = source if kind == "streamed, source" else target
        config = {"config": {"WorkingDir": "/w"}}
        self.base_layers = [gzip.decompress(layer({name: os.urandom(500)})) for name in ("one", "two")]
        base_registry = source if kind.startswith("streamed") else target
        base_registry.add_image("base", "1", config=config, layers=self.base_layers)
        self.base = f"{base_registry.host}/base:1"
        self.workspace = workspaces.write(root / "w", dict(_FILES))
        if kind in ("edit", "no-op"):
            self.push()
        if kind == "edit":
            workspaces.edit(self.workspace, _EDITED)
        self._saved = [self._state(registry) for registry in (target, source)]
        shutil.copytree(self._cache, root / "saved") if self._cache.exists() else (root / "saved").mkdir()

    @property
    def _cache(self) -> Path:
        return Path(os.environ["XDG_CACHE_HOME"])

    @staticmethod
    def _state(registry: FakeRegistry) -> tuple[Any, Any]:
        return copy.deepcopy(registry.repositories), dict(registry.blobs)

    def restore(self) -> None:
        for registry, (repositories, blobs) in zip((self.target, self.source), self._saved, strict=True):
            registry.end_faults()
            registry.repositories, registry.blobs = copy.deepcopy(repositories), dict(blobs)
            registry.uploads.clear()
            registry.requests.clear()
        shutil.rmtree(self._cache, ignore_errors=True)
        shutil.copytree(self.root / "saved", self._cache)

    def push(self) -> DeliveryResult:
        return push(self.workspace, self.base, f"{self.target.host}/app")

    def check(self, delivered: DeliveryResult) -> None:
        """Pull everything that was pushed, and compare it with the workspace and the base."""
        tag = delivered.image.rpartition(":")[2]
        assert delivered.digest == self.target.repositories["app"].tags[tag]
        manifest = self.target.manifest("app", tag)
        blobs: Any = [manifest["config"], *manifest["layers"]]  # type: ignore[misc]
        assert {blob["digest"] for blob in blobs} <= self.target.repositories["app"].blobs
        fetched = fetch(self.target, delivered.image, skip=len(self.base_layers))
        count = len(self.base_layers)
        snapshot = scan(self.workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
        assert stacked(fetched.layers[count:], "/w") == expected(snapshot, 0, 0)
        assert [self.target.blobs[blob["digest"]] for blob in blobs[1 : count + 1]] == self.base_layers


@pytest.fixture(params=["cold", "edit", "no-op", "streamed, target", "streamed, source"])
def setting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FakeRegistry() as target, FakeRegistry() as source:
        yield Setting(request.param, tmp_path, target, source)


def _cases(request_count: int) -> list[tuple[str, int]]:
    cases = [(fault, at) for fault in FAULTS for at in range(1, request_count + _EXTRA_REQUESTS + 1)]
    if _CASES == "all":
        return cases
    return random.Random(_SEED).sample(cases, min(int(_CASES), len(cases)))


def test_every_fault_ends_in_the_right_image_or_in_one_clear_error(setting: Setting) -> None:
    setting.restore()
    setting.check(setting.push())
    wrong = []
    for fault, at in _cases(len(setting.faulty.requests)):
        setting.restore()
        setting.faulty.faults.inject(fault, at=at)
        start = time.monotonic()
        try:
            with low_limits():
                delivered = setting.push()
            setting.check(delivered)
        except TopcoatError as error:
            text = f"{error}\n{error.hint or ''}"
            if not str(error) or not all(line.isprintable() for line in text.split("\n")):
                wrong.append(f"{fault} at {at}: an error that cannot be shown: {text!r}")
        except Exception as error:
            wrong.append(f"{fault} at {at}: {error!r:.500}")
        seconds = time.monotonic() - start
        if seconds > _MAX_SECONDS:
            wrong.append(f"{fault} at {at}: took {seconds:.0f} s")
        for registry in (setting.target, setting.source):
            registry.end_faults()
        try:
            setting.check(setting.push())
        except Exception as error:
            wrong.append(f"{fault} at {at}, again without it: {error!r:.500}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_edit_through_a_proxy_with_faults_to_a_real_registry(
    registry: Registry, busybox_image: Image, tmp_path: Path, fault: str
) -> None:
    base = pushed(registry, busybox_image, config={"WorkingDir": "/w"})
    workspace = workspaces.write(tmp_path / "w", dict(_FILES))
    with FaultProxy(registry.host) as proxy:
        repository = fresh(registry)
        name = repository.partition("/")[2]
        target = f"{proxy.host}/{name}"
        push(workspace, base, target)
        # Without the base, which is asked for directly: HEAD of two tags, two sessions, two blobs, one manifest.
        for at in random.Random(_SEED).sample(range(1, 8), 7 if _CASES == "all" else 2):
            for attempt in range(5):
                workspaces.edit(workspace, _EDITED, new=f"{fault} {at} {attempt}".encode())
                proxy.faults.inject(fault, at=at)
                with contextlib.suppress(TopcoatError), low_limits():
                    push(workspace, base, target)
                injected = proxy.faults.injected
                proxy.end_faults()
                # On a busy machine, a response may be too late before the request that is meant.
                if injected:
                    break
            assert injected == 1
            delivered = push(workspace, base, target)
            fetched = fetch(registry, f"{repository}:{delivered.image.rpartition(':')[2]}", skip=1)
            snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
            assert stacked(fetched.layers[1:], "/w") == expected(snapshot, 0, 0)
            assert fetched.digest == delivered.digest
