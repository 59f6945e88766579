"""Random workspaces as entries, and random edits of them; no file is written."""

from __future__ import annotations

import random
from collections.abc import Callable

from topcoat.pack.cut import MIN_LARGE_SIZE
from topcoat.scan.snapshot import Entry

Tree = dict[bytes, Entry]


def random_tree(chance: random.Random, files: int) -> Tree:
    """Return some *files* files in nested directories, sizes as in source trees, a few of them large."""
    tree: Tree = {}
    directories = [b""]
    for _ in range(max(2, files // 15)):
        path = _below(chance.choice(directories) if chance.random() < 0.7 else b"", b"pkg%02d" % chance.randrange(100))
        tree[path] = directory(path)
        directories.append(path)
    scale = chance.uniform(6.5, 9)
    for _ in range(files):
        path = _below(chance.choice(directories), b"mod%05d.py" % chance.randrange(100_000))
        size = min(int(chance.lognormvariate(scale, 1.3)), MIN_LARGE_SIZE - 1)
        if chance.random() < 0.004:
            size = chance.randrange(MIN_LARGE_SIZE, 30 * MIN_LARGE_SIZE)
        tree[path] = new_file(chance, path, size)
    return tree


def new_file(chance: random.Random, path: bytes, size: int, mode: int = 0o644) -> Entry:
    return Entry(path, "file", mode, size, chance.randbytes(32), chance.randrange(10**18))


def directory(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path, "dir", mode, 0, b"", 0)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, "link", 0o777, 0, target, 0)


def edit(chance: random.Random, tree: Tree) -> Tree:
    """Return *tree* after one edit of any kind, still a tree: parents are there, nothing lies below a file."""
    return chance.choice(EDITS)(chance, dict(tree))


def files(tree: Tree) -> list[bytes]:
    return [path for path, entry in tree.items() if entry.kind == "file"]


def _below(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name


def _parents(tree: Tree) -> list[bytes]:
    return [b"", *(path for path, entry in tree.items() if entry.kind == "dir")]


def _remove(tree: Tree, path: bytes) -> None:
    for other in [path, *(other for other in tree if other.startswith(path + b"/"))]:
        tree.pop(other, None)


def _write(chance: random.Random, tree: Tree) -> Tree:
    """Edit files as an editor does: other content, about as long."""
    for path in chance.sample(found := files(tree), min(len(found), chance.choice([1, 1, 1, 2, 5]))):
        size = max(0, tree[path].size + chance.randrange(-30, 30))
        tree[path] = new_file(chance, path, size, tree[path].mode)
    return tree


def _resize(chance: random.Random, tree: Tree) -> Tree:
    for path in chance.sample(found := files(tree), min(len(found), 1)):
        tree[path] = new_file(
            chance, path, chance.choice([0, 1, 5000, 400_000, MIN_LARGE_SIZE - 1, MIN_LARGE_SIZE, 3 * MIN_LARGE_SIZE])
        )
    return tree


def _chmod(chance: random.Random, tree: Tree) -> Tree:
    if tree:
        path = chance.choice(list(tree))
        if tree[path].kind != "link":
            tree[path] = tree[path]._replace(mode=chance.choice([0o755, 0o700]))
    return tree


def _touch(chance: random.Random, tree: Tree) -> Tree:
    return {path: entry._replace(mtime=entry.mtime + 1) for path, entry in tree.items()}


def _delete(chance: random.Random, tree: Tree) -> Tree:
    if tree:
        _remove(tree, chance.choice(list(tree)))
    return tree


def _add(chance: random.Random, tree: Tree) -> Tree:
    for _ in range(chance.choice([1, 1, 4])):
        path = _below(chance.choice(_parents(tree)), b"new%06d" % chance.randrange(10**6))
        kind = chance.choice(["file", "file", "file", "dir", "link"])
        if kind == "file":
            tree[path] = new_file(chance, path, chance.choice([0, 100, 10_000, 10_000, 2 * MIN_LARGE_SIZE]))
        elif kind == "dir":
            tree[path] = directory(path)
            inner = path + b"/inner"
            tree[inner] = new_file(chance, inner, 50)
        else:
            tree[path] = link(path, chance.choice([b"target", b"../x"]))
    return tree


def _change_type(chance: random.Random, tree: Tree) -> Tree:
    if not tree:
        return tree
    path = chance.choice(list(tree))
    kind = tree[path].kind
    _remove(tree, path)
    if kind != "link" and chance.random() < 0.5:
        tree[path] = link(path, b"elsewhere")
    elif kind == "dir":
        tree[path] = new_file(chance, path, 10)
    else:
        tree[path] = directory(path)
        inner = path + b"/inner"
        tree[inner] = new_file(chance, inner, 10)
    return tree


def _retarget(chance: random.Random, tree: Tree) -> Tree:
    for path, entry in tree.items():
        if entry.kind == "link":
            tree[path] = link(path, b"other%d" % chance.randrange(10))
            break
    return tree


def _rename_directory(chance: random.Random, tree: Tree) -> Tree:
    parents = _parents(tree)[1:]
    if not parents:
        return tree
    path = chance.choice(parents)
    target = path + b"-renamed"
    if target in tree:
        return tree
    moved = {
        target + other[len(path) :]: entry for other, entry in tree.items() if (other + b"/").startswith(path + b"/")
    }
    _remove(tree, path)
    return tree | {new: entry._replace(path=new) for new, entry in moved.items()}


EDITS: list[Callable[[random.Random, Tree], Tree]] = [
    _write,
    _write,
    _write,
    _resize,
    _chmod,
    _touch,
    _delete,
    _add,
    _add,
    _change_type,
    _retarget,
    _rename_directory,
]
