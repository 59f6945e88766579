"""Cutting: every entry in one group, groups of even weight, and edits that move few boundaries."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pack.random_trees import Tree, directory, files, new_file, random_tree
from tests.scan.strategies import trees
from topcoat.pack.cut import (
    MAX_LARGE_GROUPS,
    MAX_SMALL_GROUPS,
    MIN_LARGE_SIZE,
    MIN_WEIGHT,
    EntryGroup,
    cut,
    make_group,
    target_weight,
    weight,
)
from topcoat.pack.layer import Directory, PackOptions
from topcoat.pack.tar import Ownership
from topcoat.scan.snapshot import Entry

MIB = 1 << 20
OPTIONS = PackOptions(b"app", (Directory(b"app"),))
seeds = st.integers(0, 1 << 32)


def groups(tree: Tree, room: int = MAX_SMALL_GROUPS + MAX_LARGE_GROUPS) -> list[EntryGroup]:
    return cut(sorted(tree.values()), room)


def keys(tree: Tree, options: PackOptions = OPTIONS) -> set[str]:
    identity = options.identity()
    return {group.key(identity, preserve_mtimes=options.preserve_mtimes) for group in groups(tree)}


def is_large(group: EntryGroup) -> bool:
    return group.members[0].size >= MIN_LARGE_SIZE


def total(members: Sequence[Entry]) -> int:
    return sum(weight(entry) for entry in members)


def target(tree: Tree) -> int:
    return target_weight(sum(weight(entry) for entry in tree.values() if entry.size < MIN_LARGE_SIZE), MAX_SMALL_GROUPS)


def assert_well_cut(tree: Tree, room: int) -> None:
    group_list = groups(tree, room)
    assert len(group_list) <= room
    assert sorted(entry for group in group_list for entry in group.members) == sorted(tree.values())
    for group in group_list:
        assert group.members
        assert list(group.members) == sorted(group.members)
        assert room < 2 or len({entry.size >= MIN_LARGE_SIZE for entry in group.members}) == 1
        above = {entry.path[:at] for entry in group.members for at, byte in enumerate(entry.path) if byte == 0x2F}
        above -= {entry.path for entry in group.members}
        assert [entry.path for entry in group.ancestors] == sorted(above)
        assert all(tree[entry.path] == entry for entry in group.ancestors)


@given(trees, st.integers(1, 30))
def test_every_entry_is_in_one_group_with_the_directories_above_it(tree: Tree, room: int) -> None:
    assert_well_cut(tree, room)


@given(seeds, st.sampled_from([0, 1, 30, 300, 1500]), st.sampled_from([1, 2, 3, 5, 24]))
def test_random_workspaces_are_cut_correctly(seed: int, count: int, room: int) -> None:
    assert_well_cut(random_tree(random.Random(seed), count), room)


@given(seeds, st.sampled_from([300, 1500]))
def test_groups_of_small_files_are_of_even_weight(seed: int, count: int) -> None:
    tree = random_tree(random.Random(seed), count)
    found, least = [group for group in groups(tree) if not is_large(group)], target(tree)
    for group in found[:-1]:
        assert total(group.members) >= least
    for group in found:
        # One entry may reach beyond the bound, from below the least weight or as the last of all.
        assert total(group.members[:-1]) <= least + least // 2


@given(st.lists(st.integers(0, 1 << 34), max_size=200), st.integers(1, 20))
def test_the_target_weight_is_a_power_of_two_that_gives_at_most_count_groups(sizes: list[int], count: int) -> None:
    entries = [Entry(b"%04d" % at, "file", 0o644, size, bytes(32), 0) for at, size in enumerate(sizes)]
    least = target_weight(sum(map(weight, entries)), count)
    assert least >= MIN_WEIGHT
    assert least & (least - 1) == 0
    assert count == 1 or total(entries) <= least * max(count - 1, 1)
    assert count == 1 or least == MIN_WEIGHT or total(entries) > least // 2 * max(count - 1, 1)


@given(st.integers(1, 1 << 40))
def test_a_weight_is_a_header_and_the_next_power_of_two(size: int) -> None:
    weighed = weight(Entry(b"a", "file", 0o644, size, bytes(32), 0)) - 512
    assert weighed & (weighed - 1) == 0
    assert size < weighed <= 2 * size


def test_no_entries_make_no_groups() -> None:
    assert cut([]) == []
    assert cut([], 1) == []


def test_a_small_workspace_is_one_group_and_its_large_files_another() -> None:
    chance = random.Random(1)
    entries = [
        new_file(chance, b"a", 10),
        new_file(chance, b"b", MIN_LARGE_SIZE),
        new_file(chance, b"c", MIN_LARGE_SIZE - 1),
    ]
    assert [[entry.path for entry in group.members] for group in cut(entries)] == [[b"a", b"c"], [b"b"]]
    assert [[entry.path for entry in group.members] for group in cut(entries, 1)] == [[b"a", b"b", b"c"]]


def test_very_many_entries_are_cut() -> None:
    entries = [Entry(b"%07d" % number, "file", 0o644, 4000, bytes(32), 0) for number in range(200_000)]
    group_list = cut(entries)
    assert 8 <= len(group_list) <= MAX_SMALL_GROUPS
    assert sum(len(group.members) for group in group_list) == len(entries)


# Edits.


@given(seeds)
def test_an_edit_within_a_size_class_changes_one_group(seed: int) -> None:
    chance = random.Random(seed)
    tree = random_tree(chance, 600)
    before = keys(tree)
    path = chance.choice([path for path in files(tree) if tree[path].size])
    size = tree[path].size
    least = 1 << (size.bit_length() - 1)
    tree[path] = new_file(chance, path, chance.randrange(least, 2 * least), chance.choice([0o644, 0o755]))
    after = keys(tree)
    assert len(after - before) == 1
    assert len(before - after) == 1


def _insert(chance: random.Random, tree: Tree, path: bytes) -> None:
    tree[path + b"x"] = new_file(chance, path + b"x", tree[path].size)


def _delete(chance: random.Random, tree: Tree, path: bytes) -> None:
    del tree[path]


def _grow(chance: random.Random, tree: Tree, path: bytes) -> None:
    tree[path] = new_file(chance, path, min(tree[path].size * 4 + 1, MIN_LARGE_SIZE - 1))


@pytest.mark.parametrize("change", [_insert, _delete, _grow])
def test_an_edit_changes_few_neighbouring_groups(change: Callable[[random.Random, Tree, bytes], None]) -> None:
    """Of some 10 groups 1.1 on average; in one case of a hundred more than half of them."""
    changed: list[int] = []
    for seed in range(12):
        chance = random.Random(seed)
        tree = random_tree(chance, chance.choice([600, 1500, 3000]))
        before = keys(tree)
        for path in chance.sample([path for path in files(tree) if tree[path].size < MIN_LARGE_SIZE], 25):
            edited = dict(tree)
            change(chance, edited, path)
            if target(edited) == target(tree):
                changed.append(len(keys(edited) - before))
    changed.sort()
    assert len(changed) > 250
    assert sum(changed) / len(changed) < 1.5
    assert changed[len(changed) // 2] == 1
    assert changed[len(changed) * 95 // 100] <= 4
    assert changed[len(changed) * 99 // 100] <= 8


@given(seeds)
def test_no_group_before_the_edit_changes(seed: int) -> None:
    chance = random.Random(seed)
    tree = random_tree(chance, 600)
    path = chance.choice([path for path in files(tree) if tree[path].size < MIN_LARGE_SIZE])
    edited = dict(tree)
    chance.choice([_insert, _delete, _grow])(chance, edited, path)
    if target(edited) != target(tree):
        return
    before = [group for group in groups(tree) if not is_large(group)]
    untouched = [group for group, after in pairwise(before) if after.members[0].path < path]
    group_list = groups(edited)
    # The boundary behind the last of them may move, by what is looked at up to 1.5 times the least weight.
    assert all(group in group_list for group in untouched[:-1])


def large_files(chance: random.Random, count: int) -> Tree:
    paths = [b"data/%06d" % chance.randrange(10**6) for _ in range(count)]
    files_by_path = {
        path: new_file(chance, path, MIN_LARGE_SIZE + int(chance.lognormvariate(15, 1.5))) for path in paths
    }
    return {b"data": directory(b"data"), **files_by_path}


@given(seeds, st.integers(0, 60))
def test_adding_or_deleting_large_files_changes_few_groups_of_the_others(seed: int, count: int) -> None:
    """Cut by weight, four of ten large files travelled again on average whenever one was added or removed."""
    chance = random.Random(seed)
    tree = large_files(chance, count)
    more = tree | {b"data/new": new_file(chance, b"data/new", 5 * MIN_LARGE_SIZE)}
    few, many = ([group.members for group in groups(tree_part) if is_large(group)] for tree_part in (tree, more))
    if len(more) - 1 <= MAX_LARGE_GROUPS or len(tree) - 1 > MAX_LARGE_GROUPS:
        assert len(set(many) - set(few)) == 1
        assert len(set(few) - set(many)) <= 1
    if len(more) - 1 <= MAX_LARGE_GROUPS:
        assert all(len(members) == 1 for members in many)


@given(seeds, st.integers(1, 60))
def test_an_edit_of_a_large_file_changes_one_group(seed: int, count: int) -> None:
    chance = random.Random(seed)
    tree = large_files(chance, count)
    path = chance.choice(files(tree))
    edited = tree | {path: new_file(chance, path, MIN_LARGE_SIZE + chance.randrange(100 * MIN_LARGE_SIZE))}
    assert len(keys(edited) - keys(tree)) == 1


def test_many_large_files_fill_all_groups_evenly() -> None:
    tree = large_files(random.Random(3), 400)
    sizes = [len(group.members) for group in groups(tree) if is_large(group)]
    assert len(sizes) == MAX_LARGE_GROUPS
    assert min(sizes) > 25
    assert max(sizes) < 85


# Keys.


def test_a_key_covers_everything_that_the_layer_depends_on() -> None:
    chance = random.Random(5)
    top, inner = directory(b"a"), directory(b"a/b")
    member = new_file(chance, b"a/b/c", 10)
    directories = {b"a": top, b"a/b": inner}
    identity = OPTIONS.identity()

    def key(
        members: Sequence[Entry] = (member,), above: dict[bytes, Entry] = directories, options: PackOptions = OPTIONS
    ) -> str:
        return make_group(members, above).key(options.identity(), preserve_mtimes=options.preserve_mtimes)

    assert key() == make_group([member], directories).key(identity, preserve_mtimes=False)
    others = [
        key([member._replace(content=bytes(32))]),
        key([member._replace(mode=0o755)]),
        key([member._replace(size=11)]),
        key([member, new_file(chance, b"a/b/d", 1)]),
        key([inner, member]),
        key(above={**directories, b"a": directory(b"a", 0o700)}),
        key(options=OPTIONS._replace(owner=Ownership(1, 1))),
        key(options=OPTIONS._replace(target=b"other")),
        key(options=OPTIONS._replace(parents=(Directory(b"app", 0o700),))),
        key(options=OPTIONS._replace(compression="none")),
        key(options=OPTIONS._replace(preserve_mtimes=True)),
        key([member._replace(mtime=1)], options=OPTIONS._replace(preserve_mtimes=True)),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert key([member._replace(mtime=1)]) == key()


@given(trees)
def test_a_key_separates_ancestors_and_members(tree: dict[bytes, Any]) -> None:
    entries = tuple(sorted(tree.values()))
    key_set = {EntryGroup(entries[at:], entries[:at]).key("o", preserve_mtimes=False) for at in range(len(entries) + 1)}
    assert len(key_set) == len(entries) + 1
