"""A tag that exists is believed only if it refers to the image that it stands for, and that image is whole."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspaces
from tests.support.fake_bases import layer
from tests.support.images import fetch, stacked
from tests.support.inside import expected
from tests.support.pushing import plan, push
from topcoat.destinations.base import DeliveryResult
from topcoat.destinations.push_records import PushRecord, last_push_record, workspace_key, write_push_record
from topcoat.errors import RegistryError, TagMoved
from topcoat.images.tag import IDENTITY_LABEL
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_MANIFEST
from topcoat.registry.client import RegistryClient
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.tasks import TaskScope
from topcoat.testing.registry import FakeRegistry

_DAY_S = 24 * 3600


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def base(fake: FakeRegistry) -> str:
    return _base(fake)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(60)})


def _base(fake: FakeRegistry, **options: Any) -> str:
    layers = [gzip.decompress(layer({name: name.encode()})) for name in ("one", "two")]
    fake.add_image("base", "1", config={"config": {"WorkingDir": "/w"}}, layers=layers, **options)
    return f"{fake.host}/base:1"


def _app(fake: FakeRegistry) -> str:
    return f"{fake.host}/app"


def _other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))


def _tag(delivered: DeliveryResult) -> str:
    return delivered.image.rpartition(":")[2]


def _move(fake: FakeRegistry, delivered: DeliveryResult, repository: str = "base", tag: str = "1") -> str:
    """Move the tag of *delivered* to another image, and return its digest."""
    app, other = fake.repositories["app"], fake.repositories[repository]
    app.manifests |= other.manifests
    app.blobs |= other.blobs
    app.tags[_tag(delivered)] = other.tags[tag]
    return other.tags[tag]


def _digest(fake: FakeRegistry, repository: str, tag: str) -> str:
    return fake.repositories[repository].tags[tag]


def _blobs(fake: FakeRegistry, tag: str) -> dict[str, str]:
    """Return digests of an image with two base layers, by what they are."""
    manifest: Any = fake.manifest("app", tag)
    layers = [blob["digest"] for blob in manifest["layers"]]
    return {"config": manifest["config"]["digest"], "base layer": layers[0], "layer": layers[2]}


def _check(fake: FakeRegistry, workspace: Workspace, delivered: DeliveryResult) -> None:
    """Pull everything, and compare the code with the workspace."""
    assert delivered.digest == _digest(fake, "app", _tag(delivered))
    fetched = fetch(fake, delivered.image, skip=2)
    for blob in [fetched.manifest["config"], *fetched.manifest["layers"]]:
        assert sha256_digest(fake.blobs[blob["digest"]]) == blob["digest"]
        assert blob["digest"] in fake.repositories["app"].blobs
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert stacked(fetched.layers[2:], "/w") == expected(snapshot, 0, 0)


class TestMovedTags:
    @pytest.mark.parametrize("same_machine", [True, False])
    def test_a_tag_that_was_moved_to_another_image_is_an_error_with_both_digests(
        self,
        fake: FakeRegistry,
        base: str,
        workspace: Workspace,
        same_machine: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = push(workspace, base, _app(fake))
        other = _move(fake, first)
        if not same_machine:
            _other_machine(monkeypatch, tmp_path)
        with pytest.raises(TagMoved) as raised:
            push(workspace, base, _app(fake))
        assert other in str(raised.value)
        assert (first.digest if same_machine else scan(workspace).snapshot.digest) in str(raised.value)
        assert "rebuild=true" in (raised.value.hint or "")

    def test_a_tag_that_was_moved_to_the_image_of_another_workspace_is_an_error(
        self, fake: FakeRegistry, base: str, workspace: Workspace, tmp_path: Path
    ) -> None:
        other = push(workspaces.write(tmp_path / "other", {"a.py": "pass"}), base, _app(fake))
        first = push(workspace, base, _app(fake))
        _move(fake, first, "app", _tag(other))
        with pytest.raises(TagMoved, match=other.digest):
            push(workspace, base, _app(fake))

    def test_images_that_differ_by_their_options_alone_are_told_apart(
        self, fake: FakeRegistry, base: str, workspace: Workspace
    ) -> None:
        owned = push(workspace, base, _app(fake), chown="7:8")
        first = push(workspace, base, _app(fake))
        _move(fake, first, "app", _tag(owned))
        with pytest.raises(TagMoved, match=IDENTITY_LABEL):
            push(workspace, base, _app(fake))

    @pytest.mark.parametrize("same_machine", [True, False])
    def test_an_image_of_somebody_else_that_has_lost_its_config_is_not_overwritten(
        self,
        fake: FakeRegistry,
        base: str,
        workspace: Workspace,
        same_machine: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = push(workspace, base, _app(fake))
        other = _move(fake, first)
        fake.repositories["app"].blobs.discard(fake.manifest("base", "1")["config"]["digest"])  # type: ignore[index]
        if not same_machine:
            _other_machine(monkeypatch, tmp_path)
        with pytest.raises(TagMoved, match=f"{other}, an image that has lost its config.*{first.digest}"):
            push(workspace, base, _app(fake))
        assert _digest(fake, "app", _tag(first)) == other
        _check(fake, workspace, push(workspace, base, _app(fake), rebuild=True))

    def test_rebuild_overwrites_a_tag_that_was_moved(self, fake: FakeRegistry, base: str, workspace: Workspace) -> None:
        first = push(workspace, base, _app(fake))
        _move(fake, first)
        _check(fake, workspace, push(workspace, base, _app(fake), rebuild=True))
        assert _digest(fake, "app", _tag(first)) == first.digest

    def test_an_index_in_the_place_of_an_image_is_an_error(
        self, fake: FakeRegistry, base: str, workspace: Workspace
    ) -> None:
        first = push(workspace, base, _app(fake))
        images = [fake.add_image("app", platform=name) for name in ("linux/amd64", "linux/arm64")]
        index = fake.add_index("app", _tag(first), images)
        with pytest.raises(TagMoved, match=index.digest):
            push(workspace, base, _app(fake))

    def test_something_that_is_no_container_image_is_an_error(
        self, fake: FakeRegistry, base: str, workspace: Workspace
    ) -> None:
        first = push(workspace, base, _app(fake))
        chart = fake.add_blob("app", b"name: chart", "application/vnd.cncf.helm.config.v1+json")
        data = json.dumps({"schemaVersion": 2, "config": chart.to_json(), "layers": []}).encode()
        other = fake.store_manifest("app", _tag(first), data, OCI_MANIFEST)
        with pytest.raises(TagMoved, match=other.digest):
            push(workspace, base, _app(fake))

    def test_a_moved_last_tag_does_not_count_as_proof_that_blobs_exist(
        self, fake: FakeRegistry, base: str, workspace: Workspace
    ) -> None:
        fake.quirks = {"accepts-broken"}
        first = push(workspace, base, _app(fake))
        lost = _blobs(fake, _tag(first))["layer"]
        _move(fake, first)
        fake.lose_blob(lost)
        workspaces.edit(workspace, "f0")
        _check(fake, workspace, push(workspace, base, _app(fake)))


class TestAdoption:
    def test_the_image_of_another_machine_is_adopted_by_its_labels_and_then_known_by_its_digest(
        self,
        fake: FakeRegistry,
        base: str,
        workspace: Workspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = push(workspace, base, _app(fake))
        _other_machine(monkeypatch, tmp_path)
        assert push(workspace, base, _app(fake)) == first._replace(sent=0, layers=0)
        fake.requests.clear()
        assert push(workspace, base, _app(fake)).digest == first.digest
        assert sorted(request.method for request in fake.requests) == ["HEAD", "HEAD"]

    def test_an_image_of_the_same_content_in_other_layers_is_adopted(
        self,
        fake: FakeRegistry,
        base: str,
        workspace: Workspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        push(workspace, base, _app(fake))
        workspaces.edit(workspace, "f0")
        hot = push(workspace, base, _app(fake))
        _other_machine(monkeypatch, tmp_path)
        cold = push(workspace, base, _app(fake), rebuild=True)
        assert (cold.image, cold.digest == hot.digest) == (hot.image, False)
        monkeypatch.undo()
        assert push(workspace, base, _app(fake)).digest == cold.digest
        workspaces.edit(workspace, "f1")
        _check(fake, workspace, push(workspace, base, _app(fake)))

    def test_the_edit_after_an_adoption_asks_for_no_old_blob_again(
        self,
        fake: FakeRegistry,
        base: str,
        workspace: Workspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        push(workspace, base, _app(fake))
        _other_machine(monkeypatch, tmp_path)
        push(workspace, base, _app(fake))
        workspaces.edit(workspace, "f0")
        fake.requests.clear()
        _check(fake, workspace, push(workspace, base, _app(fake)))
        asked = [request for request in fake.requests if request.method == "HEAD" and "/blobs/" in request.path]
        # The new layer alone.
        assert [request.status for request in asked] == [404]

    def test_an_earlier_image_of_this_machine_is_known_by_its_digest(
        self, fake: FakeRegistry, base: str, workspace: Workspace
    ) -> None:
        first = push(workspace, base, _app(fake))
        for number in range(3):
            workspaces.edit(workspace, "f0", new=b"edit %d" % number)
            push(workspace, base, _app(fake))
        workspaces.write(Path(next(iter(workspace.projects))), {"f0": "0\n" * 9000})
        fake.requests.clear()
        assert push(workspace, base, _app(fake)).digest == first.digest
        assert {request.method for request in fake.requests} <= {"HEAD", "POST", "DELETE"}


@pytest.mark.parametrize("lost", ["config", "base layer", "layer"])
class TestLostBlobs:
    def test_verify_sends_what_the_registry_has_lost(
        self, fake: FakeRegistry, workspace: Workspace, lost: str, notices: list[str]
    ) -> None:
        with FakeRegistry() as source:
            base = _base(source)
            first = push(workspace, base, _app(fake))
            fake.lose_blob(_blobs(fake, _tag(first))[lost])
            assert push(workspace, base, _app(fake)).digest == first.digest
            again = push(workspace, base, _app(fake), verify=True)
            _check(fake, workspace, again)
            assert again.digest == first.digest
            assert [notice for notice in notices if "has lost 1 of its blobs" in notice]

    def test_another_machine_sends_what_is_lost_of_an_image_that_it_adopts(
        self,
        fake: FakeRegistry,
        workspace: Workspace,
        lost: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with FakeRegistry() as source:
            base = _base(source)
            first = push(workspace, base, _app(fake))
            fake.lose_blob(_blobs(fake, _tag(first))[lost])
            _other_machine(monkeypatch, tmp_path)
            _check(fake, workspace, push(workspace, base, _app(fake)))

    def test_verify_checks_the_blobs_below_an_edit_too(
        self, fake: FakeRegistry, workspace: Workspace, lost: str
    ) -> None:
        fake.quirks = {"accepts-broken"}
        with FakeRegistry() as source:
            base = _base(source)
            first = push(workspace, base, _app(fake))
            fake.lose_blob(_blobs(fake, _tag(first))[lost])
            workspaces.edit(workspace, "f59")
            _check(fake, workspace, push(workspace, base, _app(fake), verify=True))

    def test_after_a_day_the_blobs_are_asked_for(
        self, fake: FakeRegistry, workspace: Workspace, lost: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake.quirks = {"accepts-broken"}
        with FakeRegistry() as source:
            base = _base(source)
            first = push(workspace, base, _app(fake))
            fake.lose_blob(_blobs(fake, _tag(first))[lost])
            workspaces.edit(workspace, "f59")
            real = time.time
            monkeypatch.setattr("topcoat.destinations.push_records.time.time", lambda: real() + _DAY_S + 1)
            _check(fake, workspace, push(workspace, base, _app(fake)))


@pytest.mark.parametrize("lost", ["config", "layer", "manifest"])
def test_verify_checks_the_images_of_every_platform(fake: FakeRegistry, workspace: Workspace, lost: str) -> None:
    images = [
        fake.add_image("base", platform=name, config={"config": {"WorkingDir": "/w"}})
        for name in ("linux/amd64", "linux/arm64")
    ]
    fake.add_index("base", "1", images)
    base = f"{fake.host}/base:1"
    first = push(workspace, base, _app(fake), platform="all")
    index: Any = fake.manifest("app", _tag(first))
    digest = index["manifests"][1]["digest"]
    manifest: Any = fake.manifest("app", digest)
    if lost == "manifest":
        del fake.repositories["app"].manifests[digest]
    else:
        blob = manifest["config"] if lost == "config" else manifest["layers"][-1]
        fake.lose_blob(blob["digest"])
    assert push(workspace, base, _app(fake), platform="all", verify=True).digest == first.digest
    assert digest in fake.repositories["app"].manifests
    assert {blob["digest"] for blob in [manifest["config"], *manifest["layers"]]} <= fake.repositories["app"].blobs
    _move(fake, first)
    with pytest.raises(TagMoved):
        push(workspace, base, _app(fake), platform="all")


def test_a_base_layer_that_nobody_has_any_more_is_an_error_that_names_it(
    fake: FakeRegistry, base: str, workspace: Workspace
) -> None:
    fake.quirks = {"accepts-broken"}
    first = push(workspace, base, f"{fake.host}/base")
    layer_digest = fake.manifest("base", _tag(first))["layers"][0]["digest"]  # type: ignore[index]
    fake.lose_blob(layer_digest)
    with pytest.raises(RegistryError, match=layer_digest) as raised:
        push(workspace, base, f"{fake.host}/base", verify=True)
    assert base in (raised.value.hint or "")


def test_a_day_counts_from_the_oldest_blob_and_not_from_the_last_edit(
    fake: FakeRegistry, base: str, workspace: Workspace
) -> None:
    push(workspace, base, _app(fake))
    key = (f"{fake.host}/app", base, workspace_key(workspace))
    record = last_push_record(*key)
    assert record is not None
    write_push_record(record._replace(checked=record.checked - 1000), *key)
    workspaces.edit(workspace, "f0")
    push(workspace, base, _app(fake))
    again = last_push_record(*key)
    assert again is not None
    assert again.checked == record.checked - 1000


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (_DAY_S - 10, True), (_DAY_S + 10, False), (-10, False)])
def test_blobs_are_trusted_for_a_day_and_not_if_the_clock_was_set_back(age: float, fresh: bool) -> None:
    assert PushRecord("t", checked=time.time() - age).is_fresh is fresh


def test_a_record_keeps_the_newest_digests(fake: FakeRegistry) -> None:
    record = PushRecord("t")
    for number in range(150):
        record = record.with_digest(f"t{number}", "x")
    assert list(record.with_digest("t60", "y").digests)[-2:] == ["t149", "t60"]
    assert len(record.digests) == 100


class TestTwoMachines:
    """That push one content at one moment, in other layers."""

    def test_the_digest_of_each_is_that_of_the_tag(
        self, fake: FakeRegistry, base: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push(workspace, base, _app(fake))
        workspaces.edit(workspace, "f0")
        planned = plan(workspace, base, _app(fake))
        _other_machine(monkeypatch, tmp_path)
        with TaskScope() as tasks:
            delivery = planned.place.destination.begin(planned.planned, planned.workspace_key, tasks)
        with delivery:
            # The first round has ended: it has not seen the tag.
            monkeypatch.undo()
            first = push(workspace, base, _app(fake))
            second = delivery.finish()
        assert first.digest == second.digest == _digest(fake, "app", _tag(first))
        assert second.sent >= 0

    def test_a_push_that_was_overtaken_reports_the_digest_that_the_tag_has(
        self, fake: FakeRegistry, base: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push(workspace, base, _app(fake))
        workspaces.edit(workspace, "f0")
        hot = push(workspace, base, _app(fake))
        del fake.repositories["app"].tags[_tag(hot)]
        media_type, data = fake.repositories["app"].manifests[hot.digest]
        put = RegistryClient.put_manifest

        def overtaken(self: RegistryClient, repository: str, identifier: str, *args: Any) -> str:
            digest = put(self, repository, identifier, *args)
            fake.store_manifest("app", _tag(hot), data, media_type)
            return digest

        _other_machine(monkeypatch, tmp_path)
        monkeypatch.setattr(RegistryClient, "put_manifest", overtaken)
        assert push(workspace, base, _app(fake)).digest == hot.digest

    def test_a_first_push_waits_for_an_edit_that_is_on_its_way(
        self, fake: FakeRegistry, base: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push(workspace, base, _app(fake))
        workspaces.edit(workspace, "f0")
        hot = push(workspace, base, _app(fake))
        media_type, data = fake.repositories["app"].manifests[hot.digest]
        del fake.repositories["app"].tags[_tag(hot)]
        waits: list[float] = []

        def edit_arrives(seconds: float) -> None:
            waits.append(seconds)
            fake.store_manifest("app", _tag(hot), data, media_type)

        _other_machine(monkeypatch, tmp_path)
        monkeypatch.setattr("topcoat.destinations.registry_delivery.time.sleep", edit_arrives)
        assert push(workspace, base, _app(fake)).digest == hot.digest
        assert len(waits) == 1

    def test_the_first_push_to_a_repository_does_not_wait(
        self, fake: FakeRegistry, base: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("topcoat.destinations.registry_delivery.time.sleep", lambda seconds: pytest.fail("waited"))
        push(workspace, base, _app(fake))

    def test_many_at_once_agree(self, fake: FakeRegistry, base: str, workspace: Workspace) -> None:
        results: list[DeliveryResult] = []
        threads = [threading.Thread(target=lambda: results.append(push(workspace, base, _app(fake)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {result.digest for result in results} == {_digest(fake, "app", _tag(results[0]))}
        assert len(results) == 4


def test_a_layer_that_another_compressor_made_is_not_lost(
    fake: FakeRegistry, base: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that accepts broken manifests would store one that names a blob which nobody has."""
    from topcoat.pack.layer_cache import LayerCache

    fake.quirks = {"accepts-broken"}
    get_layer = LayerCache.get_layer
    push(workspace, base, f"{fake.host}/first")
    replaced: set[str] = set()

    def of_another_machine(self: LayerCache, key: str) -> Any:
        cached = get_layer(self, key)
        if cached is None or key in replaced:
            return cached
        replaced.add(key)
        return cached._replace(digest="sha256:" + "5" * 64)

    monkeypatch.setattr(LayerCache, "get_layer", of_another_machine)
    _check(fake, workspace, push(workspace, base, _app(fake)))
    assert replaced


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EDQUOT])
def test_what_was_pushed_is_reported_although_no_cache_can_be_written(
    fake: FakeRegistry, base: str, workspace: Workspace, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("topcoat.state.os.replace", fail)
        first = push(workspace, base, _app(fake))
    _check(fake, workspace, first)
    assert push(workspace, base, _app(fake)).digest == first.digest


def test_what_was_pushed_is_reported_although_the_cache_is_removed_meanwhile(
    fake: FakeRegistry, base: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    put = RegistryClient.put_manifest

    def put_and_remove(*args: Any) -> str:
        digest = put(*args)
        shutil.rmtree(cache)
        cache.write_text("a file in the place of the directory")
        return digest

    monkeypatch.setattr(RegistryClient, "put_manifest", put_and_remove)
    _check(fake, workspace, push(workspace, base, _app(fake)))
