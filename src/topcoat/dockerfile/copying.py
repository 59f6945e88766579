"""``COPY`` and ``ADD`` of local files, as BuildKit's file operations carry them out.

Sources are directories' contents, files, or links at the top level, which are followed. What a copied directory
meets is overwritten, mode and owner too, but for the destination itself, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.dockerfile.context import Context
from topcoat.dockerfile.image_filesystem import ROOT, ImageFilesystem
from topcoat.dockerfile.paths import decode, inside, join, resolve
from topcoat.errors import NeedsBuilder
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
        """The directory that must be there before anything is copied."""
        return self.path if self.is_directory else self.path.rpartition(b"/")[0]


class CopyOptions(NamedTuple):
    """The flags of a ``COPY`` or ``ADD``.

    Attributes:
        owner: of everything copied, and of directories made on the way; None where nobody is named, so that it is
            root, and on the way whoever the directory above asks for.
        mode: permission bits of everything copied; None to keep those of the source.
        unpack: whether the file could be an archive that has to be unpacked.
    """

    owner: tuple[int, int] | None = None
    mode: int | None = None
    unpack: bool = False

    @property
    def made(self) -> int:
        """Mode of directories made on the way, which never have a set-id or sticky bit."""
        return 0o755 if self.mode is None else self.mode & 0o777


def copy(
    context: Context, overlay: ImageFilesystem, sources: Sequence[str], destination: Destination, options: CopyOptions
) -> None:
    """Copy *sources* of the context.

    Raises:
        ValueError: a source is not there, or does not fit what is at the destination.
        NeedsBuilder: only a builder can do it.
    """
    for source in sources:
        for match in context.matches("/" + source):
            _place(context, overlay, match, destination, options)


def _file_target(overlay: ImageFilesystem, name: bytes, destination: Destination, options: CopyOptions) -> bytes:
    """Return the path that a file called *name* gets, the directories above it made."""
    overlay.make_directories(destination.above, options.made, options.owner)
    target = resolve(overlay, destination.path)
    there = overlay.find(target)
    if there is not None and there.kind == "unknown":
        last = target.rpartition(b"/")[2]
        if last != name and b"." not in last:
            raise _unread(target, f"write /{decode(target)}/ if it is one, or raise base_scan_limit")
        overlay.assume(target)
    if there is not None and there.kind == "dir":
        target = join(target, name)
    overlay.make_directories(target.rpartition(b"/")[0], options.made, options.owner)
    return target


def _check_file_target(overlay: ImageFilesystem, target: bytes) -> None:
    there = overlay.known(target)
    if there is not None and there.kind == "dir":
        raise ValueError(f"cannot replace the directory /{decode(target)} with a file")


def _place(
    context: Context, overlay: ImageFilesystem, source: bytes, destination: Destination, options: CopyOptions
) -> None:
    """Copy one path of the context, or what is in it."""
    followed = resolve(context, source)
    entry = context.entry(followed)
    if entry is None:
        raise ValueError(f"/{decode(source)} not found in the workspace (is it left out by an ignore file?)")
    if entry.kind != "dir":
        if options.unpack and context.may_be_archive(entry):
            raise NeedsBuilder(f"ADD unpacks {decode(source)} if it is an archive")
        target = _file_target(overlay, source.rpartition(b"/")[2], destination, options)
        _put(context, overlay, entry, target, options)
        return
    overlay.make_directories(destination.above, options.made, options.owner)
    target = resolve(overlay, destination.path)
    node = overlay.find(target)
    if node is not None and node.kind not in ("dir", "unknown"):
        raise ValueError(f"cannot copy a directory to /{decode(target)}: not a directory")
    overlay.make_directories(target, options.made, options.owner)
    overlay.learn(target)
    _put_members(context, overlay, followed, target, options)


def _put_members(
    context: Context, overlay: ImageFilesystem, directory: bytes, target: bytes, options: CopyOptions
) -> None:
    for entry in context.members(directory):
        path = join(target, entry.path.rpartition(b"/")[2])
        _put(context, overlay, entry, path, options)
        if entry.kind == "dir":
            _put_members(context, overlay, entry.path, path, options)


def _put(context: Context, overlay: ImageFilesystem, entry: Entry, target: bytes, options: CopyOptions) -> None:
    if entry.kind == "dir":
        _check_directory_target(overlay, target)
    else:
        _check_file_target(overlay, target)
    mode = entry.mode if options.mode is None or entry.kind == "link" else options.mode
    changed = entry._replace(path=target, mode=mode, owner=options.owner or ROOT)
    overlay.put(changed, context.scan.origin(entry) if entry.kind == "file" else None)


def _check_directory_target(overlay: ImageFilesystem, target: bytes) -> None:
    """Refuse to put a directory over what is not one; what the root of an image holds is always looked up.

    There, a directory in place of a link (``/bin``, ``/lib``) would leave the image without its programs.
    """
    node = overlay.known(target) if b"/" in target else overlay.find(target)
    if node is not None and node.kind == "unknown" and b"/" not in target:
        raise _unread(target, "raise base_scan_limit, or copy to another directory")
    if node is not None and node.kind not in ("dir", "unknown"):
        raise ValueError(f"cannot copy to non-directory: /{decode(target)}")


def _unread(target: bytes, hint: str) -> NeedsBuilder:
    return NeedsBuilder(
        f"the base image was not read far enough to know whether /{decode(target)} is a directory", hint=hint
    )
