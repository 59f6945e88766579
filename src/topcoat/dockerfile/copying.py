"""``COPY`` and ``ADD`` of local files, as BuildKit's file operations carry them out.

Sources are the contents of directories, files, or links at the top level, which are followed. A copied directory
changes mode and owner of the directories it merges with, except the destination itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.dockerfile.context import Context
from topcoat.dockerfile.image_filesystem import ROOT, ImageFilesystem
from topcoat.dockerfile.paths import inside, join, resolve
from topcoat.errors import NeedsBuilder
from topcoat.scan.pattern import decode
from topcoat.scan.snapshot import Entry


class Destination(NamedTuple):
    """Where something is copied: a path, and whether it is written as a directory."""

    path: bytes
    is_directory: bool

    @classmethod
    def parse(cls, text: str, working_dir: str) -> Destination:
        """Read the last word of a ``COPY``."""
        return cls(inside(text or ".", working_dir), text in ("", ".") or text.endswith(("/", "/.")))

    @property
    def above(self) -> bytes:
        """The directory that must exist before anything is copied."""
        return self.path if self.is_directory else self.path.rpartition(b"/")[0]


class CopyOptions(NamedTuple):
    """The flags of a ``COPY`` or ``ADD``.

    Attributes:
        owner: of everything copied, and of directories created for it. None means root; a created directory may
            then take the group of the one above.
        mode: permission bits of everything copied; None to keep those of the source.
        unpack: whether archives have to be unpacked.
    """

    owner: tuple[int, int] | None = None
    mode: int | None = None
    unpack: bool = False

    @property
    def directory_mode(self) -> int:
        """Mode of directories that are created for the copy; they never have a set-id or sticky bit."""
        return 0o755 if self.mode is None else self.mode & 0o777


def copy(
    context: Context,
    filesystem: ImageFilesystem,
    sources: Sequence[str],
    destination: Destination,
    options: CopyOptions,
) -> None:
    """Copy *sources* of the context.

    Raises:
        ValueError: a source does not exist, or conflicts with the destination.
        NeedsBuilder: only a builder can do it.
    """
    copying = _Copying(context, filesystem, destination, options)
    for source in sources:
        for match in context.matches("/" + source):
            copying.place(match)


class _Copying(NamedTuple):
    """One instruction that is carried out."""

    context: Context
    filesystem: ImageFilesystem
    destination: Destination
    options: CopyOptions

    def place(self, source: bytes) -> None:
        """Copy one path of the context, or what is in it."""
        followed = resolve(self.context, source)
        entry = self.context.entry(followed)
        if entry is None:
            raise ValueError(f"/{decode(source)} not found in the workspace (is it left out by an ignore file?)")
        if entry.kind != "dir":
            if self.options.unpack and self.context.may_be_archive(entry):
                raise NeedsBuilder(f"ADD unpacks {decode(source)} if it is an archive")
            self._put(entry, self._file_target(source.rpartition(b"/")[2]))
            return
        self._make_directories(self.destination.above)
        target = resolve(self.filesystem, self.destination.path)
        node = self.filesystem.find(target)
        if node is not None and node.kind not in ("dir", "unknown"):
            raise ValueError(f"cannot copy a directory to /{decode(target)}: not a directory")
        self._make_directories(target)
        self.filesystem.learn(target)
        self._put_members(followed, target)

    def _make_directories(self, directory: bytes) -> None:
        self.filesystem.make_directories(directory, self.options.directory_mode, self.options.owner)

    def _file_target(self, name: bytes) -> bytes:
        """Return the path that a file called *name* gets, and create the directories above it."""
        self._make_directories(self.destination.above)
        target = resolve(self.filesystem, self.destination.path)
        node = self.filesystem.find(target)
        if node is not None and node.kind == "unknown":
            last = target.rpartition(b"/")[2]
            if last != name and b"." not in last:
                raise _unread(target, f"write /{decode(target)}/ if it is one, or raise base_scan_limit")
            self.filesystem.assume(target)
        if node is not None and node.kind == "dir":
            target = join(target, name)
        self._make_directories(target.rpartition(b"/")[0])
        return target

    def _put_members(self, directory: bytes, target: bytes) -> None:
        pending = [(directory, target)]
        while pending:
            directory, target = pending.pop()
            for entry in self.context.members(directory):
                path = join(target, entry.path.rpartition(b"/")[2])
                self._put(entry, path)
                if entry.kind == "dir":
                    pending.append((entry.path, path))

    def _put(self, entry: Entry, target: bytes) -> None:
        if entry.kind == "dir":
            self._check_directory_target(target)
        elif (node := self.filesystem.known(target)) is not None and node.kind == "dir":
            raise ValueError(f"cannot replace the directory /{decode(target)} with a file")
        mode = entry.mode if self.options.mode is None or entry.kind == "link" else self.options.mode
        changed = entry._replace(path=target, mode=mode, owner=self.options.owner or ROOT)
        self.filesystem.put(changed, self.context.scan.source_of(entry) if entry.kind == "file" else None)

    def _check_directory_target(self, target: bytes) -> None:
        """Refuse to put a directory over anything else. The content of the image's root is always looked up.

        There, a directory in place of a link (``/bin``, ``/lib``) would leave the image without its programs.
        """
        node = self.filesystem.known(target) if b"/" in target else self.filesystem.find(target)
        if node is not None and node.kind == "unknown" and b"/" not in target:
            raise _unread(target, "raise base_scan_limit, or copy to another directory")
        if node is not None and node.kind not in ("dir", "unknown"):
            raise ValueError(f"cannot copy to non-directory: /{decode(target)}")


def _unread(target: bytes, hint: str) -> NeedsBuilder:
    message = f"the base image was not read far enough to know whether /{decode(target)} is a directory"
    return NeedsBuilder(message, hint=hint)
