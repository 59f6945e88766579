"""A directory on a login node: the snapshot travels as one archive of the files that an earlier snapshot there lacks.

The other side needs a POSIX shell and the tools of GNU/Linux (coreutils, findutils, tar, gzip), and no Python. One
script receives the archive beside its final place, checks its digest, takes the unchanged files from the earlier
snapshot, checks every path of the result, and renames it. Modification times are kept to the second.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from topcoat.destinations.directory import changed_files, conflict
from topcoat.destinations.file_maker import LinkPolicy
from topcoat.destinations.last_snapshot import LastSnapshot, SnapshotFiles
from topcoat.errors import DestinationError, JobDirConflict
from topcoat.foreign_text import parse_json
from topcoat.oci.compression import find_compressor
from topcoat.pack.cut import EntryGroup
from topcoat.pack.layer import PackOptions, tar_blocks
from topcoat.scan.job_dirs import MARKER
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.schedulers.slurm.remote_shell import os_error
from topcoat.schedulers.slurm.ssh import Output, SshSite
from topcoat.tasks import Task

_CHECK_TIMEOUT_S = 120.0
# To take the other files from an earlier snapshot, on a slow file system.
_DELIVER_TIMEOUT_S = 3600.0
_MAX_ATTEMPTS = 3
_MAX_MARKER = 1 << 16
_BLOCK = 2 << 20
_MAX_THREADS = 4
_PACK = PackOptions(b"", (), preserve_mtimes=True)
_SECOND = 1_000_000_000

_SAME, _OTHER, _NO_BASE, _DAMAGED, _DIFFERENT, _NO_TOOL = 90, 91, 92, 93, 94, 95

# One record for each path: what `_record` returns. A directory has no size or time that says anything.
_LIST = r"""
list() {
  find . -mindepth 1 ! -path ./.topcoat.json \( \
    -type f -printf '%P\tf%m %s %T@\0' -o -type d -printf '%P\td%m\0' -o -type l -printf '%P\tl%l\0' \
    -o -printf '%P\t?\0' \) | sort -z
}
"""
_STATE = r"""
state() {
  if [ -f "$1/.topcoat.json" ]; then
    grep -qF "$2" "$1/.topcoat.json" && return 90
    return 91
  fi
  [ -e "$1" ] || [ -L "$1" ] || return 0
  [ -d "$1" ] && [ -z "$(ls -A "$1")" ] || return 91
}
"""
# What is there: the marker of a snapshot and the records of its files, or something else.
_LOOK = f"""export LC_ALL=C
{_LIST}{_STATE}
state "$1" ''; code=$?
[ $code != 90 ] || {{ cd "$1" && {{ head -c {_MAX_MARKER} .topcoat.json; printf '\\0'; list; }} | gzip -1; }} || exit 1
exit $code
"""
_DELIVER = f"""umask 022; export LC_ALL=C
target=$1 snapshot=$2 base=$3 link=$4 paths=$5 directories=$6 expected=$7 marker=$8 decompress=$9 folders=${{10}}
{_LIST}{_STATE}
for tool in cp find grep gzip head mkfifo mktemp mv sha256sum sort tar tee xargs; do
  command -v $tool >/dev/null || {{ printf '%s\\n' $tool >&2; exit {_NO_TOOL}; }}
done
# Several times as fast.
command -v openssl >/dev/null && digest='openssl dgst -sha256 -r' || digest=sha256sum
state "$target" "$snapshot" || exit
[ -z "$base" ] || [ -d "$base" ] || exit {_NO_BASE}
parent=${{target%/*}}
mkdir -p -- "$parent/" && new=$(mktemp -d -- "$parent/.${{target##*/}}.XXXXXXXX") || exit 1
trap 'cd / && chmod -R u+rwX -- "$new" && rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT PIPE TERM
mkdir "$new/code" && printf %s "$marker" >"$new/code/.topcoat.json" && mkfifo "$new/copy" && cd "$new/code" || exit 1
# Blocks, each behind a line with its size. The last line has the digest of them all.
blocks() {{
  while read -r size sum; do
    [ "$size" != 0 ] || {{ printf %s "$sum" >../sent; return; }}
    head -c "$size"
  done
}}
$digest <../copy >../received &
blocks | tee ../copy | {{
  head -c "$paths" | gzip -dc >../paths && head -c "$folders" | gzip -dc >../folders &&
  head -c "$directories" >../directories &&
  $decompress | tar -xpf - --no-same-owner
}}
unpacked=$?
wait
read -r received rest <../received
[ "$received" = "$(cat ../sent 2>/dev/null)" ] || exit {_DAMAGED}
[ $unpacked = 0 ] || exit 1
if [ -s ../paths ]; then
  jobs=$(nproc) || jobs=1
  [ "$jobs" -le 4 ] || jobs=4
  # Made first: two cp would both try to make a directory.
  xargs -0 -r mkdir -p -- <../folders || exit 1
  (cd "$base" && xargs -0 -P "$jobs" -n 1000 cp -P --preserve=mode,timestamps --parents $link -t "$new/code" --) \\
    <../paths 2>../errors ||
    ! grep -E 'No space left|quota' ../errors >&2 || exit 1
fi
$decompress <../directories | tar -xpf - --no-same-owner || exit 1
[ "$(list | sha256sum)" = "$expected  -" ] || {{ list | gzip -1; exit {_DIFFERENT}; }}
chmod 755 . && chmod 444 .topcoat.json || exit 1
if ! mv -T -- "$new/code" "$target"; then
  # Another process was faster.
  state "$target" "$snapshot"; code=$?
  [ $code != 0 ] || code=1
  exit $code
fi
"""


# The newest snapshot beside the target, or of another job in the same layout: its path, and the digests, modes, sizes
# and times of its files.
_FIND = r"""export LC_ALL=C
parent=${1%/*} name=${1##*/} newest=
for marker in "$parent"/*/.topcoat.json "${parent%/*}"/*/"$name"/.topcoat.json; do
  [ ! -f "$marker" ] || { [ "$newest" ] && [ ! "$marker" -nt "$newest" ]; } || newest=$marker
done
[ -n "$newest" ] || exit 0
base=${newest%/.topcoat.json}
printf '%s\0' "$base"
cd "$base" && gzip -dc | xargs -0 -r sh -c '
  sha256sum -z -- "$@"; stat --printf "%a %s %Y  %n\0" -- "$@"' sh 2>/dev/null
exit 0
"""


class RemoteDirectory:
    """A directory on the file system that the nodes share, reached through a login node."""

    def __init__(self, site: SshSite, path: str, *, link: LinkPolicy, is_new: bool) -> None:
        """Fill *path*, which is absolute; with *is_new* nothing can be there yet."""
        self.path = path
        self._site = site
        self._link = link
        self._is_new = is_new
        # Meanwhile, the workspace is scanned.
        self._look = None if is_new else Task(self._look_there)

    def check(self, snapshot: Snapshot) -> bool:
        """Tell whether the directory has *snapshot* already; other files may have been added, as a job's output.

        Raises:
            JobDirConflict: it has other content, or files of the snapshot have been changed or removed.
            SchedulerError: the login node cannot be reached.
        """
        if self._is_new:
            return False
        # A second look is a new one.
        look, self._look = self._look or Task(self._look_there), None
        done = look.result()
        if done.exit_code == _SAME:
            existing, *records = _unpacked(done)
            if _snapshot_in(existing) != snapshot.digest:
                raise self._conflict()
            if changed := _missing(snapshot.entries, set(records)):
                raise conflict(self._place, changed_files(changed))
            return True
        if done.exit_code == _OTHER:
            raise self._conflict()
        if done.exit_code:
            raise self._unwritable(done)
        return False

    def _look_there(self) -> Output:
        return self._run(_LOOK, self.path, timeout_s=_CHECK_TIMEOUT_S)

    def _conflict(self) -> JobDirConflict:
        return conflict(self._place, "other files, or another snapshot of the workspace")

    def deliver(self, scan: Scan, workspace_key: str) -> bool:
        """Fill the directory with the snapshot of *scan*; return False if it has that snapshot already.

        Raises:
            JobDirConflict: the directory has other content.
            DestinationError: it cannot be written.
            SchedulerError: the login node cannot be reached.
            WorkspaceChanged: a file is no longer what the snapshot says.
        """
        key = (self._site.host, workspace_key)
        entries = [entry for entry in scan.snapshot if entry.path != MARKER.encode()]
        last = LastSnapshot.read(*key)
        files = SnapshotFiles(entries)
        base, unchanged = (last.directory, _unchanged(files, last)) if last else self._find_beside(entries)
        done = Output(0, b"", b"")
        for _ in range(_MAX_ATTEMPTS):
            done = self._send(scan, entries, unchanged, base if unchanged else "")
            if done.exit_code == _DIFFERENT:
                # A job has written to the earlier snapshot.
                unchanged -= {entry.path for entry in _missing(entries, set(_unpacked(done)))}
            elif done.exit_code == _NO_BASE:
                base, unchanged = self._find_beside(entries)
            elif done.exit_code != _DAMAGED:
                break
        if done.exit_code == _SAME:
            return self.check(scan.snapshot) is False
        if done.exit_code == _OTHER:
            raise self._conflict()
        if done.exit_code:
            raise self._unwritable(done)
        LastSnapshot.write(self.path, files, *key)
        return True

    def _find_beside(self, entries: Iterable[Entry]) -> tuple[str, set[bytes]]:
        """Return an earlier snapshot on the other side, and the paths of the files that it has."""
        files = [entry for entry in entries if entry.kind == "file"]
        paths = _packed([entry.path for entry in files])
        done = self._run(_FIND, self.path, stdin=paths, timeout_s=_CHECK_TIMEOUT_S)
        base, *lines = done.stdout.split(b"\0")
        found = set(lines)
        return os.fsdecode(base), {
            entry.path
            for entry in files
            if b"%b  %b" % (entry.content.hex().encode(), entry.path) in found
            and b"%o %d %d  %b" % (entry.mode, entry.size, _seconds(entry), entry.path) in found
        }

    def _send(self, scan: Scan, entries: list[Entry], unchanged: set[bytes], base: str) -> Output:
        is_zstd = self._site.has_program("zstd") and importlib.util.find_spec("zstandard") is not None
        compressor = find_compressor("zstd" if is_zstd else "gzip", threads=min(os.cpu_count() or 1, _MAX_THREADS))

        def compressed(members: Iterable[Entry]) -> Iterator[bytes]:
            stream = compressor.start()
            yield from map(stream.compress, tar_blocks(EntryGroup(tuple(members), ()), scan, _PACK))
            yield stream.flush()

        folders = [entry for entry in entries if entry.kind == "dir"]
        paths, names = _packed(sorted(unchanged)), _packed([entry.path for entry in folders])
        directories = b"".join(compressed(folders))
        files = compressed(entry for entry in entries if entry.kind != "dir" and entry.path not in unchanged)
        expected = hashlib.sha256(b"".join(record + b"\0" for record in sorted(map(_record, entries))))
        return self._run(
            _DELIVER,
            self.path,
            scan.snapshot.digest,
            base,
            "-l" if self._link == "hard" else "--reflink=auto",
            str(len(paths)),
            str(len(directories)),
            expected.hexdigest(),
            json.dumps({"snapshot": scan.snapshot.digest}),
            "zstd -dc" if is_zstd else "gzip -dc",
            str(len(names)),
            stdin=_archive(chain((paths, names, directories), files)),
            timeout_s=_DELIVER_TIMEOUT_S,
        )

    @property
    def _place(self) -> str:
        return f"{self.path} on {self._site.host}"

    def _run(self, script: str, *args: str, stdin: bytes | Iterator[bytes] = b"", timeout_s: float) -> Output:
        return self._site.output(["/bin/sh", "-c", script, "sh", *args], stdin=stdin, timeout_s=timeout_s)

    def _unwritable(self, done: Output) -> DestinationError:
        text = os_error(done.stderr, self.path).strerror
        if done.exit_code == _NO_TOOL:
            return DestinationError(
                f"cannot fill the job directory {self._place}: that machine has no program {text!r}",
                hint="topcoat needs GNU coreutils, findutils, tar and gzip there",
            )
        what = {
            _DAMAGED: "the archive arrived damaged",
            _DIFFERENT: "the unpacked files differ from the snapshot",
        }.get(done.exit_code, text)
        return DestinationError(
            f"cannot fill the job directory {self._place}: {what}",
            hint="name a directory that you can write there with -cfg job_dir=... or job_root=...",
        )


def _archive(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Return *parts* in blocks as the script reads them: their sizes between them, and their digest at the end."""
    digest = hashlib.sha256()
    for block in _joined(parts):
        digest.update(block)
        yield b"%d\n" % len(block)
        yield block
    yield b"0 %b\n" % digest.hexdigest().encode()


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    # The script starts a process for each block.
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if size:
        yield b"".join(waiting)


def _packed(paths: Iterable[bytes]) -> bytes:
    return gzip.compress(b"".join([path + b"\0" for path in paths]), 1)


def _seconds(entry: Entry) -> int:
    return max(entry.mtime // _SECOND, 0)


def _record(entry: Entry) -> bytes:
    """Return what the script's ``list`` prints for *entry*."""
    if entry.kind == "dir":
        return b"%b\td%o" % (entry.path, entry.mode)
    if entry.kind == "link":
        return b"%b\tl%b" % (entry.path, entry.content)
    return b"%b\tf%o %d %d.0000000000" % (entry.path, entry.mode, entry.size, _seconds(entry))


def _unpacked(done: Output) -> list[bytes]:
    try:
        return gzip.decompress(done.stdout).split(b"\0")
    except (OSError, EOFError, zlib.error):
        return [b""]


def _snapshot_in(marker: bytes) -> object:
    try:
        return parse_json(marker)["snapshot"]
    except (ValueError, KeyError, TypeError):
        return None


def _missing(entries: Iterable[Entry], records: set[bytes]) -> list[Entry]:
    return [entry for entry in entries if _record(entry) not in records]


def _unchanged(files: SnapshotFiles, last: LastSnapshot) -> set[bytes]:
    """Return the paths of the files that are in the earlier snapshot too."""
    return {entry.path for directory in files.directories for entry in last.same_files(directory, files)}
