"""What is in a base, read from its layers: from the top, no further than the answer, no more than allowed."""

from __future__ import annotations

import gzip
import random
import sys
import tarfile
from collections.abc import Iterator

import pytest

from tests.support.layers import layer_gets, packed, tar
from topcoat.bases.layer_tree import LayerTree
from topcoat.errors import ImageNotFound, InvalidImage, RegistryError
from topcoat.notices import show_notices
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_FOREIGN_LAYER, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from topcoat.registry.client import RegistryClient
from topcoat.registry.download import BlobReader
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.testing.registry import FakeRegistry

_LOWER = packed("dir usr", "dir usr/bin", "link bin -> usr/bin", "dir home", "dir home/user 0700 1000:1000", "file f")
_UPPER = packed("dir app 2775 0:50", "file app/old = text", "file home/user/f = 1")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeRegistry) -> Iterator[RegistryClient]:
    with RegistryClient(fake.host) as client:
        yield client


def _tree(fake: FakeRegistry, client: RegistryClient, *layers: bytes, limit: int | None = 10**9) -> LayerTree:
    stored = [fake.add_blob("base", layer, OCI_LAYER_GZIP) for layer in layers]
    return LayerTree(client, "base", stored, limit)


def _noise(size: int) -> str:
    return random.Random(size).randbytes(size // 2).hex()


def test_no_layer_is_requested_before_a_path_is_looked_up(fake: FakeRegistry, client: RegistryClient) -> None:
    with _tree(fake, client, _LOWER, _UPPER) as tree:
        assert tree.below(b"") == {}
    assert fake.requests == []


def test_layers_are_read_from_the_top_and_no_further_than_the_answer(
    fake: FakeRegistry, client: RegistryClient
) -> None:
    with _tree(fake, client, _LOWER, _UPPER) as tree:
        assert tree.find(b"app") == ImageNode("dir", 0o2775, 0, 50)
        assert tree.below(b"app") == {b"old": ImageNode("file", 0o644)}
        assert layer_gets(fake, _LOWER, _UPPER) == [0, 1]
        assert tree.find(b"home/user") == ImageNode("dir", 0o700, 1000, 1000)
        assert tree.find(b"bin") == ImageNode("link", 0o777, link=b"usr/bin")
        assert tree.find(b"nothing") is None
    assert layer_gets(fake, _LOWER, _UPPER) == [1, 1]


@pytest.mark.parametrize("kind", ["gzip", "members", "none", "zstd"])
def test_layers_may_be_stored_in_any_way(fake: FakeRegistry, client: RegistryClient, kind: str) -> None:
    data = tar("dir app 0700 5:6", "file app/f = content", "dir last")
    if kind == "gzip":
        stored = gzip.compress(data)
    elif kind == "members":
        # As eStargz has them: one after the other.
        stored = b"".join(gzip.compress(data[at : at + 512]) for at in range(0, len(data), 512))
    elif kind == "zstd":
        stored = pytest.importorskip("zstandard").compress(data)
    else:
        stored = data
    with _tree(fake, client, stored) as tree:
        assert tree.find(b"app") == ImageNode("dir", 0o700, 5, 6)
        assert tree.find(b"last") == ImageNode("dir")
        assert tree.find(b"x") is None


def test_a_layer_is_left_in_its_middle(
    fake: FakeRegistry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tar("dir app 0700", *[f"file f{number} = {_noise(1 << 20)}" for number in range(24)])
    readers: list[BlobReader] = []

    def open_blob(repository: str, descriptor: Descriptor) -> BlobReader:
        readers.append(RegistryClient.open_blob(client, repository, descriptor))
        return readers[-1]

    monkeypatch.setattr(client, "open_blob", open_blob)
    with _tree(fake, client, large) as tree:
        assert tree.find(b"app") == ImageNode("dir", 0o700)
        assert readers[0].tell() <= 1 << 20
        assert tree.find(b"f3") == ImageNode("file", 0o644)
    assert readers[0].tell() <= 5 << 20
    assert len(readers) == 1


def test_a_layer_that_is_read_whole_is_checked(fake: FakeRegistry, client: RegistryClient) -> None:
    wrong = Descriptor(OCI_LAYER_GZIP, sha256_digest(b"other"), len(_LOWER))
    fake.add_blob("base", b"other")
    fake.blobs[wrong.digest] = _LOWER
    with (
        LayerTree(client, "base", [wrong], None) as tree,
        pytest.raises(RegistryError, match="does not match its descriptor"),
    ):
        tree.find(b"nothing")


class TestTheLimit:
    def test_what_lies_beyond_it_is_not_known(self, fake: FakeRegistry, client: RegistryClient) -> None:
        with _tree(fake, client, _LOWER, _UPPER, limit=len(_UPPER)) as tree:
            assert tree.find(b"app") == ImageNode("dir", 0o2775, 0, 50)
            assert tree.find(b"home") is tree.find(b"nothing") is UNKNOWN
        assert layer_gets(fake, _LOWER, _UPPER) == [0, 1]

    @pytest.mark.parametrize("stored", ["gzip", "none"])
    def test_the_limit_can_be_in_the_middle_of_a_layer(
        self, fake: FakeRegistry, client: RegistryClient, stored: str
    ) -> None:
        data = tar("dir first", *[f"file f{number} = {_noise(100_000)}" for number in range(20)], "dir last")
        layer = gzip.compress(data) if stored == "gzip" else data
        with _tree(fake, client, layer, limit=len(layer) // 2) as tree:
            assert tree.find(b"last") is UNKNOWN
            assert tree.find(b"first") == ImageNode("dir")
            assert tree.find(b"f2") == ImageNode("file", 0o644)
            assert tree.find(b"nothing") is UNKNOWN

    @pytest.mark.parametrize("at", [512, 1024, 1536])
    def test_a_tar_that_is_cut_off_between_two_entries_has_not_ended(
        self, fake: FakeRegistry, client: RegistryClient, at: int
    ) -> None:
        with _tree(fake, client, tar("dir a", "dir b", "dir c", "dir d"), limit=at) as tree:
            assert tree.find(b"d") is UNKNOWN
            assert tree.find(b"a") == ImageNode("dir")

    def test_as_many_bytes_as_there_are_will_do(self, fake: FakeRegistry, client: RegistryClient) -> None:
        with _tree(fake, client, _LOWER, _UPPER, limit=len(_LOWER) + len(_UPPER)) as tree:
            assert tree.find(b"nothing") is None

    def test_none_at_all_asks_nothing(self, fake: FakeRegistry, client: RegistryClient) -> None:
        with _tree(fake, client, _LOWER, limit=0) as tree:
            assert tree.find(b"app") is UNKNOWN
        assert fake.requests == []


@pytest.mark.parametrize(
    "descriptor",
    [
        Descriptor(DOCKER_FOREIGN_LAYER, "", 0),
        Descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "", 0),
        Descriptor(OCI_LAYER + "+gzip+encrypted", "", 0),
        Descriptor(OCI_LAYER_GZIP, "", 0, {"urls": ["https://example.com/layer"]}),
    ],
)
def test_layers_that_only_others_can_read_are_not_asked_for(
    fake: FakeRegistry, client: RegistryClient, descriptor: Descriptor
) -> None:
    stored = fake.add_blob("base", _LOWER)
    upper = fake.add_blob("base", _UPPER, OCI_LAYER_GZIP)
    layers = [descriptor._replace(digest=stored.digest, size=stored.size), upper]
    with LayerTree(client, "base", layers, None) as tree:
        assert tree.find(b"app") == ImageNode("dir", 0o2775, 0, 50)
        assert tree.find(b"home") is UNKNOWN
    assert layer_gets(fake, _LOWER) == [0]


def test_without_the_module_for_it_a_zstd_layer_is_not_known_and_that_is_said(
    fake: FakeRegistry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    stored = fake.add_blob("base", b"\x28\xb5\x2f\xfd" + bytes(100), OCI_LAYER_ZSTD)
    collected: list[str] = []
    before = show_notices(collected.append)
    try:
        with LayerTree(client, "base", [stored], None) as tree:
            assert tree.find(b"app") is tree.find(b"home") is UNKNOWN
    finally:
        show_notices(before)
    assert len(collected) == 1
    assert "pip install" in collected[0]


@pytest.mark.parametrize(
    "damaged", [b"words, and no tar" * 100, _LOWER[:-20], _LOWER[:60] + b"\0\0\0\0" + _LOWER[64:], tar("dir a")[:300]]
)
def test_damage_is_an_error_that_names_the_layer_and_a_way_out(
    fake: FakeRegistry, client: RegistryClient, damaged: bytes
) -> None:
    with (
        _tree(fake, client, damaged) as tree,
        pytest.raises(InvalidImage, match=f"the layer {sha256_digest(damaged)} of the base") as raised,
    ):
        tree.find(b"nothing")
    assert raised.value.hint
    assert "base_scan_limit=0" in raised.value.hint


def test_a_layer_that_the_registry_has_lost_is_an_error(fake: FakeRegistry, client: RegistryClient) -> None:
    tree = _tree(fake, client, _LOWER)
    fake.lose_blob(sha256_digest(_LOWER))
    with tree as inside, pytest.raises(ImageNotFound):
        inside.find(b"app")


@pytest.mark.parametrize("stored", ["gzip", "none"])
def test_a_connection_that_breaks_is_taken_up_again_or_is_the_registrys_error(
    fake: FakeRegistry, client: RegistryClient, stored: str
) -> None:
    data = tar("file f = " + _noise(1_000_000), "dir last")
    layer = gzip.compress(data) if stored == "gzip" else data
    fake.cut(method="GET", after=400_000)
    with _tree(fake, client, layer) as tree:
        assert tree.find(b"last") == ImageNode("dir")
    fake.cut(times=10, method="GET", after=10_000)
    with _tree(fake, client, layer) as tree, pytest.raises(RegistryError):
        tree.find(b"last")


def test_a_layer_that_is_no_tar_is_named_even_if_not_all_of_it_may_be_read(
    fake: FakeRegistry, client: RegistryClient
) -> None:
    no_tar = b"words, and no tar" * 1000
    with (
        _tree(fake, client, no_tar, _UPPER, limit=5000) as tree,
        pytest.raises(InvalidImage, match=f"the layer {sha256_digest(no_tar)} of the base"),
    ):
        tree.find(b"nothing")


class TestHostileLayers:
    """A small layer does not need much memory or time: it is left, with a notice."""

    @pytest.fixture
    def notices(self) -> Iterator[list[str]]:
        texts: list[str] = []
        previous = show_notices(texts.append)
        yield texts
        show_notices(previous)

    def _check_left(self, tree: LayerTree, notices: list[str], reason: str) -> None:
        assert tree.find(b"last") is UNKNOWN
        (text,) = notices
        assert text.endswith(f" of the base image was not read to its end: {reason}")

    def test_zeros_that_expand_a_thousand_times(
        self, fake: FakeRegistry, client: RegistryClient, notices: list[str]
    ) -> None:
        # 256 MB of zeros are 260 KB.
        zeros = tarfile.TarInfo("zeros")
        zeros.size = 256 << 20
        layer = gzip.compress(tar("dir first")[:512] + zeros.tobuf()) + gzip.compress(bytes(8 << 20), 1) * 32
        with _tree(fake, client, layer) as tree:
            assert tree.find(b"first") == ImageNode("dir")
            self._check_left(tree, notices, "it expands to more than 32 times its size")

    def test_a_zstd_window_of_two_gigabytes(
        self, fake: FakeRegistry, client: RegistryClient, notices: list[str]
    ) -> None:
        pytest.importorskip("zstandard")
        # RFC 8878, section 3.1.1.1: the frame states a window of 2 GB and has an empty last block.
        layer = b"\x28\xb5\x2f\xfd" + bytes([0, 21 << 3]) + b"\1\0\0"
        with _tree(fake, client, layer) as tree:
            self._check_left(tree, notices, "zstd needs more than 128 MB of memory for it")

    def test_names_that_take_much_memory(
        self, fake: FakeRegistry, client: RegistryClient, notices: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("topcoat.bases.layer_tree._MAX_NAME_BYTES", 100_000)
        names = [f"{number}/" + "a/" * 100 for number in range(50)]
        with _tree(fake, client, tar("dir first", *[f"dir {name}b" for name in names])) as tree:
            self._check_left(tree, notices, "the names of its files take too much memory")
