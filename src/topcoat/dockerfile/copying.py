"""``COPY`` and ``ADD`` of local files, as BuildKit's file operations carry them out.

Sources are directories' contents, files, or links at the top level, which are followed. What a copied directory
meets is overwritten, mode and owner too, but for the destination itself, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from topcoat.dockerfile.context import Context, patterns
from topcoat.dockerfile.image_filesystem import FIXED, ROOT, ImageFilesystem
from topcoat.dockerfile.paths import decode, encode, has_wildcards, inside, join, resolve
from topcoat.errors import NeedsBuilder
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.ignore import IgnoreRules, State, clean
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
        exclude: patterns relative to each source.
        unpack: whether the file could be an archive that has to be unpacked.
        parents: keep the sources' directories.
    """

    owner: tuple[int, int] | None = None
    mode: int | None = None
    exclude: tuple[str, ...] = ()
    unpack: bool = False
    parents: bool = False

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
    excluded = patterns(options.exclude) if options.exclude else None
    for source in sources:
        context.ask(source)
        top, included, required = source, None, None
        if options.parents:
            parent, pivot, pattern = source.partition("/./")
            top, pattern = (parent, pattern) if pivot else ("/", source)
            pattern = decode(inside(pattern))
            included = patterns([pattern])
            if not has_wildcards(top) and not has_wildcards(pattern):
                required = clean(f"/{top}/{pattern}").lstrip("/")
        copied = _Copy(context, overlay, options, included, excluded)
        if (included or excluded) and (not inside(top) or (top.startswith("/") and top.endswith("/"))):
            copied.check_links(inside(top))
        for match in context.matches("/" + top):
            copied.place(match, destination)
        if required is not None and not any(decode(path).startswith(required) for path in copied.taken):
            raise ValueError(f"/{required} not found in the workspace")


def copy_text(
    overlay: ImageFilesystem, name: str, content: str, destination: Destination, options: CopyOptions
) -> None:
    """Copy the body of the here-document called *name*.

    Raises:
        ValueError: it does not fit what is at the destination.
        NeedsBuilder: only a builder can do it.
    """
    target = _file_target(overlay, encode(name).rpartition(b"/")[2], destination, options)
    _check_file_target(overlay, target)
    mode = 0o644 if options.mode is None else options.mode
    overlay.put_text(target, encode(content), mode, options.owner or ROOT)


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


class _Pending:
    """A directory that is only made when something in it is copied."""

    def __init__(self, entry: Entry, target: bytes) -> None:
        self.entry = entry
        self.target = target
        self.made = False


class _Copy:
    """One source on its way; ``taken`` are the context's paths that were copied."""

    def __init__(
        self,
        context: Context,
        overlay: ImageFilesystem,
        options: CopyOptions,
        included: IgnoreRules | None,
        excluded: IgnoreRules | None,
    ) -> None:
        self._context = context
        self._overlay = overlay
        self._options = options
        self._included = included
        self._excluded = excluded
        # A directory that is left out may still hold what a pattern brings back.
        self._brings_back = excluded is not None and any(not rule.line.excluded for rule in excluded.rules)
        self.taken: list[bytes] = []

    def check_links(self, source: bytes) -> None:
        """Refuse links at the top of *source* that lead nowhere, which BuildKit follows when it has patterns."""
        directory = resolve(self._context, source)
        for entry in self._context.members(directory):
            included, excluded, _ = self._decide(decode(entry.path.rpartition(b"/")[2]), (0, 0))
            missing = entry.kind == "link" and self._context.entry(resolve(self._context, entry.path)) is None
            if included and not excluded and missing:
                raise ValueError(f"/{decode(entry.path)} not found in the workspace: it is a link that leads nowhere")

    def place(self, source: bytes, destination: Destination) -> None:
        followed = resolve(self._context, source)
        entry = self._context.entry(followed)
        if entry is None:
            raise ValueError(f"/{decode(source)} not found in the workspace (is it left out by an ignore file?)")
        if entry.kind != "dir":
            if self._options.unpack and self._context.is_archive(entry):
                raise NeedsBuilder(f"ADD unpacks the archive {decode(source)}")
            target = _file_target(self._overlay, source.rpartition(b"/")[2], destination, self._options)
            self._put(entry, target)
            return
        self._overlay.make_directories(destination.above, self._options.made, self._options.owner)
        target = resolve(self._overlay, destination.path)
        there = self._overlay.find(target)
        if there is not None and there.kind not in ("dir", "unknown"):
            raise ValueError(f"cannot copy a directory to /{decode(target)}, which is none")
        self._overlay.make_directories(target, self._options.made, self._options.owner)
        self._overlay.learn(target)
        self._members(followed, "", target, (0, 0), ())

    def _members(
        self, directory: bytes, relative: str, target: bytes, states: tuple[State, State], pending: tuple[_Pending, ...]
    ) -> None:
        for entry in self._context.members(directory):
            name = entry.path.rpartition(b"/")[2]
            path = f"{relative}/{decode(name)}" if relative else decode(name)
            included, excluded, below = self._decide(path, states)
            place = join(target, name)
            if entry.kind != "dir":
                if included and not excluded:
                    self._make(pending)
                    self._put(entry, place)
                continue
            waiting = _Pending(entry, place)
            if included and not excluded:
                self._make(pending)
                self._put_directory(entry, place)
                waiting.made = True
            if not excluded or self._brings_back:
                self._members(entry.path, path, place, below, (*pending, waiting))

    def _decide(self, path: str, states: tuple[State, State]) -> tuple[bool, bool, tuple[State, State]]:
        include, exclude = states
        included, excluded = True, False
        if self._included is not None:
            included, include = self._included.decide(path, include)
        if self._excluded is not None:
            excluded, exclude = self._excluded.decide(path, exclude)
        return included, excluded, (include, exclude)

    def _make(self, pending: tuple[_Pending, ...]) -> None:
        for directory in pending:
            if directory.made:
                continue
            directory.made = True
            there = self._directory_at(directory.target)
            if there is None or there.kind == "unknown":
                self._put_directory(directory.entry, directory.target)
            else:
                # Such a directory gets the mode of the source, and keeps its owner.
                kept = Entry(directory.target, "dir", directory.entry.mode, 0, b"", FIXED, (there.uid, there.gid))
                self._overlay.put(kept)

    def _put(self, entry: Entry, target: bytes) -> None:
        _check_file_target(self._overlay, target)
        self.taken.append(entry.path)
        origin = self._context.scan.origin(entry) if entry.kind == "file" else None
        self._overlay.put(self._changed(entry, target), origin)

    def _put_directory(self, entry: Entry, target: bytes) -> None:
        self._directory_at(target)
        self.taken.append(entry.path)
        self._overlay.put(self._changed(entry, target))

    def _directory_at(self, target: bytes) -> ImageNode | None:
        """Return what is known of the directory at *target*; at the root of an image, that is always found out.

        There, a directory in place of a link (``/bin``, ``/lib``) would leave the image without its programs.
        """
        there = self._overlay.known(target) if b"/" in target else self._overlay.find(target)
        if there is not None and there.kind == "unknown" and b"/" not in target:
            raise _unread(target, "raise base_scan_limit, or copy to another directory")
        if there is not None and there.kind not in ("dir", "unknown"):
            raise ValueError(f"cannot copy to non-directory: /{decode(target)}")
        return there

    def _changed(self, entry: Entry, target: bytes) -> Entry:
        mode = entry.mode
        if self._options.mode is not None and entry.kind != "link":
            mode = self._options.mode
        return entry._replace(path=target, mode=mode, owner=self._options.owner or ROOT)


def _unread(target: bytes, hint: str) -> NeedsBuilder:
    return NeedsBuilder(
        f"the base image was not read far enough to know whether /{decode(target)} is a directory", hint=hint
    )
