"""Scan a workspace: walk its projects under their ignore rules and return one snapshot."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO, Literal, NamedTuple

from topcoat.errors import InvalidWorkspace, WorkspaceChanged, WorkspaceError, WorkspaceNotFound
from topcoat.helpers.plain_files import MAX_SIZE, MAX_UNWRITTEN_NS, Batch, Result
from topcoat.helpers.pool import MIN_FILES, HelperPool
from topcoat.notices import notice
from topcoat.scan.begun import begin, finished
from topcoat.scan.clock import SETTLED, is_settled
from topcoat.scan.content import Content, digest_at_once, digest_file, read_file, refuse_link_out
from topcoat.scan.exclude import excluded_inodes, is_excluded
from topcoat.scan.ignore import DEFAULT_PATTERNS, IgnoreRules, ignore_hint
from topcoat.scan.index import StatIndex, drop_if_wrong
from topcoat.scan.listed_ahead import listed_ahead
from topcoat.scan.names import ERRORS, decode, encode, to_system
from topcoat.scan.retry import has_kept_scan, keep_scan, kept_scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.scan.sources import ScanRoot, find_scan_roots
from topcoat.scan.tree import LocalTree, SourceNode, Tree, keeps_changing
from topcoat.scan.walk import walk
from topcoat.specs.projects import Projects

Modes = Literal["portable", "exact"]
Mtimes = Literal["content", "preserve"]

DOCKERFILE_IGNORE_FILE = "Dockerfile.torchx.dockerignore"
"""Read in place of ``.dockerignore`` where it exists, as BuildKit does for this Dockerfile."""

IMAGE_IGNORE_FILES = (DOCKERFILE_IGNORE_FILE, ".dockerignore", ".torchxignore")
"""The ignore files of images, and of the scheduler ``local``, which rehearses them."""

DIRECTORY_IGNORE_FILES = (".torchxignore",)
"""The ignore file of other job directories, as TorchX has it; a scan warns of the others that it does not read."""


class ScanOptions(NamedTuple):
    """How a workspace is read.

    Attributes:
        ignore_files: names of the ignore files at each project's root; read in this order as one list of rules.
        modes: ``portable`` makes every file 0644 or 0755 and every directory 0755; ``exact`` keeps permission bits.
        mtimes: ``preserve`` makes modification times part of the snapshot's identity.
    """

    ignore_files: tuple[str, ...] = DIRECTORY_IGNORE_FILES
    modes: Modes = "portable"
    mtimes: Mtimes = "content"


class Scan:
    """A snapshot, and where the content of its files can be read."""

    def __init__(self, snapshot: Snapshot, sources: dict[bytes, tuple[Tree, str]] | Tree) -> None:
        """Take the tree and path of every file, or the one tree whose paths are those of the snapshot."""
        self.snapshot = snapshot
        self._sources = sources

    def narrow(self, snapshot: Snapshot) -> Scan:
        """Return the scan of *snapshot*, which holds some of the entries."""
        return Scan(snapshot, self._sources)

    def source_of(self, entry: Entry) -> tuple[Tree, str]:
        """Return the tree that holds *entry*, and its path there."""
        if isinstance(self._sources, dict):
            return self._sources[entry.path]
        return self._sources, decode(entry.path)

    def read(self, entry: Entry) -> bytes:
        """Read as much of a file as was scanned, and check it against its entry; the file may have grown since.

        Raises:
            WorkspaceChanged: the file differs from its entry, or is gone.
        """
        tree, path = self.source_of(entry)
        try:
            data = tree.read(path, entry.size)
        except WorkspaceNotFound:
            raise self.changed(entry) from None
        if len(data) != entry.size or hashlib.sha256(data).digest() != entry.content:
            raise self.changed(entry)
        return data

    def open(self, entry: Entry) -> BinaryIO:
        """Open a file to read as much of it as was scanned; the caller checks size and digest of that.

        Raises:
            WorkspaceChanged: the file is gone.
        """
        tree, path = self.source_of(entry)
        try:
            return tree.open(path)
        except WorkspaceNotFound:
            raise self.changed(entry) from None

    def changed(self, entry: Entry) -> WorkspaceChanged:
        """Return the error for a file that differs from its entry."""
        tree, path = self.source_of(entry)
        error = WorkspaceChanged(
            f"{decode(entry.path)} changed after it was scanned",
            hint=f"run the command again; if a program keeps writing it, {ignore_hint(path)}",
        )
        error.file = None if _drop_wrong_index(tree, path, entry) else (tree, path)
        return error

    def scan_again(self, tree: Tree, path: str, options: ScanOptions) -> Scan | None:
        """Return this scan with the file at *path* of *tree* read again; None if all of it has to be scanned again."""
        sources = self._sources
        if isinstance(sources, dict):
            entries = [self.snapshot.find(target) for target, source in sources.items() if source == (tree, path)]
        else:
            entries = [self.snapshot.find(encode(path))] if sources is tree else []
        directory, _, name = path.rpartition("/")
        if not entries or name in options.ignore_files:
            return None
        node = next((node for node in tree.list(directory) if node.name == name), None)
        if node is None or node.kind != "file":
            return None
        content = digest_file(tree, path)
        mode = _mode(node, exact=options.modes == "exact")
        new = {
            entry: entry._replace(mode=mode, size=content.size, content=content.digest, mtime=node.mtime)
            for entry in entries
            if entry
        }
        entries_now = [new.get(entry, entry) for entry in self.snapshot]
        return self.narrow(Snapshot(entries_now, preserve_mtimes=self.snapshot.preserve_mtimes))


def scan(
    workspace: Projects, options: ScanOptions | None = None, *, projects: Sequence[ScanRoot] | None = None
) -> Scan:
    """Read *workspace* and return its snapshot.

    Files that are unchanged according to the stat index are not opened. If two projects hold the same path, the later
    project wins. Notices report skipped and unusual files.

    Args:
        workspace: the directories and files to read.
        options: how they are read.
        projects: the result of `find_scan_roots` if the caller has it; for remote projects it takes round trips.

    Raises:
        WorkspaceNotFound: a project's directory or file does not exist.
        InvalidIgnorePattern: an ignore file cannot be parsed.
        InvalidWorkspace: two projects put different kinds of things at one path.
        WorkspaceError: something cannot be read.
        WorkspaceChanged: a file keeps changing while it is read.
    """
    options = options or ScanOptions()
    key = workspace.resolved(), options
    return kept_scan(key) or keep_scan(key, finished(key) or _scan(workspace, options, projects))


def begin_scan(workspace: Projects, options: ScanOptions) -> None:
    """Begin to read *workspace* in the background, unless there is a scan to update; `scan` waits for the result."""
    key = workspace.resolved(), options
    if not has_kept_scan(key):
        begin(key, partial(_scan, workspace, options, None))


def _scan(workspace: Projects, options: ScanOptions, projects: Sequence[ScanRoot] | None) -> Scan:
    projects = find_scan_roots(workspace) if projects is None else projects
    scanned = [_ProjectScan(project, options) for project in projects]
    preserve_mtimes = options.mtimes == "preserve"
    if len(projects) == 1 and not projects[0].target:
        return Scan(Snapshot(scanned[0].entries, preserve_mtimes=preserve_mtimes), projects[0].tree)
    entries: dict[bytes, Entry] = {}
    sources: dict[bytes, tuple[Tree, str]] = {}
    for project in scanned:
        for entry in project.entries:
            _check_clash(entries.get(entry.path), entry)
            entries[entry.path] = entry
            sources[entry.path] = project.source_of(entry)
    _add_parents(entries)
    return Scan(Snapshot(entries.values(), preserve_mtimes=preserve_mtimes), sources)


class _ProjectScan:
    """The scan of one project."""

    def __init__(self, project: ScanRoot, options: ScanOptions) -> None:
        self.project = project
        self.entries: list[Entry] = []
        self._exact = options.modes == "exact"
        self._prefix = project.target + b"/" if project.target else b""
        self._index = StatIndex({})
        self._kept: set[str] = set()
        # The nodes of files that were being written, by directory.
        self._changing: dict[str, dict[str, SourceNode]] = {}
        self._list_directory: Callable[[str], list[SourceNode]] = project.tree.list
        self._is_patient = project.file is not None
        self._excluded_inodes = excluded_inodes()
        if project.file is not None:
            self._add_file("", project.file, target=project.target)
        elif isinstance(project.tree, LocalTree):
            self._index = StatIndex.load(project.label)
            with listed_ahead(project.tree, self._index) as self._list_directory:
                self._walk(options)
            self._index.save()
            self._scan_changing_again()
        else:
            self._walk(options)
            self._scan_changing_again()

    def _walk(self, options: ScanOptions) -> None:
        rules = self._read_rules(options.ignore_files)
        directories: dict[str, SourceNode] = {}
        unread: list[tuple[str, SourceNode]] = []
        if self._prefix:
            self.entries.append(Entry(self.project.target, "dir", 0o755, 0, b"", 0))
        add, exact, new, errors = self.entries.append, self._exact, tuple.__new__, ERRORS
        for path, excluded, members, below in walk(self._list, rules):
            if path and (members or not excluded):
                self._add_directory(path, directories)
            inner = f"{path}/" if path else ""
            for node in below:
                directories[inner + node.name] = node
            files = [node for node in members if node.kind == "file"]
            target = self._prefix + encode(inner)
            for node, content in zip(files, self._index.digests(path, files), strict=True):
                if content is None:
                    unread.append((path, node))
                    continue
                # `_add_file` and `Entry.__new__` spelled out, because this runs once for every unchanged file.
                mode = node.mode if exact else 0o755 if node.mode & 0o111 else 0o644
                name = target + node.name.encode("utf-8", errors)
                add(new(Entry, (name, "file", mode, node.size, content, node.mtime, None)))
            for node in members if len(files) < len(members) else ():
                if node.kind != "file":
                    self._add_member(path, node)
        for (path, node), digest in zip(unread, self._digest_plain(unread), strict=True):
            if digest is None:
                self._add_member(path, node)
            else:
                self._add_content(path, node, Content(node.size, digest))

    def _digest_plain(self, unread: list[tuple[str, SourceNode]]) -> list[bytes | None]:
        """Return the digest of each file to read; None for one that is not plain, and for all if they are few."""
        tree = self.project.tree
        if len(unread) < MIN_FILES or not isinstance(tree, LocalTree):
            return [None] * len(unread)
        now = time.time_ns()

        def batches() -> Iterator[Batch]:
            for directory, files in groupby(unread, itemgetter(0)):
                plain = [
                    (encode(node.name), node.size, node.ctime, now - node.ctime < MAX_UNWRITTEN_NS)
                    for _, node in files
                    if node.size <= MAX_SIZE and now - node.ctime > SETTLED and is_settled(node.ctime, node.size)
                ]
                yield "digest", encode(tree.full(directory)), b"", (), plain

        found: dict[bytes, Result] = {}
        with HelperPool(len(unread)) as helpers:
            for (_, directory, _, _, files), digests in helpers.do_all(batches()):
                found.update(zip([b"%s/%s" % (directory, file[0]) for file in files], digests, strict=True))
        return [found.get(encode(tree.full(_join(directory, node.name)))) for directory, node in unread]

    def _read_rules(self, names: tuple[str, ...]) -> IgnoreRules:
        tree, label = self.project.tree, self.project.label
        present = {node.name for node in tree.list("") if node.kind in ("file", "link")}
        if DOCKERFILE_IGNORE_FILE in present:
            present.discard(".dockerignore")
        files = [(f"{label}/{name}", self._read_ignore_file(name)) for name in names if name in present]
        for name in IMAGE_IGNORE_FILES:
            if name in present and name not in names:
                notice(
                    f"{label}/{name} is not read for a job directory, only {', '.join(names)}: what it leaves out of "
                    "images is copied"
                )
        if files:
            return IgnoreRules.parse(files)
        notice(
            f"no {names[-1]} in {label}: leaving out caches, virtual environments and version control; "
            "`topcoat init` writes one"
        )
        return IgnoreRules.from_patterns(DEFAULT_PATTERNS, "built-in patterns")

    def _read_ignore_file(self, name: str) -> bytes:
        refuse_link_out(self.project.tree, name)
        try:
            return read_file(self.project.tree, name)
        except WorkspaceError as error:
            # No rule can leave out the file that has the rules.
            error.hint = f"make {name} a readable file, or remove it"
            raise

    def _list(self, path: str) -> list[SourceNode]:
        try:
            nodes = self._list_directory(path)
        except WorkspaceNotFound:
            if not path:
                raise
            self._warn_gone(path)
            return []
        if not self._excluded_inodes:
            return nodes
        return [node for node in nodes if node.inode not in self._excluded_inodes or not self._is_excluded(path, node)]

    def _is_excluded(self, directory: str, node: SourceNode) -> bool:
        tree, path = self.project.tree, _join(directory, node.name)
        if not isinstance(tree, LocalTree) or node.kind != "file" or not is_excluded(to_system(tree.full(path))):
            return False
        notice(f"{path} receives the output of this command: left out")
        return True

    def _warn_gone(self, path: str) -> None:
        notice(f"{path} was deleted while the workspace was scanned: left out")

    def source_of(self, entry: Entry) -> tuple[Tree, str]:
        """Return the project's tree, and the path of *entry* there."""
        if self.project.file is not None:
            return self.project.tree, self.project.file.name
        return self.project.tree, decode(entry.path[len(self._prefix) :])

    def _add_member(self, directory: str, node: SourceNode) -> None:
        path = _join(directory, node.name)
        try:
            if node.kind == "file":
                self._add_file(directory, node)
            elif node.kind == "link":
                self._add_link(path, node)
            else:
                notice(f"{path} is a device, socket or FIFO: left out")
        except WorkspaceNotFound:
            self._warn_gone(path)
        except WorkspaceChanged:  # another kind of file has its name now
            if node.kind != "file" or self._is_patient:
                raise
            self._changing.setdefault(directory, {})[node.name] = node

    def _scan_changing_again(self) -> None:
        """Read the files again that were being written, now that all others are read."""
        self._is_patient = True
        for directory, names in self._changing.items():
            try:
                nodes = {node.name: node for node in self.project.tree.list(directory)}
            except WorkspaceNotFound:
                nodes = {}
            for name in names:
                node = nodes.get(name)
                if node is None:
                    self._warn_gone(_join(directory, name))
                elif node.kind == "dir":
                    raise keeps_changing(_join(directory, name))
                else:
                    self._add_member(directory, node)

    def _add_directory(self, path: str, directories: dict[str, SourceNode]) -> None:
        # An excluded directory is kept if something below it is kept, so its parents may be missing too.
        while path and path not in self._kept:
            self._kept.add(path)
            node = directories[path]
            mode = node.mode if self._exact else 0o755
            self.entries.append(Entry(self._prefix + encode(path), "dir", mode, 0, b"", node.mtime))
            path = path.rpartition("/")[0]

    def _add_file(self, directory: str, node: SourceNode, target: bytes = b"") -> None:
        path = _join(directory, node.name)
        if self._is_patient:
            listed = self._changing.get(directory, {}).get(node.name)
            content = digest_file(self.project.tree, path, listed and listed.version)
        elif (digested := digest_at_once(self.project.tree, path)) is None:
            self._changing.setdefault(directory, {})[node.name] = node
            return
        else:
            content = digested
        self._add_content(directory, node, content, target)

    def _add_content(self, directory: str, node: SourceNode, content: Content, target: bytes = b"") -> None:
        if content.size == node.size and content.can_be_cached:
            self._index.put(directory, node, content.digest)
        mode = _mode(node, exact=self._exact)
        target = target or self._prefix + encode(_join(directory, node.name))
        self.entries.append(Entry(target, "file", mode, content.size, content.digest, node.mtime))

    def _add_link(self, path: str, node: SourceNode) -> None:
        link = self.project.tree.readlink(path, node)
        resolved = os.path.normpath(os.path.join(os.path.dirname(path), link))
        if os.path.isabs(link) or resolved == ".." or resolved.startswith("../"):
            notice(f"{path} links to {link}, outside the workspace: kept as a link")
        target = self._prefix + encode(path)
        self.entries.append(Entry(target, "link", 0o777, 0, encode(link), node.mtime))


def _drop_wrong_index(tree: Tree, path: str, entry: Entry) -> bool:
    """Drop the stat index that *entry*, which is no longer right, comes from; tell whether that was the case."""
    if not isinstance(tree, LocalTree):
        return False
    directory, _, name = path.rpartition("/")
    with suppress(WorkspaceError):
        node = tree.stat(path)._replace(name=name)
        return drop_if_wrong(os.fsdecode(to_system(tree.root)), directory, node, entry.content)
    return False


def _mode(node: SourceNode, *, exact: bool) -> int:
    return node.mode if exact else 0o755 if node.mode & 0o111 else 0o644


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _check_clash(earlier: Entry | None, later: Entry) -> None:
    if earlier is not None and earlier.kind != later.kind:
        raise InvalidWorkspace(
            f"{decode(later.path)} is a {earlier.kind} in one project and a {later.kind} in another",
            hint="map the projects to different targets",
        )


def _add_parents(entries: dict[bytes, Entry]) -> None:
    """Add the directories that a target implies and no project holds."""
    for path in list(entries):
        parent = path.rpartition(b"/")[0]
        while parent and parent not in entries:
            entries[parent] = Entry(parent, "dir", 0o755, 0, b"", 0)
            parent = parent.rpartition(b"/")[0]
        _check_clash(entries.get(parent), Entry(parent, "dir", 0o755, 0, b"", 0))
