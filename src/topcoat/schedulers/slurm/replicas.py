"""Commands and files of one replica: ``srun --overlap`` runs a command beside it, in its directory and environment."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from topcoat.errors import SchedulerError
from topcoat.foreign_text import escaped
from topcoat.schedulers.copying import extract, move, split_path, temporary_beside
from topcoat.schedulers.ids import random_id
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.files import JobFiles
from topcoat.schedulers.slurm.sbatch import options
from topcoat.schedulers.slurm.site import CommandResult
from topcoat.schedulers.slurm.status import JobFacts
from topcoat.specs import BindMount

_COPY_TIMEOUT_S = 3600.0
_PIECE = 8 << 20


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
        arguments = ["terminal", self.role, f"={self.number}", "0", "0", node]
        self.client.site.interactive([*words, *arguments], tty=tty)

    def copy_from(self, path: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of the replica to *destination*, which appears whole or not at all."""
        directory, name = split_path(path)
        with self._archive() as (archive, inner), temporary_beside(destination) as temporary:
            self._run(["tar", "-cf", inner, "-C", directory, "--", name], f"copy {path}", path)
            with tempfile.TemporaryFile(dir=temporary) as local:
                while data := self.client.site.read_file(archive, local.tell(), _PIECE):
                    local.write(data)
                local.seek(0)
                extract(local, temporary, path)
            extracted = temporary if name == "." else os.path.join(temporary, name)
            move(extracted, destination)

    def copy_to(self, source: str | os.PathLike[str], path: str) -> None:
        """Copy a local file or directory into the replica, where it becomes *path*."""
        import tarfile

        directory, name = split_path(path)
        if name == ".":
            name = os.path.basename(os.path.abspath(source))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(source, name)
        with self._archive() as (archive, inner):
            self.client.site.write_file(archive, packed.getvalue(), 0o600)
            self._run(["tar", "-xmf", inner, "--no-same-owner", "-C", directory], f"copy {source} to {path}", path)

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

    def _run(self, command: Sequence[str], action: str, path: str) -> None:
        """Run a command in the replica; if it has ended, where its directories are."""
        if self.is_running:
            words = self._srun(command)
        else:
            directory = self._outside(command[command.index("-C") + 1])
            words = [*command]
            words[words.index("-C") + 1] = directory
        done: CommandResult = self.client.site.run(words, timeout_s=_COPY_TIMEOUT_S)
        if done.exit_code:
            lines = [line for line in done.stderr.strip().splitlines() if line.startswith("tar: ")]
            why = lines[0] if lines else f"exit code {done.exit_code}"
            raise SchedulerError(f"cannot {action} of {self.role}/{self.number}: {escaped(why)}")

    def _outside(self, directory: str) -> str:
        """Return where a directory of a container is without the container: what is mounted stays."""
        role = next(role for role in self.facts.roles() if role.name == self.role)
        home = role.env.get("WORKSPACE_DIR") or role.image
        path = posixpath.normpath(posixpath.join(home, directory))
        for mount in role.mounts:
            if isinstance(mount, BindMount) and (path == mount.dst_path or path.startswith(f"{mount.dst_path}/")):
                return mount.src_path + path.removeprefix(mount.dst_path)
        return path

    def _srun(self, command: Sequence[str], *, tty: bool = False) -> list[str]:
        name = f"{self.role}-{self.number}"
        return [*self._step(self.facts.records[name].node, tty=tty), "be", name, *command]

    def _step(self, node: str, *, tty: bool) -> list[str]:
        """Return the command that runs the replica's script on *node*, in the replica's container."""
        group, groups = self._group, self.facts.app["groups"]
        words = ["srun", "--overlap", f"--jobid={self.job_id}", "--nodes=1", "--ntasks=1", "--quiet"]
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
