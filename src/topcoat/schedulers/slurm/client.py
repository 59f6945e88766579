"""Run Slurm's commands at a site, each with a time limit, and read what jobs wrote into their facts directories."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped, parse_json
from topcoat.scan.job_dirs import FACTS, MARKER
from topcoat.schedulers.slurm import parse
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.parse import PartitionNodes, QueueRow, Run
from topcoat.schedulers.slurm.site import CommandResult, Site, no_program
from topcoat.schedulers.slurm.status import JobFacts
from topcoat.system_text import system_bytes

QUERY_TIMEOUT_S = 30.0
SUBMIT_TIMEOUT_S = 180.0
"""sbatch itself waits for two minutes while the queue is full."""

MIN_AGE_S = 1.0
"""How long a state of a job is believed at least while its logs are followed, by all of its replicas together."""

MAX_OUTPUTS = 10_000
# The accounting may refuse long ones: MaxQueryTimeRange of slurmdbd.conf.
_WINDOWS_DAYS = (60, 14, 2)
# A controller that is down lets squeue try for ten seconds; one command of topcoat asks several times.
_MAX_FAILURE_AGE_S = 5.0
_NO_OUTPUTS = (FACTS, MARKER, "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "*.pyc")
# Variables of the user that are options of Slurm's commands: they hide jobs, or make scancel and sbatch do something
# else. Those of sbatch that are defaults of the user's jobs, such as SBATCH_ACCOUNT, are kept.
_UNSET = {
    "squeue": "ACCOUNT ARRAY ARRAY_UNIQUE CLUSTERS EXPAND_PATTERNS FEDERATION FORMAT FORMAT2 LICENSES LOCAL NAMES "
    "NODELIST ONLY_JOB_STATE PARTITION PRIORITY QOS RESERVATION SIB SIBLING SORT START STATES USERS WCKEY",
    "sinfo": "CLUSTERS FEDERATION FORMAT LOCAL NODES PARTITION SORT STATES",
    "scancel": "ACCOUNT ADMIN_COMMENT AUTO_REVOKE BATCH CLUSTERS CRON CTLD FULL HURRY INTERACTIVE NAME NODELIST "
    "PARTITION QOS RESERVATION SIBLING STATE USER VERBOSE WCKEY",
    "sacct": "CLUSTERS FEDERATION FORMAT LOCAL",
    "srun": "CONTAINER CONTAINER_ID ERROR EXPORT_ENV INPUT OUTPUT",
    "sbatch": "ARRAY_INX CLUSTERS CONTAINER CONTAINER_ID ERROR EXPORT INPUT JOB_NAME NO_REQUEUE OPEN_MODE OUTPUT "
    "REQUEUE WAIT",
}
# What squeue prints for an id that it does not know, in several releases.
_UNKNOWN_ID = ("Invalid job id",)
_NO_ACCOUNTING = "accounting storage is disabled"
_MATCH = """IFS=
for pattern; do
  found=
  for path in $pattern; do [ ! -d "$path" ] || found=$path; done
  printf '%s\\0' "$found"
done
"""
_SECTIONS = """cd "$1" 2>/dev/null || exit 0
cat job.json 2>/dev/null; printf '\\036'
cat exit/run 2>/dev/null; printf '\\036'
cat exit/code 2>/dev/null; printf '\\036'
head -c 2000 exit/failure 2>/dev/null; printf '\\036'
for file in exit/*-*[0-9]; do [ ! -f "$file" ] || cat "$file"; done; printf '\\036'
for file in exit/*.error; do
  [ ! -f "$file" ] || { printf '%s\\037' "${file#exit/}"; head -c 65536 "$file"; printf '\\035'; }
done
"""


class SlurmClient:
    """Ask Slurm, at one site. May be used by several threads."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._lock = threading.Lock()
        self._queues: dict[str, tuple[float, list[QueueRow]]] = {}
        self._failure: tuple[float, SchedulerError | None] = 0.0, None

    def submit(self, command: Sequence[str]) -> str:
        """Run sbatch and return the id of the job.

        Raises:
            SchedulerError: with what sbatch says.
        """
        done = self.site.run(as_written(command), timeout_s=SUBMIT_TIMEOUT_S)
        if done.exit_code == 0:
            try:
                return parse.submitted_id(done.stdout)
            except ValueError:
                raise SchedulerError(f"sbatch printed no job id: {escaped(done.stdout)!r}") from None
        raise refused(done)

    def queue(self, job_id: str, *, max_age_s: float = 0.0) -> list[QueueRow]:
        """Return what the controller knows of a job; empty if it does not know the id.

        Raises:
            SchedulerError: the controller cannot be reached.
        """
        with self._lock:
            asked, rows = self._queues.get(job_id, (float("-inf"), []))
            if time.monotonic() - asked >= max_age_s:
                rows = [row for row in self._squeue("-j", job_id) if row.job_id == job_id]
                self._queues[job_id] = (time.monotonic(), rows)
            return rows

    def queue_of_user(self) -> list[QueueRow]:
        """Return all jobs of this user that the controller has in memory."""
        return self._squeue("--me")

    def accounting(self, job_id: str, directory: str = "") -> list[Run]:
        """Return the runs of a job from the accounting; empty for an unknown id, or without accounting.

        Args:
            job_id: several jobs have the same one if the cluster's ids were reset.
            directory: the working directory of the job; empty if it is not known: then the newest job is meant.

        Raises:
            SchedulerError: there is accounting, and it does not respond.
        """
        runs = [run for run in self._sacct("-D", "-j", job_id) if run.job_id == job_id]
        # A requeued job keeps its directory, which the accounting learns some time after the end.
        own = {directory, ""} if directory else {run.directory for run in runs[-1:]}
        return [*takewhile(lambda run: run.directory in own, reversed(runs))][::-1]

    def accounting_of_user(self, days: int) -> list[Run]:
        """Return the last runs of this user's jobs of some days; empty without accounting.

        Raises:
            SchedulerError: there is accounting, and it does not respond.
        """
        # Root would get the jobs of all users.
        user = self.site.run(["id", "-un"], timeout_s=QUERY_TIMEOUT_S).stdout.strip()
        windows = [days, *(window for window in _WINDOWS_DAYS if window < days)]
        for window in windows:
            try:
                return self._sacct("-X", "-S", f"now-{window}days", "-u", user)
            except SchedulerError as error:
                if window == windows[-1] or "Too wide" not in str(error):
                    raise
        return []

    def cancel(self, job_id: str) -> None:
        """End a job; Slurm ignores one that has ended."""
        done = self._query("scancel", job_id)
        if done.exit_code:
            raise _failed("scancel", done)

    def partitions(self, exclude: str = "") -> list[PartitionNodes]:
        """Return the partitions with their nodes, without those that *exclude* lists; a partition may have none left.

        Raises:
            SchedulerError: the controller cannot be reached.
        """
        # It responds at once, where the others try for ten seconds.
        ping = self._query("scontrol", "ping")
        if ping.exit_code and " is DOWN" in ping.stdout:
            # Below them is a banner of several lines.
            down = "; ".join(line.strip() for line in ping.stdout.splitlines() if line.startswith("Slurmctld"))
            raise SchedulerError(
                f"Slurm's controller is down, or does not respond: {escaped(down) or 'no answer'}", hint="scontrol ping"
            )
        counts = _counted(self._sinfo())
        if exclude:
            counts.subtract(_counted(self._sinfo("-n", exclude)))
        return [row._replace(nodes=count) for row, count in counts.items()]

    def decides_capacity(self, partitions: Collection[str], *, are_chosen: bool) -> bool:
        """Tell whether what sinfo says of *partitions* decides if a job can run there.

        A plugin of the cluster may choose another partition, unless they *are_chosen* by the user. sinfo may hide the
        nodes of a cloud that are off (without ``PrivateData=cloud`` of slurm.conf).
        """
        config = self._query("scontrol", "show", "config").stdout
        if not are_chosen and re.search(r"^JobSubmitPlugins\s*= *[^(\s]", config, re.MULTILINE):
            return False
        rows = self._sinfo()
        for name in partitions:
            shown = self._query("scontrol", "-o", "show", "partition", name).stdout
            total = re.search(r"\bTotalNodes=(\d+)", shown)
            if total and int(total[1]) > sum(row.nodes for row in rows if row.partition == name):
                return False
        return True

    def has_oci_conf(self) -> bool:
        """Return whether the cluster has an ``oci.conf``, beside its ``slurm.conf``."""
        done = self._query("scontrol", "show", "config")
        match = re.search(r"^SLURM_CONF\s*=\s*(/.*)/[^/]*$", done.stdout, re.MULTILINE)
        if match is None:
            return False
        try:
            return bool(self.site.read_file(f"{match[1].strip()}/oci.conf", 0, 1))
        except OSError:
            return False

    def facts(self, directory: str) -> JobFacts:
        """Return what the facts directory of a job says; nothing if it does not exist."""
        done = self.site.run(["/bin/sh", "-c", _SECTIONS, "sh", directory], timeout_s=QUERY_TIMEOUT_S)
        job, run, code, failure, records, errors = [*done.stdout.split(parse.ROW), *[""] * 6][:6]
        try:
            app = parse_json(job) if job else {}
        except ValueError:
            app = {}
        words = run.split()
        files = [part.split(parse.FIELD, 1) for part in errors.split("\x1d") if parse.FIELD in part]
        return JobFacts(
            app=app if isinstance(app, dict) else {},
            restarts=int(words[1]) if len(words) == 3 and words[1].isdecimal() else None,
            exit_code=int(code) if code.strip().isdecimal() else None,
            records=parse.records(records),
            failure=escaped(failure.strip()),
            errors={name.removesuffix(".error"): text.strip() for name, text in files if text.strip()},
        )

    def find_directory(self, root: str, job_id: str) -> str:
        """Return the facts directory below *root* of the last job with this id that has run; empty without one."""
        script = 'cd "$1" 2>/dev/null && grep -Hs "^$2 " */.topcoat/exit/run'
        done = self.site.run(["/bin/sh", "-c", script, "sh", root, job_id], timeout_s=QUERY_TIMEOUT_S)
        found = re.findall(r"^(.*)/exit/run:\d+ \d+ (\d+)$", done.stdout, re.ASCII | re.MULTILINE)
        directory, _ = max(found, key=lambda match: int(match[1]), default=("", ""))
        return f"{root}/{directory}" if directory else ""

    def written_files(self, directories: Sequence[str], files: JobFiles, *, are_linked: bool) -> list[str]:
        """Return the files that a job wrote into *directories*, sorted.

        Args:
            directories: the snapshots, complete before the job's files were written.
            files: the job's own files.
            are_linked: files of the snapshots may be hard links, whose time of change changes with each new link.
        """
        if not directories:
            return []
        names = [word for name in _NO_OUTPUTS for word in ("-name", name, "-prune", "-o")]
        # A program may give its files old modification times, as tar and rsync do; the time of change cannot be set.
        changed = ["-newer", files.job_json, "-printf", r"!%p\0", "-o", "-cnewer", files.job_json, "-printf", r"?%p\0"]
        command = ["find", *directories, *names, "!", "-type", "d", "(", *changed, ")"]
        found = [path for path in self.site.run(command, timeout_s=QUERY_TIMEOUT_S).stdout.split("\0") if path]
        if are_linked and any(path.startswith("?") for path in found):
            root, paths = posixpath.commonpath(directories), ""
            with contextlib.suppress(OSError):
                paths = os.fsdecode(self.site.read_file(files.delivered))
            delivered = {f"?{root}/{path}" for path in paths.split("\0")}
            # Without the list, only a new time of modification says something.
            found = [path for path in found if path.startswith("!") or (paths and path not in delivered)]
        return sorted(path[1:] for path in found)[:MAX_OUTPUTS]

    def existing(self, directories: Sequence[str]) -> set[str]:
        """Return those of *directories* that exist; all of them if that cannot be known."""
        script = 'for path; do [ ! -d "$path" ] || printf "%s\\0" "$path"; done'
        done = self._run_for(directories, script)
        return set(directories) if done.exit_code else set(done.stdout.split("\0")[:-1])

    def _run_for(self, words: Iterable[str], script: str) -> CommandResult:
        """Run a shell script whose arguments are *words*; for very many of them, several times."""
        stdin = system_bytes("".join(f"{word}\0" for word in words))
        command = ["xargs", "-0", "-r", "/bin/sh", "-c", script, "sh"]
        return self.site.run(command, stdin=stdin, timeout_s=QUERY_TIMEOUT_S)

    def _query(self, *command: str) -> CommandResult:
        return self.site.run(as_written(command, parse.EPOCH), timeout_s=QUERY_TIMEOUT_S)

    def _sinfo(self, *selection: str) -> list[PartitionNodes]:
        done = self._query("sinfo", "-h", "-a", "-e", *selection, "-o", parse.SINFO_FORMAT)
        if "denied" in done.stderr:
            return []  # PrivateData=nodes or partitions: users may submit, and not see
        if done.exit_code:
            raise _failed("sinfo", done)
        return parse.partitions(done.stdout)

    def _squeue(self, *selection: str) -> list[QueueRow]:
        failed, failure = self._failure
        if failure and time.monotonic() - failed < _MAX_FAILURE_AGE_S:
            raise failure
        try:
            done = self._query("squeue", "-h", "-t", "all", *selection, "-o", parse.SQUEUE_FORMAT)
            if done.exit_code and not any(text in done.stderr for text in _UNKNOWN_ID):
                raise _failed("squeue", done)
        except SchedulerError as error:
            self._failure = time.monotonic(), error
            raise
        return parse.queue_rows(done.stdout)

    def _sacct(self, *selection: str) -> list[Run]:
        columns = ["-n", "-P", f"--delimiter={parse.FIELD}", "-o", parse.SACCT_FIELDS]
        # The other commands read the variable themselves.
        if clusters := self.site.variable("SLURM_CLUSTERS"):
            columns += ["-M", clusters]
        try:
            done = self._query("sacct", *columns, *selection)
        except SchedulerError as error:
            if str(error) == str(no_program("sacct", self.site.host)):
                return []
            raise
        if done.exit_code and _NO_ACCOUNTING not in done.stderr:
            raise _failed("sacct", done)
        return [] if done.exit_code else self._with_paths(parse.accounting_runs(done.stdout))

    def _with_paths(self, runs: list[Run]) -> list[Run]:
        """Undo what the accounting's database makes of a character that it does not have: a question mark."""
        lost = sorted({run.directory for run in runs if "?" in run.directory})
        if not lost:
            return runs
        # bash does not find "\\ " if nothing separates words.
        patterns = [re.sub(r"[^?/ \w]", r"\\\g<0>", path).replace("?", "*").replace(" ", "[ ]") for path in lost]
        found = dict(zip(lost, self._run_for(patterns, _MATCH).stdout.split("\0"), strict=False))
        return [run._replace(directory=found.get(run.directory) or run.directory) for run in runs]


def _counted(rows: Iterable[PartitionNodes]) -> Counter[PartitionNodes]:
    """Return the number of equal nodes: sinfo has a row for each kind of GPU."""
    counts: Counter[PartitionNodes] = Counter()
    for row in rows:
        counts[row._replace(nodes=0)] += row.nodes
    return counts


def as_written(command: Sequence[str], *variables: str) -> list[str]:
    """Return *command*, one of Slurm's, with *variables* and without the user's variables that are options of it."""
    program = command[0]
    names = [f"{program.upper()}_{name}" for name in _UNSET.get(program, "").split()]
    return ["env", *(word for name in names for word in ("-u", name)), *variables, *command]


_HINTS = {
    "Invalid partition name": "sinfo -s lists the partitions: -cfg partition=NAME",
    "Invalid account": "sacctmgr show associations user=$USER lists your accounts: -cfg account=NAME",
    "Invalid qos": "sacctmgr show qos lists them: -cfg qos=NAME",
    "Requested node configuration is not available": "no node that constraint, exclude and nodelist leave has so many "
    "CPUs, GPUs or so much memory: sinfo -N -o '%N %c %m %G %f'",
    "invalid number of nodes": "nodelist names more nodes than the job has replicas",
    "Invalid generic resource": "sinfo -o '%P %G' lists the generic resources",
    "Invalid feature": "sinfo -o '%P %f' lists the features: -cfg constraint=FEATURE",
    "Invalid node name": "sinfo -N lists the nodes",
    "Requested reservation is invalid": "scontrol show reservation lists the reservations",
    "Invalid license": "scontrol show licenses lists the licenses",
    "policy": "sacctmgr show qos, and sacctmgr show associations user=$USER, show the limits",
    "Invalid --time": "-cfg time=HOURS:MINUTES:SECONDS",
    "unrecognized option": "sbatch --help lists the options",
    "Unable to contact slurm controller": "the controller is down: scontrol ping",
    "Socket timed out": "the controller does not respond: scontrol ping",
    "Could not establish a configuration source": "set SLURM_CONF to the path of slurm.conf, or use a login node: "
    "-cfg slurm_host=user@login",
    "Problem talking to the database": "Slurm's accounting (slurmdbd) is down: try again later",
    "Unable to open file": "the nodes and the login node must share the file system of job_root",
}


def refused(done: CommandResult) -> SchedulerError:
    """Return the error for a job that sbatch did not accept, with a hint where the cause is known."""
    return SchedulerError(f"Slurm refused the job: {_reason('sbatch', done, 3)}", hint=_hint(done))


def _failed(program: str, done: CommandResult) -> SchedulerError:
    hint = _hint(done)
    if program == "scancel" and "permission denied" in done.stderr.lower():
        hint = "only its owner can cancel a job"
    return SchedulerError(f"Slurm's {program} failed: {_reason(program, done, 1)}", hint=hint)


def _reason(program: str, done: CommandResult, count: int) -> str:
    """Return the last *count* lines of stderr on one line, without the words that each begins with."""
    lines = [re.sub(r"^.*?(error|fatal): ", "", line) for line in done.stderr.splitlines() if line.strip()]
    text = ": ".join(dict.fromkeys(escaped(line.strip()) for line in lines[-count:]))
    return text or f"{program} ended with exit code {done.exit_code}"


def _hint(done: CommandResult) -> str | None:
    return next((hint for cause, hint in _HINTS.items() if cause.lower() in done.stderr.lower()), None)
