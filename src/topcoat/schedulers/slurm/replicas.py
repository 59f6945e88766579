"""Commands and files of one replica: ``srun --overlap`` runs a command beside it, in its directory and environment."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.copying import extract, move, split_path, temporary_beside
from topcoat.schedulers.ids import random_id
from topcoat.schedulers.slurm.client import QUERY_TIMEOUT_S, SlurmClient, as_written
from topcoat.schedulers.slurm.files import JobFiles, own_directory
from topcoat.schedulers.slurm.sbatch import options
from topcoat.schedulers.slurm.site import CommandResult
from topcoat.schedulers.slurm.status import JobFacts
from topcoat.specs import BindMount

_COPY_TIMEOUT_S = 3600.0
_PIECE = 8 << 20
_APPEND = ("/bin/sh", "-c", 'umask 077 && cat >> "$1"', "sh")


class Replica(NamedTuple):
    """A replica of a job of topcoat.

    Attributes:
        client: asks Slurm.
        job_id: Slurm's id of the job.
        files: the job's files.
        facts: what the job's directory says.
        role: the role's name.
        number: the replica's number.
        is_running: whether it runs.
    """

    client: SlurmClient
    job_id: str
    files: JobFiles
    facts: JobFacts
    role: str
    number: int
    is_running: bool

    def execute(self, command: Sequence[str], *, tty: bool) -> int:
        """Run *command* beside the replica's process and return its exit code."""
        return self.client.site.interactive(self._srun(command, tty=tty), tty=tty)

    def attach(self, node: str) -> None:
        """Run the replica on *node*, with this process's terminal."""
        tty = sys.stdin.isatty()
        words = self._step(node, tty=tty)
        shown = self.client.site.run(["scontrol", "-o", "show", "job", self.job_id], timeout_s=QUERY_TIMEOUT_S).stdout
        restarted = re.search(r"\bRestarts=(\d+)", shown)
        arguments = ["terminal", self.role, f"={self.number}", "0", "0", node, restarted[1] if restarted else "0"]
        self.client.site.interactive([*words, *arguments], tty=tty)

    def copy_from(self, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of the replica to *destination*, which appears whole or not at all."""
        directory, name = self._locate(path)
        with self._archive() as (archive, inner), temporary_beside(destination) as temporary:
            self._run(["tar", "-cf", inner, "-C", directory, "--", name], f"copy {path}")
            with tempfile.TemporaryFile(dir=temporary) as local:
                while data := self.client.site.read_file(archive, local.tell(), _PIECE):
                    local.write(data)
                local.seek(0)
                extract(local, temporary, path)
            extracted = temporary if name == "." else os.path.join(temporary, name)
            move(extracted, destination)

    def copy_to(self, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into the replica, where it becomes *path*, or into that directory."""
        import tarfile

        directory, name = self._locate(path)
        if name != "." and not self._try(["test", "-d", posixpath.join(directory, name)]).exit_code:
            directory, name = posixpath.join(directory, name), "."
        if name == ".":
            name = os.path.basename(os.path.abspath(source))
        action = f"copy {source} to {path}"
        with tempfile.TemporaryFile() as packed, self._archive() as (archive, inner):
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
                tar.add(source, name)
            packed.seek(0)
            while data := packed.read(_PIECE):
                self._check(self.client.site.run([*_APPEND, archive], stdin=data, timeout_s=_COPY_TIMEOUT_S), action)
            self._run(["tar", "-xmf", inner, "--no-same-owner", "-C", directory], action)

    @contextlib.contextmanager
    def _archive(self) -> Iterator[tuple[str, str]]:
        """Yield the path of a temporary file that this machine and the replica both see: here, and there."""
        name = f"copy-{random_id(8)}.tar"
        path = f"{self.files.directory}/{name}"
        inner = self._group["inner_files"] if self.is_running else self.files.directory
        try:
            yield path, f"{inner}/{name}"
        finally:
            with contextlib.suppress(OSError, SchedulerError):
                self.client.site.remove_tree(path)

    def _run(self, command: Sequence[str], action: str) -> None:
        """Run a command in the replica; if it does not run, where its directories are."""
        self._check(self._try(command), action)

    def _try(self, command: Sequence[str]) -> CommandResult:
        words = self._srun(command) if self.is_running else command
        return self.client.site.run(words, timeout_s=_COPY_TIMEOUT_S)

    def _check(self, done: CommandResult, action: str) -> None:
        if done.exit_code:
            lines = [line for line in done.stderr.strip().splitlines() if line.startswith(("tar: ", "cat: "))]
            why = lines[0] if lines else f"exit code {done.exit_code}"
            raise SchedulerError(f"cannot {action} of {self.role}/{self.number}: {escaped(why)}")

    def _locate(self, path: str) -> tuple[str, str]:
        """Return the directory and the name of *path* where tar runs; the name is ``.`` for a directory as a whole."""
        directory, name = split_path(path)
        if self.is_running:
            return directory, name
        return (self._outside(path), ".") if name == "." else split_path(self._outside(path))

    def _outside(self, path: str) -> str:
        """Return where a *path* of the replica is while it does not run.

        Raises:
            SchedulerError: it is on the replica's node, or in its container: the same path here is another file.
        """
        role = next(role for role in self.facts.roles() if role.name == self.role)
        inner_files = self._group["inner_files"]
        home = role.image if inner_files == self.files.directory else role.env.get("WORKSPACE_DIR", "")
        full = posixpath.join(home, path)
        places = {directory: directory for directory in (*self.facts.app["snapshots"], own_directory(self.files))}
        places[inner_files] = self.files.directory
        places |= {mount.dst_path: mount.src_path for mount in role.mounts if isinstance(mount, BindMount)}
        # The longest one is mounted over the others.
        for place in sorted(places, key=len, reverse=True):
            inside = posixpath.relpath(full, place) if posixpath.isabs(full) else ".."
            if inside.split("/")[0] != "..":
                return posixpath.normpath(posixpath.join(places[place], inside))
        shared = ", ".join(sorted(places))
        raise SchedulerError(
            f"cannot copy {path!r} of {self.role}/{self.number}, which does not run: only files in {shared} are shared",
            hint="copy it while the replica runs, or let the program write it to one of these directories",
        )

    def _srun(self, command: Sequence[str], *, tty: bool = False) -> list[str]:
        name = f"{self.role}-{self.number}"
        return [*self._step(self.facts.records[name].node, tty=tty), "be", name, *command]

    def _step(self, node: str, *, tty: bool) -> list[str]:
        """Return the command that runs the replica's script on *node*, in the replica's container."""
        group, groups = self._group, self.facts.app["groups"]
        words = as_written(["srun", "--overlap", f"--jobid={self.job_id}", "--nodes=1", "--ntasks=1", "--quiet"])
        words += [f"--het-group={groups.index(group)}"] if len(groups) > 1 else []
        words += [f"--nodelist={node}", f"--chdir={self.files.directory}"]
        words += ["--pty"] if tty else []
        words += [*options(group["srun"]), *group["wrapper"]]
        return [*words, "/bin/sh", f"{group['inner_files']}/replica.sh"]

    @property
    def _group(self) -> dict[str, Any]:
        """The group of nodes that the replica is in."""
        groups: list[dict[str, Any]] = self.facts.app["groups"]
        return next(group for group in groups if group["role"] == self.role and group["replica"] in (None, self.number))
