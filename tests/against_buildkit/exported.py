"""The file system of an image as BuildKit exports it, and how two of them differ."""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
}


class Exported(NamedTuple):
    """One path of an image: all that is compared. *content* is a digest, or a link's target."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    content: bytes
    mtime: int


Tree = Mapping[bytes, Exported]


def read_export(archive: Path) -> dict[bytes, Exported]:
    """Read an exported tar; a hard link is the file that it leads to."""
    collected: dict[bytes, Exported] = {}
    with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            path = os.fsencode(member.name)
            if member.islnk():
                collected[path] = collected[os.fsencode(member.linkname)]
                continue
            content = os.fsencode(member.linkname)
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                content = hashlib.sha256(file.read()).digest()
            kind = _KINDS[member.type]
            mode = 0o777 if kind == "link" else member.mode
            collected[path] = Exported(kind, mode, member.uid, member.gid, member.size, content, int(member.mtime // 1))
    return collected


def way_to(tree: Tree, place: bytes) -> list[bytes]:
    """Return the directories that *place* is and goes through, outermost first, links followed."""
    waiting, way = posixpath.normpath(place).split(b"/")[::-1], list[bytes]()
    while waiting:
        name = waiting.pop()
        if name == b"..":
            way = way[:-1]
        elif name not in (b"", b"."):
            path = b"/".join([*way[-1:], name])
            if tree[path].kind == "link":
                target = tree[path].content
                way = [] if target.startswith(b"/") else way
                waiting += target.split(b"/")[::-1]
            else:
                way.append(path)
    return way


class ByDesign(NamedTuple):
    """What may differ; ``docs/images.md`` lists it.

    Attributes:
        dateless: paths whose dates are not compared: the target directory and those above it.
        left_out: paths of what is neither file, directory nor link, which BuildKit takes over.
        emptied: BuildKit may have sent a file empty that its walk keeps and its reader takes for ignored, which only
            ignore rules with a ``!`` bring about.
    """

    dateless: Collection[bytes] = ()
    left_out: Collection[bytes] = ()
    emptied: bool = False


def differences(ours: Tree, theirs: Tree, by_design: ByDesign) -> list[str]:
    """Return a line for each difference between our image and the one that BuildKit built."""
    return list(_differences(ours, theirs, by_design))


def _differences(ours: Tree, theirs: Tree, by_design: ByDesign) -> Iterator[str]:
    for path in sorted({*ours, *theirs}):
        mine, built = ours.get(path), theirs.get(path)
        if built is not None and built.kind == "fifo" and path in by_design.left_out:
            # What the base has in its place, if anything, stays.
            continue
        if mine is None or built is None:
            yield f"{path!r}: {_told(mine)} here, {_told(built)} by BuildKit"
            continue
        same = {"mtime"} if path in by_design.dateless else set[str]()
        if by_design.emptied and mine.kind == built.kind == "file" and mine.size and not built.size:
            same |= {"size", "content"}
        fields = [name for name in Exported._fields if getattr(mine, name) != getattr(built, name) and name not in same]
        if fields:
            both = (", ".join(f"{name} {_value(side, name)}" for name in fields) for side in (mine, built))
            yield f"{path!r}: {next(both)} here, {next(both)} by BuildKit"


def _told(one: Exported | None) -> str:
    return "missing" if one is None else f"a {one.kind} {one.mode:o} {one.uid}:{one.gid} {one.content[:20]!r}"


def _value(one: Exported, name: str) -> str:
    value = getattr(one, name)
    return f"{value:o}" if name == "mode" else value.hex()[:12] if one.kind == "file" and name == "content" else value
