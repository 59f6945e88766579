"""The build context: the workspace's snapshot as ``COPY`` reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from topcoat.dockerfile.paths import has_wildcards, inside, join, matcher, resolve
from topcoat.errors import NeedsBuilder
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.ignore import clean
from topcoat.scan.pattern import decode, encode
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry

_ROOT = Entry(b"", "dir", 0o755, 0, b"", 0)
_BLOCK = 512
# gzip, bzip2, xz, zstd
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


class Context:
    """The snapshot of *scan* by its paths; a tree in which `resolve` can follow links."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._entries = {entry.path: entry for entry in scan.snapshot.entries}
        self._members: dict[bytes, list[Entry]] = {}
        for entry in scan.snapshot.entries:
            self._members.setdefault(entry.path.rpartition(b"/")[0], []).append(entry)

    def entry(self, path: bytes) -> Entry | None:
        """Return the entry at *path*, links not followed; the root is a directory."""
        return self._entries.get(path) if path else _ROOT

    def members(self, path: bytes) -> list[Entry]:
        """Return the members of the directory *path*, in the order of their names."""
        return self._members.get(path, [])

    def find(self, path: bytes) -> ImageNode | None:
        """Return what is at *path*, as `BaseTree.find` does."""
        entry = self.entry(path)
        return entry and ImageNode(entry.kind, entry.mode, link=entry.content if entry.kind == "link" else b"")

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        """Return what is below *directory*, as `BaseTree.below` does."""
        start = directory + b"/" if directory else b""
        return {
            path[len(start) :]: node for path in self._entries if path.startswith(start) and (node := self.find(path))
        }

    def matches(self, source: str) -> list[bytes]:
        """Return the paths that match *source*, which is absolute in the context.

        Raises:
            ValueError: what precedes the wildcards is not in the context, or a pattern is malformed.
            NeedsBuilder: nothing matches in a directory: whether BuildKit refuses depends on the other instructions.
        """
        parts = clean(source).lstrip("/").split("/")
        first = next((number for number, part in enumerate(parts) if has_wildcards(part)), None)
        if first is None:
            return [inside(source)]
        top = resolve(self, encode("/".join(parts[:first])))
        if self.entry(top) is None:
            raise ValueError(f"/{'/'.join(parts[:first])} not found in the workspace")
        matching = list(self._matching(top, b"", matcher("/".join(parts[first:]))))
        if top and not matching:
            raise NeedsBuilder(f"nothing in /{decode(top)} of the workspace matches {source}")
        return matching

    def _matching(self, top: bytes, relative: bytes, matches: Callable[[str], object]) -> Iterator[bytes]:
        # Depth first, without recursion: a path can have two thousand components.
        pending = [(entry, relative) for entry in reversed(self.members(join(top, relative)))]
        while pending:
            entry, above = pending.pop()
            path = join(above, entry.path.rpartition(b"/")[2])
            if matches(decode(path)):
                yield entry.path
            elif entry.kind == "dir":
                pending += [(member, path) for member in reversed(self.members(join(top, path)))]

    def may_be_archive(self, entry: Entry) -> bool:
        """Tell whether ``ADD`` may unpack this file: a tar, or anything that is compressed."""
        if entry.kind != "file" or not entry.size:
            return False
        with self.scan.open(entry) as file:
            head = file.read(_BLOCK)
        if head.startswith(_COMPRESSED):
            return True
        import tarfile

        try:
            tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return False
        return True
