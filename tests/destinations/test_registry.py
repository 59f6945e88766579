"""What a push asks and sends, on real registries, and what it does when they lose things or refuse."""

from __future__ import annotations

import gzip
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.components.images import Image, Pushed
from tests.components.recorder import Recording
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.fake_bases import layer
from tests.support.images import fetch, names, stacked
from tests.support.inside import expected
from tests.support.pushing import fresh, plan, push
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.registry import RegistryDestination
from topcoat.destinations.registry_delivery import PreparedImage
from topcoat.errors import (
    AuthenticationFailed,
    ImageNotFound,
    RegistryError,
    RegistryUnavailable,
    TopcoatError,
    WorkspaceChanged,
)
from topcoat.images.options import image_options
from topcoat.oci.reference import Reference
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import Layer, Packed, pack
from topcoat.pack.layer_cache import LayerCache
from topcoat.pack.tar import Ownership
from topcoat.pipeline.plans import PatchPlan
from topcoat.registry.client import RegistryClient
from topcoat.registry.clients import Clients
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.tasks import TaskScope
from topcoat.testing.registry import FakeRegistry

_EDITED = "src/pkg10/mod00610.py"


@pytest.fixture
def base(registry: Registry, busybox_image: Image) -> Pushed:
    return pushed(registry, busybox_image, config={"WorkingDir": "/w"})


def _other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))


def _blob_puts(log: Recording) -> list[int]:
    """Return the sizes of the blobs that were uploaded."""
    return [exchange.sent for exchange in log if exchange.method == "PUT" and "/blobs/uploads/" in exchange.path]


class TestRequestsAndBytes:
    """Of the edit loop, on a workspace of some 20 MB."""

    @pytest.fixture(autouse=True)
    def _on_a_slow_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A delivery that takes long looks again whether the tag has moved meanwhile."""
        monkeypatch.setattr("topcoat.destinations.registry_delivery._MAX_UNCHECKED_S", 60.0)

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        return workspaces.bulk(tmp_path / "w")

    @pytest.fixture
    def repository(self, registry: Registry) -> str:
        return fresh(registry)

    @pytest.fixture
    def first(self, registry: Registry, workspace: Workspace, base: Pushed, repository: str) -> Recording:
        with registry.recording() as log:
            push(workspace, base, repository)
        return log

    def test_an_unchanged_workspace_sends_two_head_requests(
        self, registry: Registry, workspace: Workspace, base: Pushed, repository: str, first: Recording
    ) -> None:
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        tag = delivered.image.rpartition(":")[2]
        name = repository.partition("/")[2]
        assert sorted(log.lines) == sorted(
            [("HEAD", f"/v2/{base.repository}/manifests/1", 200), ("HEAD", f"/v2/{name}/manifests/{tag}", 200)]
        )
        assert (delivered.sent, delivered.layers, delivered.digest) == (0, 0, fetch(registry, delivered.image).digest)

    def test_an_unchanged_workspace_over_a_digest_sends_one_head_request(
        self, registry: Registry, workspace: Workspace, base: Pushed, repository: str
    ) -> None:
        push(workspace, base.by_digest, repository)
        with registry.recording() as log:
            push(workspace, base.by_digest, repository)
        assert [(exchange.method, exchange.status) for exchange in log] == [("HEAD", 200)]

    def test_an_edit_sends_eight_requests_and_one_small_layer(
        self, registry: Registry, workspace: Workspace, base: Pushed, repository: str, first: Recording
    ) -> None:
        workspaces.edit(workspace, _EDITED)
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        kinds = [(exchange.method, "manifests" if "/manifests/" in exchange.path else "uploads") for exchange in log]
        head, post, put = ("HEAD", "manifests"), ("POST", "uploads"), ("PUT", "uploads")
        assert sorted(kinds[:-1]) == [head] * 3 + [post] * 2 + [put] * 2
        assert kinds.index(put) > len(kinds) - 1 - kinds[::-1].index(head)
        assert kinds[-1] == ("PUT", "manifests")
        assert log.sent < first.sent / 1000
        assert delivered.layers == 1
        _check(registry, workspace, delivered)

    def test_every_edit_sends_eight_requests_and_undoing_it_restores_the_tag(
        self, registry: Registry, workspace: Workspace, base: Pushed, repository: str, first: Recording
    ) -> None:
        seen = {push(workspace, base, repository).image}
        for number, name in enumerate([_EDITED, "src/pkg03/mod00200.py", _EDITED]):
            workspaces.edit(workspace, name, new=b"edit %d" % number)
            with registry.recording() as log:
                delivered = push(workspace, base, repository)
            assert len(log) == 8
            assert log.sent < first.sent / 500
            assert delivered.image not in seen
            _check(registry, workspace, delivered)
            seen.add(delivered.image)
        workspaces.bulk(Path(next(iter(workspace.projects))))
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        assert delivered.image in seen
        assert _blob_puts(log) == []

    def test_an_edit_on_a_machine_without_state_uploads_one_code_layer(
        self,
        registry: Registry,
        workspace: Workspace,
        base: Pushed,
        repository: str,
        first: Recording,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        workspaces.edit(workspace, _EDITED)
        _other_machine(monkeypatch, tmp_path)
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        config, layer = sorted(_blob_puts(log))
        assert config < 10_000 < layer < first.sent / 10
        _check(registry, workspace, delivered)

    def test_a_deletion_uploads_one_code_layer(
        self, registry: Registry, workspace: Workspace, base: Pushed, repository: str, first: Recording
    ) -> None:
        Path(next(iter(workspace.projects)), _EDITED).unlink()
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        config, layer = sorted(_blob_puts(log))
        assert config < 10_000 < layer < first.sent / 10
        assert len(log) <= 9
        _check(registry, workspace, delivered)

    def test_a_colleagues_push_is_adopted(
        self,
        registry: Registry,
        workspace: Workspace,
        base: Pushed,
        repository: str,
        first: Recording,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        _other_machine(monkeypatch, tmp_path)
        with registry.recording() as log:
            delivered = push(workspace, base, repository)
        assert {exchange.method for exchange in log} == {"HEAD", "GET"}
        assert (delivered.sent, delivered.layers) == (0, 0)


def _check(
    registry: Registry | FakeRegistry, workspace: Workspace, delivered: DeliveryResult, skip: int = 1, **options: Any
) -> None:
    """Compare the code layers of an image with the workspace."""
    image = image_options(options)
    tars = fetch(registry, delivered.image, skip=skip).layers[skip:]
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, image.modes, image.mtimes)).snapshot
    owner = image.owner or Ownership()
    assert stacked(tars, image.workspace_dir or "/w") == expected(snapshot, owner.uid, owner.gid)


def test_base_and_tag_are_asked_for_side_by_side(
    registry: Registry, base: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    repository = fresh(registry)
    push(workspace, base, repository)
    both = threading.Barrier(2, timeout=20)
    ask = RegistryClient.head_manifest

    def asks_when_both_do(*args: Any) -> Any:
        both.wait()
        return ask(*args)

    monkeypatch.setattr(RegistryClient, "head_manifest", asks_when_both_do)
    assert push(workspace, base, repository).sent == 0


def test_two_bases_of_one_workspace_do_not_disturb_each_other(
    registry: Registry, base: Pushed, busybox_image: Image, tmp_path: Path
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    other = pushed(registry, busybox_image, config={"WorkingDir": "/w", "User": "7"})
    repository = fresh(registry)
    for item in (base, other):
        push(workspace, item, repository)
    for item in (base, other):
        with registry.recording() as log:
            push(workspace, item, repository)
        assert [(method, status) for method, _, status in log.lines] == [("HEAD", 200)] * 2


def test_two_workspaces_called_dot_do_not_disturb_each_other(
    registry: Registry, base: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, dot = fresh(registry), Workspace({".": ""})
    for name in ("one", "two"):
        workspaces.write(tmp_path / name, {f"{name}.py": "pass\n" * 200, "b.py": f"# {name}\n"})
        monkeypatch.chdir(tmp_path / name)
        push(dot, base, repository)
    monkeypatch.chdir(tmp_path / "one")
    workspaces.edit(dot, "b.py")
    layer = fetch(registry, push(dot, base, repository).image, skip=1).layers[-1]
    assert names(layer) == {"w", "w/b.py"}


@pytest.mark.parametrize(
    ("options", "name", "uid"),
    [
        ({"workspace_dir": "/elsewhere"}, "elsewhere/a.py", 0),
        ({"chown": "5"}, "w/a.py", 5),
        ({"mtime": "preserve"}, "w/a.py", 0),
    ],
)
def test_layers_packed_with_other_options_are_not_taken_for_these(
    tmp_path: Path, options: dict[str, Any], name: str, uid: int
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n", "b.py": "pass\n"})
    os.utime(tmp_path / "w/a.py", (10**9, 10**9))
    with FakeRegistry() as fake:
        base = _fake_base(fake)
        for chosen in ({}, options, {}):
            code = fetch(fake, push(workspace, base, f"{fake.host}/app", **chosen).image, skip=3).code(3)
            members_by_name = {member.name: member for layer in code for member in layer}
            wanted = name if chosen else "w/a.py"
            assert [member for member in members_by_name if member.endswith("a.py")] == [wanted]
            assert members_by_name[wanted].uid == (uid if chosen else 0)
            assert (members_by_name[wanted].mtime == 10**9) == ("mtime" in chosen)
            workspaces.edit(workspace, "b.py", new=os.urandom(2).hex().encode())


def test_a_base_that_moved_under_its_tag_is_noticed(registry: Registry, busybox_image: Image, tmp_path: Path) -> None:
    name, repository = registry.unique("moving"), fresh(registry)
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    old = busybox_image.push(registry, name, "1", config={"WorkingDir": "/w"})
    first = push(workspace, old, repository)

    busybox_image.push(registry, name, "1", config={"WorkingDir": "/w", "Env": ["NEW=1"]})
    with registry.recording() as log:
        second = push(workspace, old, repository)

    assert second.image != first.image
    assert "NEW=1" in fetch(registry, second.image, skip=1).config["config"]["Env"]
    # The same layers: nothing but a config is sent.
    assert (second.layers, len(_blob_puts(log))) == (0, 1)


def test_a_base_in_the_targets_repository_costs_nothing(
    registry: Registry, busybox_image: Image, tmp_path: Path
) -> None:
    base = busybox_image.push(registry, registry.unique("shared"), "1", config={"WorkingDir": "/w"})
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    # Where the code lands is looked up once for a base: that is another test's.
    plan(workspace, base, base.name)
    with registry.recording() as log:
        delivered = push(workspace, base, base.name)
    assert [exchange.path for exchange in log if busybox_image.layers[0].digest in exchange.path] == []
    assert len(_blob_puts(log)) == 2
    _check(registry, workspace, delivered)


def test_a_base_in_another_repository_is_mounted(registry: Registry, python_image: Image, tmp_path: Path) -> None:
    base, repository = pushed(registry, python_image), fresh(registry)
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with registry.recording() as log:
        push(workspace, base, repository)
    mounts = [exchange for exchange in log if "mount=" in exchange.path]
    assert [mount.status for mount in mounts] == [201, 201, 201]
    assert log.received + log.sent < 50_000

    workspaces.edit(workspace, "a.py")
    with registry.recording() as log:
        push(workspace, base, repository)
    assert [exchange for exchange in log if "mount=" in exchange.path] == []


def test_a_base_in_another_registry_is_streamed_through(
    registry: Registry, registry3: Registry, python_image: Image, tmp_path: Path
) -> None:
    base = pushed(registry, python_image, config={"WorkingDir": "/w"})
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    repository = fresh(registry3)
    # Where the code lands is looked up once for a base: that is another test's.
    plan(workspace, base, repository)
    with registry.recording() as source, registry3.recording() as target:
        delivered = push(workspace, base, repository)
    size = sum(layer.size for layer in python_image.layers)
    assert source.received == size
    assert size < target.sent < size + 20_000
    assert target.count("PATCH") == 0
    _check(registry3, workspace, delivered, skip=3)

    workspaces.edit(workspace, "a.py")
    with registry.recording() as source, registry3.recording() as target:
        delivered = push(workspace, base, repository)
    assert source.lines == [("HEAD", f"/v2/{base.repository}/manifests/1", 200)]
    assert target.sent < 20_000
    _check(registry3, workspace, delivered, skip=3)


class TestLostContent:
    """What was pushed is gone: it is noticed, and pushed again."""

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        return workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(200)})

    @pytest.mark.parametrize("lost", ["layer", "config", "base layer"])
    def test_a_lost_blob_is_pushed_again(
        self, any_registry: Registry, busybox_image: Image, workspace: Workspace, lost: str
    ) -> None:
        registry = any_registry
        base = pushed(registry, busybox_image, config={"WorkingDir": "/w"})
        repository = fresh(registry)
        fetched = fetch(registry, push(workspace, base, repository).image)
        digest = {
            "layer": fetched.manifest["layers"][2]["digest"],
            "config": fetched.manifest["config"]["digest"],
            "base layer": fetched.manifest["layers"][0]["digest"],
        }[lost]
        name = repository.partition("/")[2]
        assert registry.request("DELETE", f"/v2/{name}/blobs/{digest}").status == 202

        workspaces.edit(workspace, "f100")
        delivered = push(workspace, base, repository)

        _check(registry, workspace, delivered)
        assert fetch(registry, delivered.image).config["config"]["WorkingDir"] == "/w"

    def test_a_lost_blob_is_pushed_again_by_a_machine_without_state(
        self, registry: Registry, base: Pushed, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository = fresh(registry)
        fetched = fetch(registry, push(workspace, base, repository).image)
        layer = fetched.manifest["layers"][2]["digest"]
        name = repository.partition("/")[2]
        assert registry.request("DELETE", f"/v2/{name}/blobs/{layer}").status == 202
        workspaces.edit(workspace, "f0")
        _other_machine(monkeypatch, tmp_path)
        _check(registry, workspace, push(workspace, base, repository))

    def test_a_lost_tag_is_pushed_again(self, registry: Registry, base: Pushed, workspace: Workspace) -> None:
        repository = fresh(registry)
        first = push(workspace, base, repository)
        name = repository.partition("/")[2]
        assert registry.request("DELETE", f"/v2/{name}/manifests/{first.digest}").status == 202
        again = push(workspace, base, repository)
        assert (again.image, again.digest) == (first.image, first.digest)
        _check(registry, workspace, again)

    def test_a_lost_repository_is_pushed_again(self, workspace: Workspace) -> None:
        with FakeRegistry() as fake:
            base = _fake_base(fake)
            first = push(workspace, base, f"{fake.host}/app")
            fake.repositories.clear()
            fake.blobs.clear()
            assert _fake_base(fake) == base
            workspaces.edit(workspace, "f7")
            _check(fake, workspace, push(workspace, base, f"{fake.host}/app"), skip=3)
            assert first.image

    def test_a_lost_layer_below_the_hot_layer_is_pushed_again(self, workspace: Workspace) -> None:
        with FakeRegistry() as fake:
            base = _fake_base(fake)
            push(workspace, base, f"{fake.host}/app")
            workspaces.edit(workspace, "f7", new=b"first edit")
            hot = fetch(fake, push(workspace, base, f"{fake.host}/app").image)
            fake.lose_blob(hot.manifest["layers"][3]["digest"])
            workspaces.edit(workspace, "f8", new=b"second edit")
            _check(fake, workspace, push(workspace, base, f"{fake.host}/app"), skip=3)


def _fake_base(fake: FakeRegistry, repository: str = "base", **options: Any) -> str:
    settings = {"config": {"WorkingDir": "/w", "Env": ["A=b"]}}
    one, two = [gzip.decompress(layer({name: name.encode()})) for name in ("one", "two")]
    fake.add_image(repository, "1", config=settings, layers=(one, two, one), **options)
    return f"{fake.host}/{repository}:1"


def _log_in(host: str, username: str, password: str) -> None:
    import base64
    import json
    import os

    directory = Path(os.environ["DOCKER_CONFIG"])
    directory.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


@pytest.mark.parametrize(
    "trouble",
    [
        lambda fake: fake.fail(503, times=2, method="PUT", path="/blobs/uploads/"),
        lambda fake: fake.fail(500, method="PUT", path="/manifests/"),
        lambda fake: fake.fail(429, method="POST", headers={"Retry-After": "0"}),
        lambda fake: fake.fail(502, method="HEAD", path="/app/"),
        lambda fake: fake.cut(times=2, method="PUT", path="/blobs/uploads/", after=100),
        lambda fake: fake.cut(method="PUT", path="/manifests/"),
        lambda fake: fake.cut(times=2, method="POST"),
    ],
)
def test_passing_trouble_is_overcome(trouble: Callable[[FakeRegistry], None], tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n" * 500, "b.py": "b"})
    with FakeRegistry() as fake:
        base = _fake_base(fake)
        push(workspace, base, f"{fake.host}/app")
        workspaces.edit(workspace, "a.py")
        trouble(fake)
        _check(fake, workspace, push(workspace, base, f"{fake.host}/app"), skip=3)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (lambda fake: fake.fail(403, times=99, method="PUT", path="/blobs/uploads/"), RegistryError),
        (lambda fake: fake.fail(403, times=99, method="PUT", path="/manifests/"), RegistryError),
        (lambda fake: fake.fail(403, times=99, method="POST"), RegistryError),
        (lambda fake: fake.fail(404, times=99, method="HEAD", path="/base/manifests/"), ImageNotFound),
        (lambda fake: fake.fail(401, times=99), AuthenticationFailed),
    ],
)
def test_lasting_trouble_is_one_error_and_leaves_nothing_behind(
    trouble: Callable[[FakeRegistry], None], kind: type[TopcoatError], tmp_path: Path
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n" * 500, "b.py": "b"})
    with FakeRegistry() as fake:
        base = _fake_base(fake)
        push(workspace, base, f"{fake.host}/app")
        manifests = dict(fake.repositories["app"].manifests)
        workspaces.edit(workspace, "a.py")
        trouble(fake)
        with pytest.raises(kind) as raised:
            push(workspace, base, f"{fake.host}/app")
        assert raised.value.hint
        assert fake.repositories["app"].manifests == manifests
        assert not [thread for thread in threading.enumerate() if thread.name == "topcoat-task"]
        assert not any(upload.content for upload in fake.uploads.values())


def test_sessions_that_were_opened_early_are_given_up_when_the_base_is_gone(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with FakeRegistry() as fake:
        base = _fake_base(fake)
        push(workspace, base, f"{fake.host}/app")
        workspaces.edit(workspace, "a.py")
        fake.repositories["base"].tags.clear()
        with pytest.raises(ImageNotFound):
            push(workspace, base, f"{fake.host}/app")
        assert [request.method for request in fake.requests].count("DELETE") == 2
        assert fake.uploads == {}


def test_a_colleague_may_push_the_same_tag_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {f"f{number}": f"{number}\n" * 9000 for number in range(60)}
    workspace = workspaces.write(tmp_path / "w", content)
    with FakeRegistry(quirks={"immutable-tags"}) as fake:
        base = _fake_base(fake)
        push(workspace, base, f"{fake.host}/app")
        workspaces.edit(workspace, "f7")
        planned = plan(workspace, base, f"{fake.host}/app")
        with TaskScope() as tasks:
            delivery = planned.place.destination.begin(planned.planned, planned.workspace_key, tasks)
        with delivery:
            # The first round has ended: it has not seen the tag.
            with monkeypatch.context() as patch:
                patch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
                colleagues = push(workspace, base, f"{fake.host}/app", hot=False)
            delivered = delivery.finish()

        assert (delivered.image, delivered.digest) == (colleagues.image, colleagues.digest)
        _check(fake, workspace, delivered, skip=3)


def test_a_missing_base_is_an_error_with_a_hint(registry: Registry, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with pytest.raises(ImageNotFound, match=r"no-such-image:1") as raised:
        push(workspace, f"{registry.host}/no-such-image:1", fresh(registry))
    assert raised.value.hint


def test_a_base_that_only_an_engine_knows(registry: Registry, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with pytest.raises(ImageNotFound, match="container engine") as raised:
        push(workspace, f"sha256:{'a' * 64}", fresh(registry))
    assert "push" in (raised.value.hint or "")


def test_a_registry_that_is_down_is_an_error_with_a_hint(registry: Registry, base: Pushed, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with FakeRegistry() as fake:
        closed = fake.host
    with pytest.raises(RegistryUnavailable, match=closed) as raised:
        push(workspace, base, f"{closed}/app")
    assert raised.value.hint


class TestLogin:
    """A registry with TLS and Basic authentication."""

    @pytest.fixture
    def there(self, tls_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
        monkeypatch.setenv("SSL_CERT_FILE", str(tls_registry.ca_file))
        return tls_registry

    def test_the_right_password_pushes(self, there: Registry, busybox_image: Image, tmp_path: Path) -> None:
        base = pushed(there, busybox_image, config={"WorkingDir": "/w"})
        workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
        assert there.username is not None
        assert there.password is not None
        _log_in(there.host, there.username, there.password)
        _check(there, workspace, push(workspace, base, fresh(there)))

    @pytest.mark.parametrize("password", ["wrong", None])
    def test_a_wrong_or_missing_password_is_an_error_with_the_login_command(
        self, there: Registry, busybox_image: Image, tmp_path: Path, password: str | None
    ) -> None:
        base = pushed(there, busybox_image, config={"WorkingDir": "/w"})
        workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
        if password:
            _log_in(there.host, there.username or "", password)
        with pytest.raises(AuthenticationFailed, match=there.host) as raised:
            push(workspace, base, fresh(there))
        assert "docker login" in (raised.value.hint or "")
        assert "wrong" not in str(raised.value)


def test_a_cache_that_cannot_be_written_is_one_notice(
    registry: Registry, base: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    workspace, repository = workspaces.write(tmp_path / "w", {"a.py": "pass\n"}), fresh(registry)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    for number in range(2):
        notices.clear()
        workspaces.edit(workspace, "a.py", new=b"%d" % number)
        _check(registry, workspace, push(workspace, base, repository))
        (notice,) = [notice for notice in notices if "without a cache" in notice]
        assert str(tmp_path / "file/cache") in notice
        assert "XDG_CACHE_HOME" in notice


def test_damaged_notes_cost_time_only(registry: Registry, base: Pushed, home: Path, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n" * 500, "b.py": "b"})
    repository = fresh(registry)
    push(workspace, base, repository)
    for damage in (b"", b"{}", b"\xff\x00[]", b'{"tag": 1}'):
        for note in (home / ".cache/topcoat").rglob("*"):
            if note.is_file():
                note.write_bytes(damage)
        workspaces.edit(workspace, "a.py", new=damage[:3] or b"x")
        _check(registry, workspace, push(workspace, base, repository))


def test_a_layer_that_is_remembered_wrongly_is_packed_again(
    registry: Registry, base: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n", "b.py": "b"})
    put = LayerCache.put
    with monkeypatch.context() as patch:
        # As another machine that shares the cache, and whose compressor differs, might leave it.
        wrong = "sha256:" + "5" * 64

        def put_wrong(cache: LayerCache, key: str, group: EntryGroup, layer: Layer) -> None:
            put(cache, key, group, layer._replace(digest=wrong))

        patch.setattr(LayerCache, "put", put_wrong)
        push(workspace, base, fresh(registry))
    _check(registry, workspace, push(workspace, base, fresh(registry)))


class TestPrepare:
    """Packing ahead of a push."""

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        return workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(150)})

    def test_nothing_is_sent_and_the_id_is_the_digest_of_the_config(
        self, registry: Registry, base: Pushed, workspace: Workspace
    ) -> None:
        planned = plan(workspace, base, fresh(registry))
        with registry.recording() as log:
            prepared = _prepare(planned)
        assert {exchange.method for exchange in log} <= {"GET", "HEAD"}
        delivered = _push_prepared(prepared, planned)
        assert fetch(registry, delivered.image).manifest["config"]["digest"] == prepared.image_id
        prepared.code_layers.close()

    def test_the_packed_layers_are_pushed_after_the_workspace_is_deleted(
        self, registry: Registry, base: Pushed, workspace: Workspace, tmp_path: Path
    ) -> None:
        # Every layer is in the cache, and none is in the new repository.
        push(workspace, base, fresh(registry))
        snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
        planned = plan(workspace, base, fresh(registry))
        prepared = _prepare(planned)
        for path in (tmp_path / "w").iterdir():
            path.unlink()

        fetched = fetch(registry, _push_prepared(prepared, planned).image)

        assert fetched.manifest["config"]["digest"] == prepared.image_id
        assert stacked(fetched.layers[1:], "/w") == expected(snapshot)
        prepared.code_layers.close()

    def test_one_prepared_image_goes_to_two_repositories(self, workspace: Workspace) -> None:
        with FakeRegistry() as fake:
            planned = plan(workspace, _fake_base(fake), f"{fake.host}/one")
            prepared = _prepare(planned)
            images = [_push_prepared(prepared, planned, f"{fake.host}/{name}") for name in ("one", "two")]
            assert images[0].digest == images[1].digest
            for image in images:
                _check(fake, workspace, image, skip=3)
            prepared.code_layers.close()

    def test_a_second_attempt_sends_the_layers_from_their_start(self, workspace: Workspace) -> None:
        with FakeRegistry() as fake:
            planned = plan(workspace, _fake_base(fake), f"{fake.host}/app")
            prepared = _prepare(planned)
            fake.fail(403, method="PUT", path="/manifests/")
            with pytest.raises(RegistryError):
                _push_prepared(prepared, planned)
            for digest in list(fake.repositories["app"].blobs - fake.repositories["base"].blobs):
                fake.lose_blob(digest)
            _check(fake, workspace, _push_prepared(prepared, planned), skip=3)
            prepared.code_layers.close()

    def test_the_spool_is_closed_when_a_file_has_changed(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packed: list[Packed] = []

        def kept(*args: Any) -> Packed:
            packed.append(pack(*args))
            return packed[-1]

        monkeypatch.setattr("topcoat.destinations.code_layers.pack", kept)
        with FakeRegistry() as fake:
            planned = plan(workspace, _fake_base(fake), f"{fake.host}/app")
            last = sorted(Path(next(iter(workspace.projects))).iterdir())[-1]
            last.write_text("changed")
            with pytest.raises(WorkspaceChanged):
                _prepare(planned)
        assert packed
        assert all(packed_layer.blob.closed for packed_layer in packed)


def _prepare(planned: PatchPlan) -> PreparedImage:
    destination = planned.place.destination
    assert isinstance(destination, RegistryDestination)
    return destination.prepare(planned.planned, planned.workspace_key)


def _push_prepared(prepared: PreparedImage, planned: PatchPlan, repository: str = "") -> DeliveryResult:
    """Push to the repository that was planned, or to another one."""
    name = repository or planned.image.rpartition(":")[0]
    destination = RegistryDestination(Reference.parse(name), Clients())
    with TaskScope() as tasks, destination.begin(prepared.build, planned.workspace_key, tasks, prepared) as delivery:
        return delivery.finish()


@pytest.mark.parametrize("seed", range(4))
def test_any_history_leaves_the_image_that_the_workspace_is(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random edits, with state and blobs lost at random: the newest image always is the workspace."""
    chance = random.Random(seed)
    root = tmp_path / "w"
    workspace = workspaces.write(root, {f"d{number % 5}/f{number}": chance.randbytes(40_000) for number in range(120)})
    with FakeRegistry() as fake:
        base, options = _fake_base(fake), _OPTIONS[0]
        for step in range(10):
            for _ in range(chance.choice([0, 1, 1, 1, 5])):
                chance.choice(_EDITS)(chance, root)
            if chance.random() < 0.1:
                monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{step}"))
            if chance.random() < 0.2 and "app" in fake.repositories:
                fake.lose_blob(chance.choice(sorted(fake.repositories["app"].blobs - fake.repositories["base"].blobs)))
                fake.repositories["app"].manifests.clear() if chance.random() < 0.5 else None
            options = chance.choice(_OPTIONS) if chance.random() < 0.3 else options
            hot = chance.random() < 0.9
            delivered = push(workspace, base, f"{fake.host}/app", hot=hot, **options)
            if delivered.layers or delivered.sent:
                _check(fake, workspace, delivered, skip=3, **options)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _rewrite(chance: random.Random, root: Path) -> None:
    chance.choice(_files(root)).write_bytes(chance.randbytes(chance.choice([10, 40_000, 1_200_000])))


def _delete(chance: random.Random, root: Path) -> None:
    chance.choice(_files(root)).unlink()


def _add(chance: random.Random, root: Path) -> None:
    place = root / f"d{chance.randrange(8)}" / f"n{chance.randrange(10**6)}"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(chance.randbytes(chance.choice([0, 100, 30_000])))


def _make_executable(chance: random.Random, root: Path) -> None:
    chance.choice(_files(root)).chmod(0o755)


def _turn_into_link(chance: random.Random, root: Path) -> None:
    path = chance.choice(_files(root))
    path.unlink()
    path.symlink_to("somewhere")


def _turn_into_directory(chance: random.Random, root: Path) -> None:
    path = chance.choice(_files(root))
    path.unlink()
    path.mkdir()
    (path / "inner").write_bytes(b"inner")


_OPTIONS: list[dict[str, Any]] = [
    {},
    {"workspace_dir": "/some/where"},
    {"chown": "7:8"},
    {"modes": "exact"},
    {"mtime": "preserve"},
]
_EDITS: list[Callable[[random.Random, Path], None]] = [
    _rewrite,
    _rewrite,
    _delete,
    _add,
    _make_executable,
    _turn_into_link,
    _turn_into_directory,
]
