"""The layers of an image, over any history of edits: together they are the snapshot; an edit costs what it weighs."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pack.random_trees import Tree, directory, edit, files, link, new_file, random_tree
from topcoat.errors import InvalidImage, WorkspaceError
from topcoat.pack.cut import MIN_LARGE_SIZE, EntryGroup, cut
from topcoat.pack.layer import Directory, Layer, PackOptions, pack
from topcoat.pack.layer_cache import CachedLayer, LayerCache
from topcoat.pack.plan import HOT_DIVISOR, MAX_HOT_WEIGHT, MAX_LAYERS, PlannedLayer, plan_layers
from topcoat.pack.tar import BLOCK
from topcoat.scan.scanner import scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.specs.workspace import Workspace
from topcoat.state import cache_dir
from topcoat.testing.trees import File, Link, assert_same_tree, build_tree

OPTIONS = PackOptions(b"", (), compression="none")
ROOM = 25


class MachineCache(LayerCache):
    """The cache of one machine among several."""

    def __init__(self, machine: Path) -> None:
        self._machine = str(machine)

    def get_layer(self, key: str) -> Layer | None:
        return super().get_layer(self._machine + key)

    def get(self, key: str) -> CachedLayer | None:
        return super().get(self._machine + key)

    def put(self, key: str, group: EntryGroup, layer: Layer) -> None:
        super().put(self._machine + key, group, layer)


class Place:
    """A destination: the layers that it holds, those of the last image, and the cache of the user's machine."""

    def __init__(self, directory: Path, options: PackOptions = OPTIONS, room: int = ROOM) -> None:
        self.cache = MachineCache(directory)
        self.anchor: tuple[str, ...] = ()
        self._directory = directory
        self._options = options
        self._room = room
        # What was packed at the time: by its digest, the entries in the layer.
        self._layers: dict[str, tuple[Entry, ...]] = {}

    def plan(self, tree: Tree, *, hot: bool = True) -> list[PlannedLayer]:
        snapshot = Snapshot(tree.values(), preserve_mtimes=self._options.preserve_mtimes)
        anchor = self.anchor if hot else ()
        return plan_layers(snapshot, self._options, self.cache, room=self._room, anchor=anchor)

    def deliver(self, planned: list[PlannedLayer]) -> list[tuple[Entry, ...]]:
        """Pack what has to be packed, and return what each layer of the image holds, bottom first."""
        collected = []
        for planned_layer in planned:
            layer = planned_layer.layer
            if layer is None or layer.digest not in self._layers:
                assert not planned_layer.kept, "a layer of the past cannot be packed again"
                layer = Layer(f"sha256:{planned_layer.key}", f"sha256:{planned_layer.key}", 1)
                self._layers[layer.digest] = planned_layer.group.ancestors + planned_layer.group.members
                self.cache.put(planned_layer.key, planned_layer.group, layer)
            collected.append(self._layers[layer.digest])
        self.anchor = tuple(layer.key for layer in planned if not layer.hot)
        return collected

    def forget(self, chance: random.Random) -> None:
        """Lose some records of the cache."""
        for path in self._directory.iterdir():
            if chance.random() < 0.3:
                path.unlink()


def keys(planned: list[PlannedLayer]) -> list[str]:
    return [layer.key for layer in planned]


def unpack(layers: list[tuple[Entry, ...]]) -> Tree:
    """Lay *layers* over each other as an engine does."""
    collected: Tree = {}
    for layer in layers:
        for entry in layer:
            before = collected.get(entry.path)
            assert before is None or before.kind == entry.kind, "layers disagree about what a path is"
            collected[entry.path] = entry
    return collected


def assert_right(
    tree: Tree, planned: list[PlannedLayer], layers: list[tuple[Entry, ...]], options: PackOptions, room: int
) -> None:
    """Assert all that must hold of a plan for *tree*, whatever went before."""
    times = options.preserve_mtimes
    stacked = unpack(layers)
    assert {path: entry.facts(preserve_mtimes=times) for path, entry in stacked.items()} == {
        path: entry.facts(preserve_mtimes=times) for path, entry in tree.items()
    }
    for entry in [entry for layer in layers for entry in layer if entry.kind != "file"]:
        assert entry.facts(preserve_mtimes=times) == tree[entry.path].facts(preserve_mtimes=times), (
            "right only by the order of layers"
        )
    assert len(planned) <= room
    assert [layer.hot for layer in planned[:-1]] == [False] * len(planned[:-1])
    members = [entry.path for layer in planned if not layer.hot for entry in layer.group.members]
    assert len(members) == len(set(members)), "two code layers have one path"
    assert not any(path.rpartition(b"/")[2].startswith(b".wh.") for layer in layers for path, *_ in layer)
    if not planned or not planned[-1].hot:
        assert not any(layer.kept and layer.layer is None for layer in planned)
        assert {entry.facts(preserve_mtimes=times) for layer in planned for entry in layer.group.members} == {
            entry.facts(preserve_mtimes=times) for entry in tree.values()
        }
        return
    hot = planned[-1].group.members
    kept = {entry.path: entry for layer in planned if layer.kept for entry in layer.group.members}
    assert kept
    for entry in hot:
        assert tree[entry.path] == entry
        if entry.path in members:
            assert entry.path in kept
            assert (entry.kind, kept[entry.path].kind) == ("file", "file")
            assert entry.facts(preserve_mtimes=times) != kept[entry.path].facts(preserve_mtimes=times)
    fresh = cut(sorted(tree.values()), room - 1)
    heaviest = max(sum(entry.size for entry in group.members) for group in fresh)
    assert sum(entry.size + BLOCK for entry in hot) <= max(MAX_HOT_WEIGHT, heaviest // HOT_DIVISOR)


@pytest.mark.parametrize("times", [False, True])
@given(
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([3, 40, 300]),
    room=st.sampled_from([1, 2, 3, 8, ROOM]),
    steps=st.integers(1, 12),
)
@settings(deadline=None, max_examples=60)
def test_the_layers_equal_the_snapshot_after_any_earlier_builds(
    tmp_path_factory: pytest.TempPathFactory, times: bool, seed: int, size: int, room: int, steps: int
) -> None:
    chance = random.Random(seed)
    options = OPTIONS._replace(preserve_mtimes=times)
    place = Place(tmp_path_factory.mktemp("layers"), options, room)
    tree = random_tree(chance, size)
    for _ in range(steps):
        hot = chance.random() < 0.85
        planned = place.plan(tree, hot=hot)
        assert_right(tree, planned, place.deliver(planned), options, room)
        assert hot or not any(layer.hot or layer.kept for layer in planned)
        fate = chance.random()
        if fate < 0.1:
            place.forget(chance)
        elif fate < 0.15:
            place.anchor = ()
        for _ in range(chance.choice([1, 1, 1, 3])):
            tree = edit(chance, tree)


@given(st.integers(0, 1 << 32), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_without_a_hot_layer_the_layers_depend_on_the_snapshot_alone(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int
) -> None:
    chance = random.Random(seed)
    place = Place(tmp_path_factory.mktemp("layers"))
    tree = random_tree(chance, 300)
    for _ in range(steps):
        place.deliver(place.plan(tree, hot=chance.random() < 0.5))
        tree = edit(chance, tree)
    elsewhere = Place(tmp_path_factory.mktemp("layers"))
    assert keys(place.plan(tree, hot=False)) == keys(elsewhere.plan(tree, hot=False)) == keys(elsewhere.plan(tree))


# One kind of edit at a time.


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def tree() -> Tree:
    """Some ten code layers of small files, a few large ones, a link, a directory of its own."""
    chance = random.Random(11)
    random_files = random_tree(chance, 2500)
    for entry in (
        link(b"zz-link", b"target"),
        directory(b"zz"),
        new_file(chance, b"zz/a", 10),
        new_file(chance, b"zz/b", 10),
    ):
        random_files[entry.path] = entry
    return random_files


def after(place: Place, tree: Tree, *changes: Entry, without: tuple[bytes, ...] = ()) -> list[PlannedLayer]:
    """Build *tree*, then plan it with *changes*, and check that the plan is right."""
    place.deliver(place.plan(tree))
    edited = {path: entry for path, entry in tree.items() if path not in without}
    edited.update({entry.path: entry for entry in changes})
    anchor = place.anchor
    planned = place.plan(edited)
    assert_right(edited, planned, place.deliver(planned), OPTIONS, ROOM)
    place.anchor = anchor
    return planned


def small_file(tree: Tree) -> Entry:
    return tree[next(path for path in files(tree) if 100 < tree[path].size < 10_000)]


def test_an_unchanged_workspace_packs_nothing(place: Place, tree: Tree) -> None:
    planned = after(place, tree)
    assert len(planned) > 8
    assert all(layer.layer is not None and not layer.kept and not layer.hot for layer in planned)


@pytest.mark.parametrize("change", [{"content": b"\x01" * 32}, {"mode": 0o755}, {"size": 90_000, "content": bytes(32)}])
def test_an_edit_is_in_the_hot_layer_only(place: Place, tree: Tree, change: dict[str, Any]) -> None:
    edited = small_file(tree)._replace(**change)
    planned = after(place, tree, edited)
    assert [layer.group.members for layer in planned if layer.layer is None] == [(edited,)]
    assert planned[-1].hot
    assert tuple(keys(planned[:-1])) == place.anchor


def test_the_hot_layer_holds_all_edits_since_the_layers_were_packed(place: Place, tree: Tree) -> None:
    place.deliver(place.plan(tree))
    anchor, edited = place.anchor, []
    chance = random.Random(3)
    for path in chance.sample([path for path in files(tree) if tree[path].size < 5000], 9):
        edited.append(new_file(chance, path, tree[path].size))
        tree[path] = edited[-1]
        planned = place.plan(tree)
        assert planned[-1].group.members == tuple(sorted(edited))
        assert tuple(keys(planned[:-1])) == anchor
        place.deliver(planned)


def test_undoing_the_edit_needs_no_hot_layer(place: Place, tree: Tree) -> None:
    place.deliver(place.plan(tree))
    before = place.anchor
    edited = small_file(tree)._replace(content=bytes(32))
    place.deliver(place.plan({**tree, edited.path: edited}))
    planned = place.plan(tree)
    assert tuple(keys(planned)) == before
    assert not any(layer.hot for layer in planned)


def test_new_files_directories_and_links_are_in_the_hot_layer(place: Place, tree: Tree) -> None:
    new = (
        directory(b"zz/new"),
        new_file(random.Random(1), b"zz/new/file", 500),
        link(b"zz/new-link", b"new/file"),
    )
    planned = after(place, tree, *new)
    assert planned[-1].hot
    assert planned[-1].group.members == tuple(sorted(new))
    assert [entry.path for entry in planned[-1].group.ancestors] == [b"zz"]
    assert [layer for layer in planned if layer.layer is None] == planned[-1:]


@pytest.mark.parametrize(
    ("gone", "changes"),
    [
        ((b"zz/a",), ()),
        ((b"zz/a", b"zz/b", b"zz"), ()),
        ((b"zz-link",), ()),
        ((), (link(b"zz-link", b"elsewhere"),)),
        ((), (new_file(random.Random(1), b"zz-link", 5),)),
        ((), (link(b"zz/a", b"b"),)),
        ((), (directory(b"zz/a"), new_file(random.Random(1), b"zz/a/inner", 5))),
        ((b"zz/a", b"zz/b"), (new_file(random.Random(1), b"zz", 5),)),
        ((), (directory(b"zz", 0o700),)),
    ],
    ids=[
        "file deleted",
        "directory deleted",
        "link deleted",
        "link elsewhere",
        "link becomes file",
        "file becomes link",
        "file becomes directory",
        "directory becomes file",
        "directory mode",
    ],
)
def test_a_change_that_a_hot_layer_cannot_express_repacks_the_layer(
    place: Place, tree: Tree, gone: tuple[bytes, ...], changes: tuple[Entry, ...]
) -> None:
    planned = after(place, tree, *changes, without=gone)
    assert not any(layer.hot or layer.kept for layer in planned)
    assert 1 <= len([layer for layer in planned if layer.layer is None]) <= 3


def test_a_deletion_repacks_its_layer_and_another_edit_stays_in_the_hot_layer(place: Place, tree: Tree) -> None:
    edited = small_file(tree)._replace(content=bytes(32))
    planned = after(place, tree, edited, without=(b"zz/a",))
    assert planned[-1].hot
    assert planned[-1].group.members == (edited,)
    assert len([layer for layer in planned if layer.kept]) == 1
    assert len([layer for layer in planned if layer.layer is None and not layer.hot]) == 1


def test_an_edit_above_the_maximum_hot_weight_repacks_its_layer(place: Place, tree: Tree) -> None:
    chance = random.Random(4)
    planned = after(place, tree, new_file(chance, b"zz/a", MIN_LARGE_SIZE - 1))
    assert not any(layer.hot for layer in planned)
    planned = after(place, tree, new_file(chance, b"zz/a", 700_000))
    assert planned[-1].hot


def test_a_heavy_repacked_layer_does_not_raise_the_maximum_hot_weight(place: Place) -> None:
    """The heaviest layer that changed decided how heavy the hot layer may be, even where it was packed anew anyway."""
    chance = random.Random(6)
    huge, big = new_file(chance, b"huge", 800 * MIN_LARGE_SIZE), new_file(chance, b"m-big", 150 * MIN_LARGE_SIZE)
    tree = {entry.path: entry for entry in (huge, big, new_file(chance, b"small", 10))}
    planned = after(
        place,
        tree,
        new_file(chance, b"huge", 800 * MIN_LARGE_SIZE),
        new_file(chance, b"small", 90 * MIN_LARGE_SIZE // 100),
    )
    assert planned[-1].hot
    planned = after(
        place, tree, new_file(chance, b"huge", 800 * MIN_LARGE_SIZE), new_file(chance, b"m-big", 60 * MIN_LARGE_SIZE)
    )
    assert not any(layer.hot for layer in planned)


@pytest.mark.parametrize("room", [2, 3, 5, 9])
def test_the_plan_leaves_room_for_the_hot_layer(tmp_path: Path, tree: Tree, room: int) -> None:
    place = Place(tmp_path, room=room)
    place.deliver(place.plan(tree))
    edited = small_file(tree)._replace(content=bytes(32))
    planned = place.plan({**tree, edited.path: edited})
    assert planned[-1].hot
    assert len(planned) <= room


def test_a_touched_file_is_not_packed_again(place: Place, tree: Tree) -> None:
    edited, touched = tree[b"zz/a"]._replace(content=bytes(32)), tree[b"zz/b"]._replace(mtime=1)
    planned = after(place, tree, edited, touched)
    assert planned[-1].hot
    assert planned[-1].group.members == (edited,)


def test_a_directory_whose_mode_changed_repacks_every_layer_that_repeats_it(place: Place) -> None:
    chance = random.Random(9)
    entries = [directory(b"d"), *(new_file(chance, b"d/%03d" % number, 60_000) for number in range(100))]
    planned = after(place, {entry.path: entry for entry in entries}, directory(b"d", 0o700))
    assert len(planned) > 2
    assert all(layer.layer is None for layer in planned)


def test_an_edit_that_was_packed_for_another_destination_is_still_in_the_hot_layer(tmp_path: Path, tree: Tree) -> None:
    place, other = Place(tmp_path), Place(tmp_path)
    place.deliver(place.plan(tree))
    edited = small_file(tree)._replace(content=bytes(32))
    tree[edited.path] = edited
    other.deliver(other.plan(tree))
    planned = place.plan(tree)
    assert tuple(keys(planned[:-1])) == place.anchor
    assert planned[-1].group.members == (edited,)


def test_a_plan_with_too_many_layers_falls_back_to_those_of_the_snapshot(tmp_path: Path, tree: Tree) -> None:
    wide = Place(tmp_path)
    wide.deliver(wide.plan(tree))
    tree[b"zz/a"] = new_file(random.Random(1), b"zz/a", 20)
    snapshot = Snapshot(tree.values())
    narrow = plan_layers(snapshot, OPTIONS, wide.cache, room=4, anchor=wide.anchor)
    assert len(narrow) <= 4
    assert not any(layer.hot or layer.kept for layer in narrow)


def test_an_anchor_that_is_not_cached_is_ignored(tmp_path: Path, tree: Tree) -> None:
    place = Place(tmp_path)
    place.deliver(place.plan(tree))
    shutil.rmtree(cache_dir())
    planned = place.plan(tree)
    assert all(layer.layer is None and not layer.hot for layer in planned)


def test_new_files_that_fill_a_layer_of_their_own_are_not_in_the_hot_layer(place: Place) -> None:
    """In the hot layer they would travel again with every edit, and a plan of it alone left nothing to build on."""
    chance = random.Random(2)
    tree = {entry.path: entry for entry in [new_file(chance, b"a%03d" % number, 30_000) for number in range(40)]}
    new = [new_file(chance, b"z%03d" % number, 3000) for number in range(20)]
    planned = after(place, tree, *new)
    fresh = [layer for layer in planned if layer.layer is None]
    if any(layer.hot for layer in fresh):
        assert any(layer.kept for layer in planned)
    tiny = {b"a": new_file(chance, b"a", 10)}
    place.anchor = ("0" * 64,)
    (layer,) = place.plan(tiny)
    assert not layer.hot


def test_the_order_of_the_anchor_is_kept(place: Place, tree: Tree) -> None:
    place.deliver(place.plan(tree))
    place.anchor = place.anchor[::-1]
    edited = small_file(tree)._replace(content=bytes(32))
    planned = place.plan({**tree, edited.path: edited})
    assert tuple(keys(planned[:-1])) == place.anchor


def test_an_empty_snapshot_has_no_layers(place: Place) -> None:
    assert place.plan({}) == []
    place.anchor = ("0" * 64,)
    assert place.plan({}) == []


def test_an_empty_snapshot_has_a_layer_if_the_target_must_be_made(tmp_path: Path) -> None:
    place = Place(tmp_path, OPTIONS._replace(target=b"opt/code", parents=(Directory(b"opt"), Directory(b"opt/code"))))
    (layer,) = place.plan({})
    assert layer.group == ((), ())
    place.deliver([layer])
    tree = {b"a": new_file(random.Random(1), b"a", 10)}
    (later,) = place.plan(tree)
    assert (later.group.members, later.hot) == ((tree[b"a"],), False)
    place.deliver([later])
    assert place.plan({})[0].layer is not None


@pytest.mark.parametrize("room", [0, -3])
def test_a_base_that_leaves_no_room_is_an_error(tmp_path: Path, room: int) -> None:
    """An image of more layers than an engine can mount fails only where it is pulled."""
    snapshot = Snapshot([directory(b"d")])
    with pytest.raises(InvalidImage, match=f"the base image has {MAX_LAYERS - room} layers"):
        plan_layers(snapshot, OPTIONS, LayerCache(), room=room)


@pytest.mark.parametrize("name", [b".wh.a", b"d/.wh..wh..opq", b"d/.wh.x/y"])
def test_a_name_that_deletes_files_in_a_layer_is_refused(tmp_path: Path, name: bytes) -> None:
    entries = [directory(b"d"), new_file(random.Random(1), name, 1)]
    if name.endswith(b"/y"):
        entries.append(directory(b"d/.wh.x"))
    with pytest.raises(WorkspaceError, match=r"\.wh\..* cannot be in an image"):
        plan_layers(Snapshot(entries), OPTIONS, LayerCache())
    plan_layers(Snapshot([new_file(random.Random(1), b"a.wh.b", 1)]), OPTIONS, LayerCache())


# With files.


def test_extracting_the_layers_in_order_gives_the_workspace(tmp_path: Path) -> None:
    chance = random.Random(8)
    workspace, cache = tmp_path / "ws", LayerCache()
    (tmp_path / "layers").mkdir()
    build_tree(workspace, {".torchxignore": "", "run.sh": File("x", mode=0o755), "empty": {}, "link": Link("run.sh")})
    build_tree(workspace, {f"d{number % 7}/{number}": chance.randbytes(20_000) for number in range(200)})
    build_tree(workspace, {"large": chance.randbytes(MIN_LARGE_SIZE + 5)})
    store: dict[str, bytes] = {}
    anchor: tuple[str, ...] = ()
    seen_hot = 0
    for step in range(8):
        scanned = scan(Workspace({str(workspace): ""}))
        planned = plan_layers(scanned.snapshot, OPTIONS, cache, anchor=anchor)
        out = tmp_path / f"out{step}"
        out.mkdir()
        for planned_layer in planned:
            if planned_layer.layer is None:
                layer, blob = pack(planned_layer.group, scanned, OPTIONS)
                cache.put(planned_layer.key, planned_layer.group, layer)
                store[planned_layer.key] = blob.read()
            (tmp_path / "layer.tar").write_bytes(store[planned_layer.key])
            options: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
            with tarfile.open(tmp_path / "layer.tar") as tar:
                tar.extractall(out, **options)
        assert_same_tree(out, workspace)
        anchor = tuple(layer.key for layer in planned if not layer.hot)
        seen_hot += any(layer.hot for layer in planned)
        build_tree(workspace, {f"d1/{1 + 7 * step}": f"edited {step}", f"new{step}": {"file": "x"}})
        if step == 4:
            os.unlink(workspace / "d2/2")
    assert seen_hot >= 4


def test_a_path_that_no_node_can_unpack_is_an_error() -> None:
    path = b"/".join([b"d" * 255] * 15) + b"/" + b"f" * 249
    assert len(path) == 15 * 256 + 249
    options = PackOptions(b"app", ())
    cache = LayerCache()
    short = Snapshot([Entry(path, "file", 0o644, 0, b"", 0)])
    directories = {path[:at] for at, char in enumerate(path) if char == ord("/")}
    entries = [Entry(directory, "dir", 0o755, 0, b"", 0) for directory in directories]
    assert plan_layers(Snapshot([*short.entries, *entries]), options, cache)
    with pytest.raises(WorkspaceError, match=r"\.\.\. cannot be in an image: its path has over 4096 bytes there"):
        plan_layers(Snapshot([*short.entries, *entries]), options._replace(target=b"x" * 10), cache)
