"""Directory trees as values: build one from a mapping, read one back, say how two differ.

A tree is a mapping from names to what is there. Text or bytes are a file, a mapping is a directory (an empty one, for
an empty directory), and `File`, `Directory` and `Link` say more than that::

    build_tree(tmp_path, {
        "train.py": "print(1)\\n",
        "run.sh": File("#!/bin/sh\\n", mode=0o755),
        "data": {"empty": {}, "latest": Link("../train.py")},
        b"not utf-8 \\xff": b"",
    })

A name may be a path; the directories above it need not be named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, Union

AnyPath: TypeAlias = Union[str, bytes, "os.PathLike[str]"]


@dataclass(frozen=True)
class File:
    """A regular file; *mtime* is in nanoseconds since the epoch, None to leave it to the clock."""

    content: str | bytes = b""
    mode: int = 0o644
    mtime: int | None = None


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str | bytes


@dataclass(frozen=True)
class Directory:
    """A directory and its members; *mtime* as for a file."""

    members: Mapping[str | bytes, Member] = field(default_factory=dict)
    mode: int = 0o755
    mtime: int | None = None


Member: TypeAlias = Union[str, bytes, File, Link, Directory, "Tree"]
Tree: TypeAlias = Mapping[str | bytes, Member]
FlatTree: TypeAlias = "dict[bytes, File | Link | Directory]"


def build_tree(root: AnyPath, tree: Tree) -> None:
    """Make the directory *root*, if it is not there, and everything in *tree* below it.

    What is there already is overwritten; what *tree* does not name stays. Modes do not depend on the umask.
    """
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    directories: list[tuple[bytes, Directory]] = []
    for name, item in flatten(tree).items():
        path = os.path.join(top, name)
        if isinstance(item, Directory):
            os.makedirs(path, exist_ok=True)
            directories.append((path, item))
            continue
        if os.path.lexists(path):
            os.unlink(path)
        if isinstance(item, Link):
            os.symlink(os.fsencode(item.target), path)
        else:
            with open(path, "wb") as file:
                file.write(_bytes(item.content))
            os.chmod(path, item.mode)
            _set_mtime(path, item.mtime)
    # Deepest first: filling a directory changes its time, and its mode may forbid filling it.
    for path, directory in reversed(directories):
        os.chmod(path, directory.mode)
        _set_mtime(path, directory.mtime)


def flatten(tree: Tree) -> FlatTree:
    """Return everything in *tree* by its path, parents first, the directories above each included."""
    found: FlatTree = {}
    for path, item in _walk(b"", tree):
        for position, byte in enumerate(path):
            if byte == 0x2F:
                found.setdefault(path[:position], Directory())
        found[path] = item
    return dict(sorted(found.items()))


def read_tree(root: AnyPath) -> FlatTree:
    """Return everything below *root* by its path, with content, modes and times; links are not followed.

    Raises:
        ValueError: there is something else than files, directories and links.
    """
    found: FlatTree = {}
    pending = [b""]
    top = os.fsencode(root)
    while pending:
        below = pending.pop()
        with os.scandir(os.path.join(top, below)) as listed:
            members = list(listed)
        for member in members:
            path = os.path.join(below, member.name)
            st = member.stat(follow_symlinks=False)
            mode, mtime = stat.S_IMODE(st.st_mode), st.st_mtime_ns
            if member.is_symlink():
                found[path] = Link(os.readlink(member.path))
            elif member.is_dir():
                found[path] = Directory({}, mode, mtime)
                pending.append(path)
            elif member.is_file():
                with open(member.path, "rb") as file:
                    found[path] = File(file.read(), mode, mtime)
            else:
                raise ValueError(f"{os.fsdecode(member.path)} is neither file, directory nor link")
    return dict(sorted(found.items()))


def assert_same_tree(
    actual: AnyPath | Tree, expected: AnyPath | Tree, *, modes: bool = True, mtimes: bool = False
) -> None:
    """Fail with a line for each difference between two trees, each the path of one or a mapping.

    Args:
        actual: what there is.
        expected: what there should be.
        modes: compare the permission bits of files and directories.
        mtimes: compare modification times, in whole seconds; those that a mapping leaves open are not.

    Raises:
        AssertionError: they differ.
    """
    there, wanted = _load(actual), _load(expected)
    wrong = [f"missing: {_show(path)}" for path in wanted.keys() - there.keys()]
    wrong += [f"unexpected: {_show(path)}" for path in there.keys() - wanted.keys()]
    for path in there.keys() & wanted.keys():
        wrong += _differences(path, there[path], wanted[path], modes=modes, mtimes=mtimes)
    if wrong:
        raise AssertionError("the trees differ:\n  " + "\n  ".join(sorted(wrong)))


def _walk(prefix: bytes, tree: Tree) -> Iterator[tuple[bytes, File | Link | Directory]]:
    for name, item in tree.items():
        path = prefix + os.fsencode(name).strip(b"/")
        if isinstance(item, (str, bytes)):
            yield path, File(_bytes(item))
        elif isinstance(item, Mapping):
            yield path, Directory()
            yield from _walk(path + b"/", item)
        elif isinstance(item, Directory):
            yield path, replace(item, members={})
            yield from _walk(path + b"/", item.members)
        elif isinstance(item, File):
            yield path, replace(item, content=_bytes(item.content))
        else:
            yield path, Link(os.fsencode(item.target))


def _load(tree: AnyPath | Tree) -> FlatTree:
    return flatten(tree) if isinstance(tree, Mapping) else read_tree(tree)


def _differences(
    path: bytes, there: File | Link | Directory, wanted: File | Link | Directory, *, modes: bool, mtimes: bool
) -> Iterator[str]:
    name = _show(path)
    if type(there) is not type(wanted):
        yield f"{name} is a {_kind(there)}, not a {_kind(wanted)}"
        return
    if isinstance(there, Link) and isinstance(wanted, Link):
        if there.target != wanted.target:
            yield f"{name} links to {there.target!r}, not to {wanted.target!r}"
        return
    assert not isinstance(there, Link)
    assert not isinstance(wanted, Link)
    if isinstance(there, File) and isinstance(wanted, File) and there.content != wanted.content:
        yield f"{name} holds {there.content[:60]!r} ({len(there.content)}), not {wanted.content[:60]!r}"
    if modes and there.mode != wanted.mode:
        yield f"{name} has mode {there.mode:o}, not {wanted.mode:o}"
    if mtimes and there.mtime is not None and wanted.mtime is not None:
        seconds = there.mtime // 1_000_000_000, wanted.mtime // 1_000_000_000
        if seconds[0] != seconds[1]:
            yield f"{name} has mtime {seconds[0]}, not {seconds[1]}"


def _kind(item: File | Link | Directory) -> str:
    return type(item).__name__.lower()


def _show(path: bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _set_mtime(path: bytes, mtime: int | None) -> None:
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
