"""What the tests of the registry client share."""

import base64
import json
import random
from pathlib import Path

import pytest

from tests.support.certificates import make_certificates
from topcoat.registry import hosts
from topcoat.registry.client import RegistryClient
from topcoat.testing.registry import FakeRegistry


@pytest.fixture(autouse=True)
def etc(tmp_path_factory, monkeypatch):
    """Stand in for /etc, so that this machine's Docker does not matter."""
    directory = tmp_path_factory.mktemp("etc")
    monkeypatch.setattr(hosts, "_ETC", str(directory))
    return directory


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that would have been waited between attempts."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


@pytest.fixture
def fake():
    """A registry without peculiarities."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client(fake):
    """A client of it."""
    with RegistryClient(fake.host) as client:
        yield client


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate authority of our own, and a certificate for loopback that it signed."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


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


def asked(registry: FakeRegistry) -> list[tuple[str, int]]:
    """Return method and status of each request, tokens left out."""
    return [(r.method, r.status) for r in registry.requests if not r.path.startswith("/token")]


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Return *size* bytes that are the same each time."""
    return random.Random(seed).randbytes(size)
