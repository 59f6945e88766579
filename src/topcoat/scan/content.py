"""Read the content of files: one version of it, never a part of one and never a mixture of two.

A file's ctime moves when a write begins, so a read during a write sees a file that looks unchanged. A file whose ctime
is so young that a write may still go on is read again later. So is one that was written a moment ago by a program which
still has it open: between two writes that program may wait for the processor.
"""

from __future__ import annotations

import hashlib
import sys
import time
from typing import BinaryIO, NamedTuple

from topcoat.errors import WorkspaceError
from topcoat.helpers.plain_files import MAX_UNWRITTEN_NS, is_open_for_writing
from topcoat.linked_files import leads_out
from topcoat.scan.clock import COPY_NS_PER_BYTE, SETTLED, is_settled
from topcoat.scan.names import to_system
from topcoat.scan.tree import Tree, Version, keeps_changing, reading, version_of

_BLOCK = 1 << 20
_MAX_OBEYED_BYTES = 8 << 20
_MAX_ATTEMPTS = 5
_MAX_WAIT_S = 0.02
# A program has truncated the file and not written yet: it waits for the processor, or for the disk.
_MAX_EMPTY_WAIT_S = 2.0
_POLL_S = 0.001


class Content(NamedTuple):
    """What was read of a file.

    Attributes:
        size: bytes of content.
        digest: raw SHA-256.
        can_be_cached: no program can write the file without a change of its ctime.
    """

    size: int
    digest: bytes
    can_be_cached: bool = True


def read_file(tree: Tree, path: str) -> bytes:
    """Return the whole content of a file that topcoat obeys, such as an ignore file.

    Raises:
        WorkspaceError: it is too large.
        WorkspaceChanged: it keeps changing.
    """
    content = digest_file(tree, path)
    if content.size > _MAX_OBEYED_BYTES:
        raise WorkspaceError(f"{tree.full(path)} has {content.size} bytes; the maximum is {_MAX_OBEYED_BYTES}")
    data = tree.read(path, content.size)
    if hashlib.sha256(data).digest() != content.digest:
        raise keeps_changing(path)
    return data


def refuse_link_out(tree: Tree, path: str) -> None:
    """Raise ``WorkspaceError`` if the file *path*, which topcoat obeys, is a link that leads out of the tree."""
    full, root = tree.full(path), tree.full("")
    if tree.is_local:
        is_outside = leads_out(to_system(full), to_system(root))
    else:
        is_outside = any(node.name == path and node.kind == "link" for node in tree.list(""))
    if is_outside:
        raise WorkspaceError(
            f"{full} is a link that leads out of the workspace",
            hint="replace the link by a copy of the file: its lines appear in messages",
        )


def digest_at_once(tree: Tree, path: str) -> Content | None:
    """Return a file's content; None if a program may be writing it."""
    with tree.open(path) as source, reading(path):
        version = _version(source)
        age = time.time_ns() - version.ctime if version else 0
        if version and version.size < _BLOCK and age > SETTLED:
            # Most files: without the objects that the others need.
            is_open = age < MAX_UNWRITTEN_NS and is_open_for_writing(source)
            data = source.read(version.size + 1)
            if len(data) != version.size or _version(source) != version:
                return None
            return Content(len(data), hashlib.sha256(data).digest(), not is_open)
        watch = _Watch(source)
        if not watch.is_settled:
            return None
        content, _ = _hash(source, watch, 0)
        return content if watch.has_all(content) and not watch.has_changed() else None


def digest_file(tree: Tree, path: str, listed: Version | None = None) -> Content:
    """Return a file's content; wait while a program writes it, but not for long.

    A file that keeps growing counts as what it was a moment ago, if that part stays the same. If *listed* is another
    version than the current one, a program is writing the file.

    Raises:
        WorkspaceChanged: the file keeps changing.
    """
    previous, only_grows = Content(0, hashlib.sha256().digest()), True
    # Opened once: if a program renames another file to this name meanwhile, both are complete.
    with tree.open(path) as source, reading(path):
        watch = _Watch(source, listed)
        for attempt in range(_MAX_ATTEMPTS):
            watch.wait()
            is_settled = watch.is_settled
            content, start = _hash(source, watch, previous.size)
            is_whole = watch.has_all(content) or content == previous
            if not watch.has_changed() and is_settled and is_whole:
                return content
            only_grows = only_grows and start == previous.digest
            # A file that a program has just truncated is empty too; one that stays as it was has nothing yet.
            has_content = previous.size or not watch.is_busy
            if attempt == _MAX_ATTEMPTS - 1 and only_grows and watch.only_grew and has_content:
                return previous
            previous = content
    raise keeps_changing(path)


class _Watch:
    """Watches an open file: its version (None if it is remote), and whether a program writes it."""

    def __init__(self, source: BinaryIO, listed: Version | None = None) -> None:
        self._source = source
        self.version = _version(source)
        # The first write to a page that is mapped moves the ctime; so does the first one after the page was written.
        self.is_open = self._is_younger(MAX_UNWRITTEN_NS) and is_open_for_writing(source)
        self.only_grew = listed is None or self.version is None or self.version.size >= listed.size
        self.is_busy = listed is not None and listed != self.version

    @property
    def is_settled(self) -> bool:
        """Tell whether every write that has begun has ended."""
        if self.version is None:
            return True
        size, _, ctime = self.version
        if self._is_younger(SETTLED):
            self.is_open = is_open_for_writing(self._source)
            if self.is_open:
                return False
        return is_settled(ctime, size, is_busy=self.is_busy)

    def _is_younger(self, age: int) -> bool:
        return self.version is not None and 0 <= time.time_ns() - self.version.ctime < age

    def has_changed(self) -> bool:
        """Tell whether the version is another one than at the last look."""
        before, self.version = self.version, _version(self._source)
        if before is None or self.version is None or self.version == before:
            return False
        self.is_busy = True
        self.only_grew = self.only_grew and self.version.size >= before.size
        return True

    def has_all(self, content: Content) -> bool:
        """Tell whether *content* has the stated size; some file systems state 0 for all files."""
        return self.version is None or content.size == self.version.size

    def wait(self) -> None:
        """Wait until the file is settled, for a bounded time."""
        start = time.monotonic()
        while not self.is_settled and time.monotonic() - start < self._longest_wait:
            time.sleep(_POLL_S)
            self.has_changed()

    @property
    def _longest_wait(self) -> float:
        """How long a write may take, in seconds."""
        size = self.version.size if self.version else 0
        return _MAX_EMPTY_WAIT_S if size == 0 and self.is_open else _MAX_WAIT_S + size * COPY_NS_PER_BYTE / 1e9


def _hash(source: BinaryIO, watch: _Watch, start: int) -> tuple[Content, bytes]:
    """Return the content, and the digest of its first *start* bytes."""
    source.seek(0)
    # Not to the end: of a file that grows, that might never come.
    size = (watch.version.size if watch.version else 0) or sys.maxsize
    digest, total, start_digest = hashlib.sha256(), 0, b""
    for end in sorted({min(start, size), size}):
        while total < end and (block := source.read(min(_BLOCK, end - total))):
            digest.update(block)
            total += len(block)
        if end == start:
            start_digest = digest.digest()
    return Content(total, digest.digest(), not watch.is_open), start_digest


def _version(source: BinaryIO) -> Version | None:
    try:
        return version_of(source.fileno())
    except (OSError, AttributeError, NotImplementedError):  # not a local file
        return None
