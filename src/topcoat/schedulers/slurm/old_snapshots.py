"""Snapshots below the shared root that no queued or running job uses: find and remove them.

Files that a job wrote beside its code stay, and so do its logs. A job counts as running unless Slurm says that it has
ended: another cluster may share the directory.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.scan.job_dirs import FACTS
from topcoat.schedulers.ids import APP_ID_PATTERN
from topcoat.schedulers.responses import Freeable
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import JobFiles, is_facts_directory, own_directory
from topcoat.schedulers.slurm.site import Site
from topcoat.schedulers.slurm.snapshot import shared_root
from topcoat.schedulers.slurm.states import appstate_from_slurm_state
from topcoat.schedulers.slurm.status import run_state
from topcoat.specs import is_terminal

_TIMEOUT_S = 3600.0
_MAX_DAYS = 400
_MINUTES_OF_A_SUBMISSION = 24 * 60

# The files of the snapshot that the job has not changed, as `SlurmClient.written_files` finds the others. Coreutils
# older than 2016 have no `comm -z`: a snapshot of hard links then stays as it is.
_SNAPSHOT_FILES = f"""export LC_ALL=C
snapshot_files() {{
  if grep -q '"link": "hard"' {FACTS}/job.json; then
    find code ! -type d ! -newer {FACTS}/job.json -printf '%P\\0' | sort -z |
      comm -z -12 - {FACTS}/delivered 2>/dev/null
  else
    find code ! -type d ! -newer {FACTS}/job.json ! -cnewer {FACTS}/job.json -printf '%P\\0'
  fi
}}
in_code() {{ (cd code && xargs -0 -r "$@"); }}
"""
# The root may have any directory of the user. A leftover has the name of a job, and only what a submission makes.
_LEFTOVER = f"""is_leftover() {{
  case $1 in {APP_ID_PATTERN}) ;; *) return 1;; esac
  [ ! -f {FACTS}/job.json ] &&
    [ -z "$(find . -mindepth 1 -maxdepth 1 ! -name {FACTS} ! -name code ! -name '.code.*' | head -c 1)" ] &&
    [ -z "$(find . -maxdepth 2 -mmin -{_MINUTES_OF_A_SUBMISSION} | head -c 1)" ]
}}
"""
_FIND = f"""{_SNAPSHOT_FILES}{_LEFTOVER}
cd "$1" 2>/dev/null || exit 0
[ "$2" ] && set -- "$2" || set -- *
for name; do
  [ -O "./$name" ] && [ -d "./$name" ] && [ ! -L "./$name" ] && cd "./$name" || continue
  if [ -f {FACTS}/job.json ]; then
    [ ! -d code ] || printf '%s\\t%s\\t%s\\0' snapshot "$(snapshot_files | in_code stat -c '%h %b %B' -- |
      awk '$1 == 1 {{ count += 1; bytes += $2 * $3 }} END {{ print count + 0, int(bytes / 1024) }}')" "$name"
  elif is_leftover "$name"; then
    printf '%s\\t%s\\t%s\\0' leftover "1 $(du -sk . | cut -f 1)" "$name"
  fi
  cd ..
done
"""
_REMOVE = f"""{_SNAPSHOT_FILES}{_LEFTOVER}
cd "$1" 2>/dev/null || exit 0
! is_leftover "${{1##*/}}" || exec rm -rf -- "$1"
[ -f {FACTS}/job.json ] && [ -d code ] || exit 0
find code -type d ! -perm -u+rwx -exec chmod u+rwx {{}} \\;
snapshot_files | in_code rm -f -- && find code -depth -type d -empty -delete
"""


def freeable(client: SlurmClient) -> list[Freeable]:
    """Return the old snapshots below the default root, and below the roots of the jobs that Slurm knows."""
    ended = ended_jobs(client)
    roots = {posixpath.dirname(own_directory(JobFiles(path))) for path in ended if path.endswith(f"/{FACTS}")}
    roots.add(shared_root(client.site, {}))
    return [item for root in sorted(roots) for item in find_old_snapshots(client.site, root, "", ended)]


def free(client: SlurmClient, item: Freeable, ended: Collection[str]) -> None:
    """Remove an old snapshot, unless a job uses it by now; *ended* are the facts directories of the ended jobs."""
    _, path = split_id(item.id)
    if find_old_snapshots(client.site, *posixpath.split(path), ended):
        remove_old_snapshot(client.site, path)


def split_id(item: str) -> tuple[str, str]:
    """Return the host and the path of a `Freeable`."""
    host, _, path = item.partition(":/")
    return host, f"/{path}"


def ended_jobs(client: SlurmClient) -> set[str]:
    """Return the facts directories of the jobs that have ended, as Slurm says."""
    states = [(run.directory, run_state(run)) for run in client.accounting_of_user(_MAX_DAYS)]
    states += [(row.directory, appstate_from_slurm_state(row.state)) for row in client.queue_of_user()]
    active = {directory for directory, state in states if not is_terminal(state)}
    return {directory for directory, _ in states if is_facts_directory(directory)} - active


def find_old_snapshots(site: Site, root: str, name: str, ended: Collection[str]) -> list[Freeable]:
    """Return the snapshots of ended jobs below *root*, and what submissions that were killed a day ago left there.

    Args:
        site: where the directory is.
        root: the directory of the jobs.
        name: of one directory below it; empty for all.
        ended: the facts directories of the jobs of which Slurm says that they have ended.

    Raises:
        SchedulerError: the directory cannot be read.
    """
    done = site.run(["/bin/sh", "-c", _FIND, "sh", root, name], timeout_s=_TIMEOUT_S)
    if done.exit_code:
        raise SchedulerError(f"cannot list the snapshots in {root}: {escaped(done.stderr.strip())}")
    items = []
    for record in done.stdout.split("\0")[:-1]:
        kind, numbers, name = record.split("\t", 2)
        count, kilobytes = map(int, numbers.split())
        path = f"{root}/{name}"
        if count and (kind == "leftover" or f"{path}/{FACTS}" in ended):
            what = "snapshot of" if kind == "snapshot" else "leftover of the submission of"
            items.append(Freeable(f"{what} {name}", f"{site.host}:{path}", kilobytes << 10))
    return items


def remove_old_snapshot(site: Site, path: str) -> None:
    """Remove the snapshot in the job directory *path*, but no file that the job wrote.

    Raises:
        SchedulerError: it cannot be removed.
    """
    done = site.run(["/bin/sh", "-c", _REMOVE, "sh", path], timeout_s=_TIMEOUT_S)
    if done.exit_code:
        raise SchedulerError(f"cannot remove the snapshot in {path}: {escaped(done.stderr.strip())}")
