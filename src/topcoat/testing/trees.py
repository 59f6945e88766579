"""Directory trees as values: build a tree from a mapping, read it back, compare two trees.

A tree maps names to members. A string or bytes is a file, a mapping is a directory. `File`, `Directory` and `Link` add
modes, times and links::

    build_tree(tmp_path, {
        "train.py": "print(1)\\n",
        "run.sh": File("#!/bin/sh\\n", mode=0o755),
        "data": {"empty": {}, "latest": Link("../train.py")},
        b"not utf-8 \\xff": b"",
    })

A name may be a path; its parent directories are created.
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
    """A regular file; *mtime* is in nanoseconds since the epoch, None for the current time."""

    content: str | bytes = b""
    mode: int = 0o644
    mtime: int | None = None


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str | bytes


@dataclass(frozen=True)
class Directory:
    """A directory and its members; *mtime* is as for `File`."""

    members: Mapping[str | bytes, Member] = field(default_factory=dict)
    mode: int = 0o755
    mtime: int | None = None


Member: TypeAlias = Union[str, bytes, File, Link, Directory, "Tree"]
Tree: TypeAlias = Mapping[str | bytes, Member]
FlatTree: TypeAlias = "dict[bytes, File | Link | Directory]"


def build_tree(root: AnyPath, tree: Tree) -> None:
    """Create the members of *tree* in the directory *root*, which is created if missing.

    Existing files and links are overwritten; other members of *root* stay. Modes do not depend on the umask.
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
    # Last, and children first: creating a member changes the directory's time, and its mode may forbid it.
    for path, directory in reversed(directories):
        os.chmod(path, directory.mode)
        _set_mtime(path, directory.mtime)


def flatten(tree: Tree) -> FlatTree:
    """Return the members of *tree* by path, including all parent directories, sorted by path."""
    found: FlatTree = {}
    for path, item in _walk(b"", tree):
        for position, byte in enumerate(path):
            if byte == 0x2F:
                found.setdefault(path[:position], Directory())
        found[path] = item
    return dict(sorted(found.items()))


def read_tree(root: AnyPath) -> FlatTree:
    """Return the members of *root* by path, with content, modes and times; links are not followed.

    Raise ``ValueError`` for anything but files, directories and links.
    """
    members: FlatTree = {}
    pending = [b""]
    top = os.fsencode(root)
    while pending:
        directory = pending.pop()
        for entry in list(os.scandir(os.path.join(top, directory))):
            path = os.path.join(directory, entry.name)
            st = entry.stat(follow_symlinks=False)
            mode, mtime = stat.S_IMODE(st.st_mode), st.st_mtime_ns
            if entry.is_symlink():
                members[path] = Link(os.readlink(entry.path))
            elif entry.is_dir():
                members[path] = Directory({}, mode, mtime)
                pending.append(path)
            elif entry.is_file():
                with open(entry.path, "rb") as file:
                    members[path] = File(file.read(), mode, mtime)
            else:
                raise ValueError(f"{os.fsdecode(entry.path)} is neither file, directory nor link")
    return dict(sorted(members.items()))


def assert_same_tree(
    actual: AnyPath | Tree, expected: AnyPath | Tree, *, modes: bool = True, mtimes: bool = False
) -> None:
    """Compare two trees, each given as a path or a mapping; raise ``AssertionError`` with all differences.

    *modes* compares the permission bits of files and directories, *mtimes* the modification times in whole seconds,
    except for members whose *mtime* is None.
    """
    trees = (actual, expected)
    actual_members, expected_members = (flatten(t) if isinstance(t, Mapping) else read_tree(t) for t in trees)
    differences = [f"missing: {_show(path)}" for path in expected_members.keys() - actual_members.keys()]
    differences += [f"unexpected: {_show(path)}" for path in actual_members.keys() - expected_members.keys()]
    for path in actual_members.keys() & expected_members.keys():
        pair = actual_members[path], expected_members[path]
        differences += [f"{_show(path)} {text}" for text in _differences(*pair, modes=modes, mtimes=mtimes)]
    if differences:
        raise AssertionError("the trees differ:\n  " + "\n  ".join(sorted(differences)))


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


def _differences(
    actual: File | Link | Directory, expected: File | Link | Directory, *, modes: bool, mtimes: bool
) -> Iterator[str]:
    if isinstance(actual, Link) and isinstance(expected, Link):
        if actual.target != expected.target:
            yield f"links to {actual.target!r}, not to {expected.target!r}"
        return
    if type(actual) is not type(expected) or isinstance(actual, Link) or isinstance(expected, Link):
        yield f"is a {type(actual).__name__.lower()}, not a {type(expected).__name__.lower()}"
        return
    if isinstance(actual, File) and isinstance(expected, File) and actual.content != expected.content:
        yield f"holds {actual.content[:60]!r} ({len(actual.content)}), not {expected.content[:60]!r}"
    if modes and actual.mode != expected.mode:
        yield f"has mode {actual.mode:o}, not {expected.mode:o}"
    if mtimes and actual.mtime is not None and expected.mtime is not None:
        seconds, expected_seconds = actual.mtime // 1_000_000_000, expected.mtime // 1_000_000_000
        if seconds != expected_seconds:
            yield f"has mtime {seconds}, not {expected_seconds}"


def _show(path: bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _set_mtime(path: bytes, mtime: int | None) -> None:
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
