"""What the tests of the registry client share."""

import base64
import json
import random
from pathlib import Path

import pytest

from tests.support.certificates import certificates
from topcoat.registry import hosts
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry

__all__ = ["certificates"]


@pytest.fixture(autouse=True)
def etc(tmp_path_factory, monkeypatch):
    """Replace /etc, so that this machine's Docker configuration is not read."""
    directory = tmp_path_factory.mktemp("etc")
    monkeypatch.setattr(hosts, "_ETC", str(directory))
    return directory


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Record the seconds between attempts instead of waiting."""
    seconds = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


@pytest.fixture
def fake():
    """Start a registry without quirks."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client(fake):
    """Make a client of the fake registry."""
    with RegistryClient(fake.host) as client:
        yield client


def docker_login(home: Path, host: str, username: str = "tester", password: str = "s3cret", **keys: str) -> None:
    """Write what ``docker login`` writes."""
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    write_docker_config(home, {"auths": {host: {"auth": auth, **keys}}})


def write_docker_config(home: Path, document: object) -> Path:
    """Write Docker's config.json into the home directory of the test."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def request_log(registry: FakeRegistry) -> list[tuple[str, int]]:
    """Return method and status of each request, except those for tokens."""
    return [(r.method, r.status) for r in registry.requests if not r.path.startswith("/token")]


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Return *size* bytes, the same at every call."""
    return random.Random(seed).randbytes(size)
