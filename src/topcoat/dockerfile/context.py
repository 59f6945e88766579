"""The build context: the workspace's snapshot, looked at the way ``COPY`` looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from topcoat.dockerfile.paths import decode, encode, has_wildcards, inside, join, matcher, resolve
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.ignore import clean
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry

_ROOT = Entry(b"", "dir", 0o755, 0, b"", 0)
_BLOCK = 512
# Enough of any of these for the first block of what it holds.
_HEAD = 1 << 20


class Context:
    """The snapshot of *scan* by its paths; a tree in which `resolve` can follow links."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._entries = {entry.path: entry for entry in scan.snapshot.entries}
        self._members: dict[bytes, list[Entry]] = {}
        self._asked: list[str] = []
        self.unmatched: list[bytes] = []
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
        """Return the paths that *source*, absolute in the context, stands for; none where its wildcards match none.

        Raises:
            ValueError: what precedes the wildcards is not in the context, or a pattern is malformed.
        """
        parts = clean(source).lstrip("/").split("/")
        first = next((number for number, part in enumerate(parts) if has_wildcards(part)), None)
        if first is None:
            return [inside(source)]
        top = resolve(self, encode("/".join(parts[:first])))
        if self.entry(top) is None:
            raise ValueError(f"/{'/'.join(parts[:first])} not found in the workspace")
        found = list(self._matching(top, b"", matcher("/".join(parts[first:]))))
        self.unmatched += [] if found else [top]
        return found

    def ask(self, source: str) -> None:
        """Take note that *source* is copied."""
        self._asked.append(source)

    def is_sent(self, directory: bytes) -> bool:
        """Tell whether anything that was asked for lies in *directory*, or is it, or above it.

        BuildKit's client sends nothing else of the context, so that for the builder there is no such directory.
        """
        inner = directory + b"/"
        for source in self._asked:
            with suppress(ValueError):
                for path in self.matches("/" + source):
                    ends = (path + b"/", resolve(self, path) + b"/")
                    if b"/" in ends or any(end.startswith(inner) or inner.startswith(end) for end in ends):
                        return True
        return False

    def _matching(self, top: bytes, relative: bytes, matches: object) -> Iterator[bytes]:
        assert callable(matches)
        for entry in self.members(join(top, relative)):
            path = join(relative, entry.path.rpartition(b"/")[2])
            if matches(decode(path)):
                yield entry.path
            elif entry.kind == "dir":
                yield from self._matching(top, path, matches)

    def is_archive(self, entry: Entry) -> bool:
        """Tell whether ``ADD`` would unpack this file: a tar, compressed or not. zstd is taken at its word.

        Raises:
            WorkspaceChanged: the file is gone.
        """
        if entry.kind != "file" or not entry.size:
            return False
        with self.scan.open(entry) as file:
            head = file.read(_HEAD)
        if head.startswith(b"\x28\xb5\x2f\xfd"):
            return True
        import tarfile

        block = _uncompressed(head)
        if len(block) < _BLOCK or not block[:_BLOCK].strip(b"\0"):
            return False
        try:
            tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return False
        return True


def _uncompressed(head: bytes) -> bytes:
    """Return the first block of what *head* is the beginning of."""
    import bz2
    import lzma
    import zlib

    try:
        if head.startswith(b"\x1f\x8b\x08"):
            return zlib.decompressobj(31).decompress(head, _BLOCK)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _BLOCK)
        if head.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor().decompress(head, _BLOCK)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return b""
    return head
