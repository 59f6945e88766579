"""SIGKILL at a random moment of any command, with edits between: nothing is lost, wrong or left over.

``TOPCOAT_KILLS`` is the number of kills, ``TOPCOAT_KILL_SEED`` the seed of the edits and the moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.forked import NO_KILL, Ended, Kill, run
from tests.faults.served import code_of, served_registry
from tests.support.waiting import eventually
from topcoat.destinations.directory import DirectoryDestination
from topcoat.scan.scanner import scan
from topcoat.schedulers.local import jobs as local_jobs
from topcoat.schedulers.local.process import is_process
from topcoat.specs import Workspace, is_terminal
from topcoat.state import cache_dir, state_dir

KILLS = int(os.environ.get("TOPCOAT_KILLS", "200"))
SEED = int(os.environ.get("TOPCOAT_KILL_SEED", "1"))


class Machine:
    """A user's machine: a workspace that is edited, commands that are killed, and what has to hold after each kill."""

    def __init__(self, root: Path, host: str, seed: int) -> None:
        self.root, self.host, self.random = root, host, random.Random(seed)
        self.workspace = root / "ws"
        self.workspace.mkdir()
        (self.workspace / ".torchxignore").write_text("left_out\n")
        for number in range(30):
            self.write(f"pkg{number % 5}/module{number}.py")
        self.job_dirs = 0
        self.images: set[str] = set()

    def write(self, name: str) -> None:
        path = self.workspace / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.random.randbytes(self.random.choice((10, 1000, 100_000))))

    def edit(self) -> None:
        files = sorted(path for path in self.workspace.rglob("*.py"))
        for _ in range(self.random.randrange(3)):
            self.write(f"pkg{self.random.randrange(6)}/module{self.random.randrange(40)}.py")
        if self.random.random() < 0.3:
            self.random.choice(files).unlink(missing_ok=True)

    def code(self) -> dict[str, bytes]:
        files = (path for path in self.workspace.rglob("*") if path.is_file())
        return {str(path.relative_to(self.workspace)): path.read_bytes() for path in files}

    def command(self, *words: str, kill: Kill = NO_KILL) -> Ended:
        return run(list(words), self.root / "output", kill)

    # What is killed. Each returns whether the result is right, when it is not killed.

    def build(self, kill: Kill = NO_KILL) -> Ended:
        image = ("--image", f"{self.host}/base:1", "--image-repo", f"{self.host}/app")
        return self.command("build", *image, "--workspace", str(self.workspace), kill=kill)

    def check_build(self, ended: Ended) -> None:
        name = next(line for line in ended.output.splitlines() if line.startswith(f"{self.host}/app"))
        self.images.add(name.rpartition("@")[2])
        assert code_of(self.host, "app", name.rpartition("@")[2]) == self.code()

    def run(self, kill: Kill = NO_KILL) -> Ended:
        count = ("sh", "-c", "find . -type f | wc -l")
        return self.command("run", "--workspace", str(self.workspace), "--", *count, kill=kill)

    def check_run(self, ended: Ended) -> None:
        assert str(len(self.code()) + 1) in ended.output.split()

    def job_dir(self, kill: Kill = NO_KILL) -> Ended:
        if kill != NO_KILL:
            self.job_dirs += 1
        target = self.root / "places" / f"job{self.job_dirs}"

        def fill() -> None:
            scanned = scan(Workspace({str(self.workspace): ""}))
            DirectoryDestination(str(target), link=self.random.choice(("copy", "hard"))).deliver(scanned, "ws")

        return run([], self.root / "output", kill, fill)

    def check_job_dir(self, ended: Ended) -> None:
        place = self.root / "places" / f"job{self.job_dirs}"
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        assert files.pop(".topcoat.json")
        assert files == self.code()

    def delete(self, kill: Kill = NO_KILL) -> Ended:
        names = sorted(os.listdir(state_dir("jobs"))) if state_dir("jobs").exists() else []
        if not names:
            return Ended(0, "")
        return self.command("delete", "--force", f"local://topcoat/{self.random.choice(names)}", kill=kill)

    def check_delete(self, ended: Ended) -> None:
        """The job that is deleted in the end is another one."""

    def clean_up(self, kill: Kill = NO_KILL) -> Ended:
        """Kill the command that removes what an earlier kill has left."""
        self.job_dir(Kill(event=self.random.randint(20, 100)))
        self.job_dirs -= 1
        return self.command("list", kill=kill)

    def check_clean_up(self, ended: Ended) -> None:
        """Leftovers are checked after every command."""

    def supervisor(self, kill: Kill = NO_KILL) -> Ended:
        """Kill the process that watches a job."""
        words = ("run", "--detach", "--workspace", str(self.workspace), "--", "sh", "-c", "sleep 0.2 & sleep 0.2")
        ended = self.command(*words)
        assert ended.code == 0, ended.output
        job = local_jobs.load(ended.output.split()[-1].rpartition("/")[2])
        assert job is not None
        if kill != NO_KILL and is_process(job.status["pid"], job.status["start"]):
            os.kill(job.status["pid"], signal.SIGKILL)
        return Ended(ended.code if kill == NO_KILL else -signal.SIGKILL, ended.output)

    def check_supervisor(self, ended: Ended) -> None:
        """Whether jobs end is checked for all of them."""

    # What holds after each kill.

    def check_leftovers(self) -> None:
        listed = self.command("list", "--json")
        assert listed.code == 0, listed.output
        # Notices come first.
        jobs = json.loads(listed.output[listed.output.index("{\n") :])["jobs"]
        names = {job["handle"].rpartition("/")[2] for job in jobs}
        assert set(os.listdir(state_dir("jobs"))) == names if state_dir("jobs").exists() else not names
        assert not state_dir("claims").exists() or os.listdir(state_dir("claims")) == []
        places = self.root / "places"
        assert not places.exists() or [name for name in os.listdir(places) if name.startswith(".")] == []
        spool = cache_dir("spool")
        assert not spool.exists() or os.listdir(spool) == []

    def check_jobs_end(self) -> None:
        eventually(lambda: all(is_terminal(job.state) for job in local_jobs.load_all()), "a job that never ends")
        for job in local_jobs.load_all():
            for replica in job.status["replicas"]:
                assert not is_process(replica["pid"], replica["start"]), job.status

    def check_images(self) -> None:
        assert self.images
        for digest in self.images:
            code_of(self.host, "app", digest)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with served_registry() as host:
        yield Machine(tmp_path, host, SEED)


def count_events(machine: Machine, operation: Callable[[Kill], Ended]) -> int:
    """Return after about how many events *operation* has ended: the first power of two that does not kill it."""
    event = 64
    while operation(Kill(event=event)).code < 0:
        event *= 2
    return event


def test_after_a_kill_at_any_moment_nothing_is_lost_wrong_or_left_over(machine: Machine) -> None:
    operations = {
        machine.build: machine.check_build,
        machine.run: machine.check_run,
        machine.job_dir: machine.check_job_dir,
        machine.delete: machine.check_delete,
        machine.clean_up: machine.check_clean_up,
        machine.supervisor: machine.check_supervisor,
    }
    weights = (8, 4, 5, 2, 2, 1)
    assert machine.build().code == 0
    assert machine.run().code == 0
    events = {
        operation: count_events(machine, operation) for operation in (machine.build, machine.run, machine.job_dir)
    }
    kills = 0
    for _ in range(3 * KILLS):
        if kills >= KILLS:
            break
        machine.edit()
        (operation,) = machine.random.choices(list(operations), weights)
        event, seconds = machine.random.randint(1, events.get(operation, 200)), machine.random.uniform(0.001, 0.08)
        ended = operation(Kill(event=event) if machine.random.random() < 0.5 else Kill(seconds=seconds))
        kills += ended.code == -signal.SIGKILL
        assert ended.code in (0, -signal.SIGKILL), (operation.__name__, event, ended.output)
        machine.check_leftovers()
        if machine.random.random() < 0.5:
            continue  # the next command meets what the kill left
        ended = operation()
        assert ended.code == 0, (operation.__name__, event, seconds, ended.output)
        operations[operation](ended)
    assert kills >= KILLS * 2 // 3, "the moments are too late"
    machine.check_jobs_end()
    machine.check_leftovers()
    machine.check_images()
