"""Pushes to registries with the peculiarities of real ones: docs/registries.md names a test of this file for each."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.fake_bases import layer
from tests.support.images import fetch, stacked
from tests.support.inside import expected
from tests.support.pushing import plan, push
from topcoat.bases.base import Base, look_up
from topcoat.bases.registry_bases import RegistryBases
from topcoat.destinations.base import DeliveryResult
from topcoat.errors import (
    AuthenticationFailed,
    CredentialError,
    DaemonError,
    DaemonUnavailable,
    ImageNotFound,
    MissingDependency,
    RegistryError,
    RegistryUnavailable,
    TopcoatError,
)
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import DOCKER_MANIFEST, Manifest
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.tasks import TaskScope
from topcoat.testing.registry import QUIRKS, FakeRegistry

# These show only to somebody who logs in with a token.
_WITH_TOKENS = frozenset(
    {
        "access-token",
        "anonymous-limit",
        "first-scope-only",
        "no-oauth",
        "token-elsewhere",
        "two-challenges",
        "unauthorized-for-missing",
    }
)
# Here nothing can be pushed.
_REFUSING = frozenset({"quota-exceeded", "read-only"})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(100)})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


def _tar(name: str) -> bytes:
    return gzip.decompress(layer({name: name.encode()}))


def _base(fake: FakeRegistry, repository: str = "base", **options: Any) -> str:
    config = {"config": {"WorkingDir": "/w", "Env": ["A=b"]}}
    fake.add_image(repository, "1", config=config, layers=(_tar("one"), _tar("two"), _tar("one")), **options)
    return f"{fake.host}/{repository}:1"


def _log_in(fake: FakeRegistry, **entry: str) -> None:
    directory = Path(os.environ["DOCKER_CONFIG"])
    directory.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{fake.username}:{fake.password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {fake.host: entry or {"auth": auth}}}))


def _check(fake: FakeRegistry, workspace: Workspace, delivered: DeliveryResult) -> None:
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert stacked(fetch(fake, delivered.image, skip=3).layers[3:], "/w") == expected(snapshot)


def _push_thrice(fake: FakeRegistry, workspace: Workspace, base: str, where: str = "app") -> None:
    for number in range(3):
        _check(fake, workspace, push(workspace, base, f"{fake.host}/{where}"))
        workspaces.edit(workspace, f"f{number * 40}", new=b"edit")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("quirk", [None, *sorted(QUIRKS.keys() - _REFUSING)])
@pytest.mark.parametrize("where", ["base", "app"])
def test_every_kind_of_registry_gets_the_image(quirk: str | None, where: str, workspace: Workspace) -> None:
    auth = "bearer" if quirk in _WITH_TOKENS else "none"
    with FakeRegistry(quirks=[quirk] if quirk else [], auth=auth) as fake:
        if quirk == "no-oauth":
            _log_in(fake, identitytoken=fake.identity_token)
        elif auth == "bearer":
            _log_in(fake)
        if quirk == "closed-repositories":
            fake.add_repository("app")
        _push_thrice(fake, workspace, _base(fake), where)
        # A session that cannot be given up is forgotten by the registry in the end.
        assert fake.uploads == {} or quirk in ("no-cancel", "rate-limit", "rate-limit-date")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("quirk", sorted(QUIRKS.keys() - _REFUSING - {"no-index", "no-oci"}))
def test_every_kind_of_registry_gets_an_index(quirk: str, workspace: Workspace) -> None:
    with FakeRegistry(quirks={quirk}, auth="bearer") as fake:
        _log_in(fake, **({"identitytoken": fake.identity_token} if quirk == "no-oauth" else {}))
        fake.add_repository("app")
        platforms = ("linux/amd64", "linux/arm64")
        fake.add_index("base", "1", [fake.add_image("base", platform=platform, oci=True) for platform in platforms])
        for number in range(2):
            delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
            index = fake.manifest("app", delivered.image.rpartition(":")[2])
            assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
            workspaces.edit(workspace, f"f{number}", new=b"edit")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    "options",
    [
        {"auth": "basic"},
        {"auth": "bearer"},
        {"auth": "bearer", "token_seconds": 60},
        {"auth": "bearer", "token_uses": 20},
        {"auth": "bearer", "public": True},
        {"auth": "bearer", "identity_token": "another"},
        {"username": "00000000-0000-0000-0000-000000000000", "password": "p:w", "auth": "basic"},
        {"put_limit": 300_000},
        {"put_limit": 300_000, "minimum_chunk": 200_000},
        {"quirks": {"immutable-tags"}, "immutable_status": 412},
    ],
    ids=repr,
)
def test_every_kind_of_login_and_limit_is_met(options: dict[str, Any], workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "w/large").write_bytes(os.urandom(900_000))
    with FakeRegistry(**options) as fake:
        _log_in(fake, **({"identitytoken": "another"} if "identity_token" in options else {}))
        _push_thrice(fake, workspace, _base(fake))
        assert fake.uploads == {}


@pytest.mark.parametrize("quirk", ["rate-limit", "rate-limit-date"])
def test_a_rate_limit_is_waited_out(quirk: str, workspace: Workspace, waits: list[float]) -> None:
    with FakeRegistry(quirks={quirk}) as fake:
        _check(fake, workspace, push(workspace, _base(fake), f"{fake.host}/app"))
        limited = [request.method for request in fake.requests if request.status == 429]
        mounted = [request.status for request in fake.requests if "mount=" in request.path]
    assert sorted(limited) == ["GET", "HEAD", "POST", "PUT"]
    assert len([wait for wait in waits if wait > (1 if "date" in quirk else 0)]) >= 2
    # Nor is the base sent where it can be mounted.
    assert sorted(mounted) == [201, 201, 429]


def test_checking_an_unchanged_base_does_not_count_as_a_pull(workspace: Workspace) -> None:
    with FakeRegistry() as fake:
        base = _base(fake)
        push(workspace, base, f"{fake.host}/app")
        fake.quirks = frozenset({"anonymous-limit"})
        workspaces.edit(workspace, "f7")
        _check(fake, workspace, push(workspace, base, f"{fake.host}/app"))


@pytest.mark.usefixtures("waits")
def test_a_limit_of_pulls_without_a_login_says_to_log_in(workspace: Workspace) -> None:
    with FakeRegistry(quirks={"anonymous-limit"}) as fake:
        with pytest.raises(RegistryError, match="429") as raised:
            push(workspace, _base(fake), f"{fake.host}/app")
        assert f"docker login {fake.host}" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("quirk", "status", "hint"),
    [
        ("quota-exceeded", 403, "quota"),
        ("read-only", 405, "mirror"),
        ("closed-repositories", 404, "make the repository app first"),
    ],
)
def test_a_refused_push_has_a_hint(quirk: str, status: int, hint: str, workspace: Workspace) -> None:
    with FakeRegistry(quirks={quirk}) as fake:
        with pytest.raises(RegistryError, match=str(status)) as raised:
            push(workspace, _base(fake), f"{fake.host}/app")
        assert raised.value.status == status
        assert hint in (raised.value.hint or "")
        assert fake.repositories.get("app") is None or fake.repositories["app"].manifests == {}


@pytest.mark.parametrize(("quirk", "oci", "options"), [("no-oci", True, {}), ("no-index", False, {"platform": "all"})])
def test_an_old_registry_says_which_manifests_it_takes(
    quirk: str, oci: bool, options: dict[str, str], workspace: Workspace
) -> None:
    with FakeRegistry(quirks={quirk}) as fake:
        _base(fake, oci=oci)
        if quirk == "no-index":
            entries = [fake.add_image("base", platform=f"linux/{name}") for name in ("amd64", "arm64")]
            fake.add_index("base", "1", entries)
        with pytest.raises(RegistryError, match="manifest schema version") as raised:
            push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", **options)
        assert "Docker's format" in (raised.value.hint or "")


def test_an_anonymous_push_to_a_public_registry_says_to_log_in(workspace: Workspace) -> None:
    with FakeRegistry(auth="bearer", public=True) as fake:
        with pytest.raises(AuthenticationFailed, match="without a login") as raised:
            push(workspace, _base(fake), f"{fake.host}/app")
        assert f"docker login {fake.host}" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\nexec sleep 60\n", "did not finish"),
        ("#!/bin/sh\necho 'vault is sealed'\nexit 3\n", "vault is sealed"),
    ],
)
def test_a_helper_that_hangs_or_fails_does_not_hold_the_push_up(
    script: str, why: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin/docker-credential-vault"
    helper.parent.mkdir()
    helper.write_text(script)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("topcoat.registry.credentials._HELPER_TIMEOUT_S", 0.5)
    with FakeRegistry(auth="basic") as fake:
        directory = Path(os.environ["DOCKER_CONFIG"])
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text(json.dumps({"credHelpers": {fake.host: "vault"}}))
        with pytest.raises(CredentialError, match=why) as raised:
            push(workspace, _base(fake), f"{fake.host}/app")
        assert raised.value.hint


@pytest.mark.parametrize("status", [400, 403, 409, 412])
def test_a_tag_that_somebody_else_pushed_first_is_adopted(
    status: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeRegistry(quirks={"immutable-tags"}, immutable_status=status) as fake:
        base = _base(fake)
        planned = plan(workspace, base, f"{fake.host}/app")
        with TaskScope() as tasks:
            delivery = planned.place.destination.begin(planned.planned, "key", tasks)
        with delivery:
            # The first round has ended: it has not seen the tag.
            with monkeypatch.context() as patch:
                patch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
                # Another layering, and so another manifest for the same tag.
                first = push(workspace, base, f"{fake.host}/app", compression="gzip")
                data = fake.repositories["app"].manifests[first.digest][1] + b"\n"
                other = fake.store_manifest("app", planned.planned.tag, data, DOCKER_MANIFEST)
            assert delivery.finish().digest == other.digest


class TestABaseThatIsNotThere:
    """When the container engine of this machine is asked for it, and when it is not."""

    @pytest.fixture
    def asked(self) -> list[str]:
        return []

    @pytest.fixture
    def bases(self, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> RegistryBases:
        def find(client: object, name: str, platform: str) -> Base | None:
            asked.append(name)
            config = ImageConfig({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}})
            manifest = Manifest(DOCKER_MANIFEST, Descriptor("x", f"sha256:{'0' * 64}", 0), ())
            return Base(name, "", manifest, config, engine_id="sha256:id") if "there" in name else None

        monkeypatch.setattr("topcoat.bases.engine_base.engine_base", find)
        return RegistryBases(Clients(), contextlib.nullcontext)

    @pytest.mark.parametrize(
        ("quirk", "error"),
        [
            (None, ImageNotFound),
            ("denied-for-missing", AuthenticationFailed),
            ("unauthorized-for-missing", AuthenticationFailed),
        ],
    )
    def test_a_base_that_the_registry_denies_is_looked_up_in_the_engine(
        self, quirk: str | None, error: type[RegistryError], bases: RegistryBases, asked: list[str]
    ) -> None:
        auth = "bearer" if quirk in _WITH_TOKENS else "none"
        with FakeRegistry(quirks=[quirk] if quirk else [], auth=auth, public=True) as fake:
            name = f"{fake.host}/there:1"
            assert look_up(bases, name).engine_id
            assert asked == [name]
            assert "GET" in [request.method for request in fake.requests]
            with pytest.raises(error) as raised:
                look_up(bases, f"{fake.host}/nowhere:1")
            assert "container engine has no such image either" in (raised.value.hint or "")

    @pytest.mark.usefixtures("waits")
    def test_other_errors_of_a_registry_do_not_fall_back_to_the_engine(
        self, bases: RegistryBases, asked: list[str]
    ) -> None:
        with FakeRegistry() as fake:
            fake.fail(500, times=99)
            with pytest.raises(RegistryError, match="500"):
                look_up(bases, f"{fake.host}/there:1")
            closed = f"{fake.host}/there:1"
        with pytest.raises(RegistryUnavailable):
            look_up(bases, closed)
        assert asked == []

    def test_a_name_without_a_host_means_the_engine_too_when_offline(
        self, bases: RegistryBases, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeRegistry() as fake:
            host = fake.host
        # Docker Hub cannot be reached.
        monkeypatch.setattr("topcoat.bases.registry_bases.HUB", host)
        assert look_up(bases, f"{host}/there:1").engine_id
        with pytest.raises(RegistryUnavailable, match="cannot connect to") as raised:
            look_up(bases, f"{host}/nowhere:1")
        assert "container engine has no such image either" in (raised.value.hint or "")
        assert len(asked) == 2

    def test_an_id_is_the_engines_business_alone(self, bases: RegistryBases, asked: list[str]) -> None:
        with pytest.raises(ImageNotFound, match="registries do not know such ids") as raised:
            look_up(bases, f"sha256:{'a' * 64}")
        assert "docker images" in (raised.value.hint or "")
        assert asked == [f"sha256:{'a' * 64}"]

    @pytest.mark.usefixtures("no_engine")
    @pytest.mark.parametrize("quirk", ["denied-for-missing", None])
    def test_without_an_engine_the_registrys_error_is_raised(self, quirk: str | None, workspace: Workspace) -> None:
        with FakeRegistry(quirks=[quirk] if quirk else []) as fake:
            with pytest.raises((ImageNotFound, AuthenticationFailed)) as raised:
                push(workspace, f"{fake.host}/nowhere:1", f"{fake.host}/app")
            assert "cannot connect to the container engine" in (raised.value.hint or "")
            assert ("docker login" if quirk else "spelling") in (raised.value.hint or "")

    @pytest.mark.parametrize("kind", [DaemonError, DaemonUnavailable, MissingDependency])
    def test_an_engine_that_fails_does_not_hide_what_the_registry_said(self, kind: type[TopcoatError]) -> None:
        @contextlib.contextmanager
        def broken() -> Iterator[Any]:
            raise kind("the engine is on fire", hint="call somebody")
            yield

        with FakeRegistry() as fake, pytest.raises(ImageNotFound, match="there is no image") as raised:
            look_up(RegistryBases(Clients(), broken), f"{fake.host}/nowhere:1")
        assert "on fire (call somebody)" in (raised.value.hint or "")
