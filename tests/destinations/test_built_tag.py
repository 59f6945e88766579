"""What the tag of a builder's image refers to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from topcoat.destinations.built_tag import BuiltTag
from topcoat.errors import TagMoved
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients
from topcoat.testing.registry import FakeRegistry

_LABELS = {"dev.topcoat.snapshot": "sha256:1", "dev.topcoat.identity": "t1"}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def tag(fake: FakeRegistry) -> Iterator[BuiltTag]:
    clients = Clients()
    yield BuiltTag(Reference.parse(f"{fake.host}/app:t1"), clients, _LABELS, "workspace")
    clients.close()


def _forget(home: Path) -> None:
    shutil.rmtree(home / ".cache" / "topcoat", ignore_errors=True)


def test_a_tag_is_known_by_its_labels_and_then_by_its_digest(fake: FakeRegistry, tag: BuiltTag) -> None:
    assert tag.find(verify=False) == ""
    image = fake.add_image("app", "t1", config={"config": {"Labels": {**_LABELS, "other": "x"}}})
    assert tag.find(verify=False) == image.digest
    fake.requests.clear()
    assert tag.find(verify=False) == image.digest
    assert [request.method for request in fake.requests] == ["HEAD"]
    assert tag.find(verify=True) == image.digest
    assert len(fake.requests) > 2


@pytest.mark.parametrize("labels", [{}, {"dev.topcoat.identity": "t2"}, {**_LABELS, "dev.topcoat.identity": "t2"}])
def test_an_image_with_other_labels_is_an_error(fake: FakeRegistry, tag: BuiltTag, labels: dict[str, str]) -> None:
    image = fake.add_image("app", "t1", config={"config": {"Labels": labels}})
    with pytest.raises(TagMoved, match=image.digest):
        tag.find(verify=False)


def test_a_lost_blob_is_noticed_with_verify_and_by_another_machine(
    fake: FakeRegistry, tag: BuiltTag, home: Path
) -> None:
    image = fake.add_image("app", "t1", config={"config": {"Labels": _LABELS}})
    assert tag.find(verify=False) == image.digest
    fake.lose_blob(json.loads(json.dumps(fake.manifest("app", "t1")["layers"]))[0]["digest"])
    assert tag.find(verify=False) == image.digest
    assert tag.find(verify=True) == ""
    _forget(home)
    assert tag.find(verify=False) == ""


def test_an_unknown_image_that_has_lost_its_config_is_not_overwritten(
    fake: FakeRegistry, tag: BuiltTag, home: Path
) -> None:
    image = fake.add_image("app", "t1", config={"config": {"Labels": _LABELS}})
    assert tag.find(verify=False) == image.digest
    fake.lose_blob(json.loads(json.dumps(fake.manifest("app", "t1")["config"]))["digest"])
    assert tag.find(verify=True) == ""
    _forget(home)
    with pytest.raises(TagMoved, match="has lost its config"):
        tag.find(verify=False)
