"""Answers about a base are kept: nothing is looked at twice, and what is kept may be lost or damaged."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topcoat.bases.base import Base
from topcoat.bases.cached_tree import CachedTree
from topcoat.errors import DaemonError
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from topcoat.records import Cache
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.state import cache_dir

_NODES: dict[bytes, ImageNode] = {
    b"app": ImageNode("dir", 0o2775, 1000, 50),
    b"app/f": ImageNode("file", 0o600),
    b"app/l\xff\nx": ImageNode("link", 0o777, link=b"../\xfe"),
    b"dev": ImageNode("other"),
}


class _Looks:
    """A tree that counts what it is asked, and how often it is opened and closed."""

    def __init__(self, nodes: Mapping[bytes, ImageNode] = _NODES) -> None:
        self._nodes = nodes
        self.asked: list[bytes] = []
        self.opened = self.closed = 0
        self.fail_on = b""

    def __call__(self) -> _Looks:
        return self

    def __enter__(self) -> _Looks:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def find(self, path: bytes) -> ImageNode | None:
        self.asked.append(path)
        if path == self.fail_on:
            raise DaemonError("gone")
        return UNKNOWN if path == b"far" else self._nodes.get(path)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        self.asked.append(directory + b"/")
        prefix = directory + b"/" if directory else b""
        return {path[len(prefix) :]: node for path, node in self._nodes.items() if path.startswith(prefix)}


def _base(*diff_ids: str, registry: str = "registry.example.com") -> Base:
    config = ImageConfig({"rootfs": {"diff_ids": list(diff_ids) or ["sha256:1"]}})
    return Base("base", "", Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, "sha256:0", 0), ()), config, registry)


def _ask(looks: _Looks, base: Base | None = None, limit: int | None = 10) -> list[object]:
    with CachedTree(base or _base(), limit, looks) as tree:
        return [
            *[tree.find(path) for path in (b"app", b"nothing", b"far", b"app/l\xff\nx")],
            dict(tree.below(b"app")),
            dict(tree.below(b"empty")),
            dict(tree.below(b"")),
        ]


def test_a_cached_tree_opens_nothing() -> None:
    looks = _Looks()
    first = _ask(looks)
    assert (len(looks.asked), looks.opened, looks.closed) == (7, 1, 1)
    assert first[:3] == [_NODES[b"app"], None, UNKNOWN]
    assert first[4] == {b"f": _NODES[b"app/f"], b"l\xff\nx": _NODES[b"app/l\xff\nx"]}
    assert first[6] == _NODES

    assert _ask(looks) == first
    assert (len(looks.asked), looks.opened) == (7, 1)


def test_an_answer_is_given_twice_without_asking_twice() -> None:
    looks = _Looks()
    with CachedTree(_base(), 10, looks) as tree:
        assert not tree.knows(b"app")
        assert tree.find(b"app") == tree.find(b"app")
        assert tree.knows(b"app")
    assert looks.asked == [b"app"]


def test_a_new_question_is_asked_and_the_old_answers_stay() -> None:
    looks = _Looks()
    _ask(looks)
    with CachedTree(_base(), 10, looks) as tree:
        assert tree.find(b"dev") == ImageNode("other")
    assert looks.asked[7:] == [b"dev"]
    with CachedTree(_base(), 10, looks) as tree:
        assert tree.knows(b"dev")
        assert tree.knows(b"app")


@pytest.mark.parametrize(
    ("base", "limit"), [(_base("sha256:2"), 10), (_base("sha256:1", "sha256:2"), 10), (_base(registry=""), 10)]
)
def test_another_base_or_place_has_answers_of_its_own(base: Base, limit: int) -> None:
    looks = _Looks()
    _ask(looks)
    _ask(looks, base, limit)
    assert looks.opened == 2


@pytest.mark.parametrize("limit", [0, 11, None])
def test_another_limit_has_answers_of_its_own(limit: int | None) -> None:
    looks = _Looks()
    _ask(looks)
    _ask(looks, limit=limit)
    assert looks.opened == 2


def test_the_same_layers_elsewhere_are_the_same_base() -> None:
    looks = _Looks()
    _ask(looks)
    _ask(looks, _base(registry="other.example.com")._replace(name="other", digest="sha256:9"))
    assert looks.opened == 1


@pytest.mark.parametrize("value", ["", [], 3, {"app": 3}, {"app": [1, 2]}, {"app": ["dir", "x", 0, 0, ""]}], ids=repr)
def test_records_of_another_shape_are_dropped(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, write_json = _Looks(), Cache.write_json
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "write_json", lambda cache, key, _: write_json(cache, key, value))
        first = _ask(looks)
    assert _ask(looks) == first
    assert looks.opened == 2
    assert _ask(looks) == first
    assert looks.opened == 2


def test_notes_that_are_cut_short_are_found_out_anew() -> None:
    looks = _Looks()
    first = _ask(looks)
    for file in cache_dir("trees").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    assert _ask(looks) == first


def test_what_was_found_out_before_a_failure_is_kept() -> None:
    looks = _Looks()
    looks.fail_on = b"dev"
    with CachedTree(_base(), 10, looks) as tree, pytest.raises(DaemonError):
        _ = [tree.find(path) for path in (b"app", b"dev")]
    assert looks.closed == 1
    with CachedTree(_base(), 10, looks) as tree:
        assert tree.knows(b"app")


_names = st.lists(st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name and b"/" not in name)).map(
    b"/".join
)
_nodes = st.builds(
    ImageNode,
    st.sampled_from(["dir", "file", "link", "other"]),
    st.integers(0, 0o7777),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
    st.binary(max_size=9).filter(lambda link: b"\0" not in link),
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(_names.filter(bool), _nodes, max_size=20))
def test_any_tree_is_remembered_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, nodes: dict[bytes, ImageNode]
) -> None:
    looks, base = _Looks(nodes), _base(str(tmp_path_factory.mktemp("x")))
    for _ in range(2):
        with CachedTree(base, None, looks) as tree:
            assert tree.below(b"") == nodes
            assert {path: tree.find(path) for path in nodes} == {
                path: UNKNOWN if path == b"far" else node for path, node in nodes.items()
            }
    assert looks.opened == 1
