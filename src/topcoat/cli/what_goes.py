"""Say what a submit ships: files, bytes, what changed since the last run from this workspace, git commit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from topcoat.cli.sizes import human_size

if TYPE_CHECKING:
    from topcoat.scan.snapshot import Entry, Snapshot
    from topcoat.specs.delivery import WorkspacePlan

_MAX_NAMES = 3
_GIT_TIMEOUT_S = 2.0


class Shipment(NamedTuple):
    """What goes of one workspace.

    Attributes:
        workspace: its directory or URL, or several.
        files: number of files and links.
        size: their bytes.
        changed: paths that are new, changed or gone since the last run; ``None`` for the first run.
        changed_size: bytes of those that are new or changed; all bytes without a last run.
        snapshot: the digest.
        commit: git's name of the commit, with ``-dirty`` if files differ from it; empty outside of git.
    """

    workspace: str
    files: int
    size: int
    changed: Sequence[str] | None
    changed_size: int
    snapshot: str
    commit: str

    def __str__(self) -> str:
        from topcoat.foreign_text import escaped

        parts = [f"{self.files} file{'s' * (self.files != 1)}, {human_size(self.size)}"]
        if self.changed is None:
            parts.append("first run from here")
        else:
            parts.append(f"changed: {_names(self.changed)}" if self.changed else "unchanged since the last run")
        parts.append(f"at most {human_size(self.changed_size)} to send")
        parts.append(f"snapshot {self.snapshot.removeprefix('sha256:')[:12]}")
        parts += [f"git {escaped(self.commit)}"] if self.commit else []
        return f"{escaped(self.workspace)}: {'; '.join(parts)}"


def _names(paths: Sequence[str]) -> str:
    from topcoat.foreign_text import escaped

    names = ", ".join(map(escaped, paths[:_MAX_NAMES]))
    return names + f" and {len(paths) - _MAX_NAMES} more" * (len(paths) > _MAX_NAMES)


def changed_paths(before: Snapshot, now: Snapshot) -> str:
    """Name what differs between two snapshots: the first three paths, and how many more."""
    from topcoat.scan.names import decode

    entries = [entry for entry in now.entries if entry.kind != "dir"]
    paths = {*_gone(entries, before.entries), *(entry.path for entry in _changed(entries, before.entries))}
    return _names([decode(path) for path in sorted(paths)]) or "directories"


def shipments(plan: WorkspacePlan | None, *, remember: bool) -> list[Shipment]:
    """Return what *plan* ships of each workspace; with *remember*, the next run is compared with this one."""
    # A plan of a third-party mixin may not tell.
    snapshots: Sequence[tuple[str, Snapshot]] = getattr(plan, "snapshots", list)()
    return [_shipment(workspace, snapshot, remember=remember) for workspace, snapshot in snapshots]


def _shipment(workspace: str, snapshot: Snapshot, *, remember: bool) -> Shipment:
    from topcoat.pack.layer_cache import format_entries, parse_entries
    from topcoat.records import Cache
    from topcoat.scan.names import decode

    cache, digests = Cache("runs", 1), Cache("run-digests", 1)
    last: Sequence[Entry] | None
    if digests.read(workspace, bytes.decode) == snapshot.digest:
        last = snapshot.entries  # the usual case of a sweep: nothing is parsed
    else:
        last = cache.read(workspace, parse_entries)
        if remember:
            cache.write(workspace, format_entries(snapshot.entries))
            digests.write(workspace, snapshot.digest.encode())
    entries = [entry for entry in snapshot.entries if entry.kind != "dir"]
    is_same = last is snapshot.entries
    changed = entries if last is None else [] if is_same else _changed(entries, last)
    gone = [] if last is None or is_same else _gone(entries, last)
    return Shipment(
        workspace,
        len(entries),
        snapshot.size,
        None if last is None else [decode(path) for path in sorted({*gone, *(entry.path for entry in changed)})],
        sum(entry.size for entry in changed),
        snapshot.digest,
        _commit(workspace),
    )


def _changed(entries: Sequence[Entry], last: Sequence[Entry]) -> list[Entry]:
    before = {entry.path: entry.facts() for entry in last}
    return [entry for entry in entries if before.get(entry.path) != entry.facts()]


def _gone(entries: Sequence[Entry], last: Sequence[Entry]) -> list[bytes]:
    now = {entry.path for entry in entries}
    return [entry.path for entry in last if entry.kind != "dir" and entry.path not in now]


def _commit(workspace: str) -> str:
    """Return git's short name of the commit that *workspace* is at, with ``-dirty``; empty if git does not know."""
    import subprocess

    directory = workspace.partition(";")[0]
    if not _is_in_git(directory):
        return ""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", directory]
    command += ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()[:64] if done.returncode == 0 else ""


def _is_in_git(directory: str) -> bool:
    path = os.path.abspath(directory)
    while not os.path.lexists(os.path.join(path, ".git")):
        parent = os.path.dirname(path)
        if parent == path:
            return False
        path = parent
    return True


def shipment_facts(items: Sequence[Shipment]) -> list[dict[str, Any]]:
    """Return *items* for ``--json``."""
    return [item._asdict() for item in items]
