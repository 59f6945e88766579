"""Job directories beside rsync: on file systems of this machine, and over ssh.

    python -m benchmarks.job_dir --runs 5

The workspace has 10,000 files and 200 MB. topcoat's time is that of the delivery in a new process, from the scan of the
workspace to the complete directory, without the start of the interpreter; "process" has the start too. rsync's time is
that of its process. Every copy goes to a new directory, as a job directory does. The runs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tests.components.ssh import LoginNode, login_node

from benchmarks.rig import file_system, scratch_in, seconds
from benchmarks.workloads import edit_line, make_workspace

# In a new process: what the hook of a scheduler does, measured after the imports.
_DELIVER = """
import gc, json, logging, sys, time
logging.disable(logging.CRITICAL)
gc.set_threshold(1_000_000)  # as the command line does
from topcoat.schedulers.slurm.snapshot import SnapshotWorkspace
from topcoat.schedulers.slurm.ssh import open_site
from topcoat.specs import Role, Workspace
workspace, cfg = sys.argv[1], json.loads(sys.argv[2])
sites = {}
mixin = SnapshotWorkspace(lambda host: sites.setdefault(host, open_site(host)))
start = time.perf_counter()
mixin.build_workspaces([Role("r", "", workspace=Workspace({workspace: ""}))], cfg)
print(time.perf_counter() - start)
for site in sites.values():
    site.close()
"""


class Delivery(NamedTuple):
    """One measurement, in seconds: of the delivery, and of the whole process."""

    inner: float
    process: float


class Place:
    """A directory on one file system that holds the workspace and its copies."""

    def __init__(self, root: Path, files: int, megabytes: int, login: LoginNode | None = None) -> None:
        self.root = root
        self.login = login
        self.source = make_workspace(root / "W", files=files, megabytes=megabytes)
        self._numbers = iter(range(10**6))
        self._environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
        if login:
            self._environment |= login.environment

    def edit(self) -> None:
        """Change one line of one file."""
        edit_line(self.source, next(self._numbers))

    def forget(self) -> None:
        """Remove topcoat's cache, and the connection that it keeps open: the next delivery is a first one."""
        shutil.rmtree(self.root / "cache", ignore_errors=True)
        if self.login:
            self.login.disconnect()

    def topcoat(self, link: str, *, is_first: bool = False) -> Delivery:
        """Deliver into a new job directory, beside the earlier ones unless it is the first."""
        new = self._new()
        job_dir = new.with_suffix(".first") / new.name if is_first else new
        cfg = {"job_dir": str(job_dir), "link": link, **({"slurm_host": self.login.host} if self.login else {})}
        command = [sys.executable, "-c", _DELIVER, str(self.root / "W"), json.dumps(cfg)]
        printed: list[bytes] = []
        process = seconds(
            lambda: printed.append(subprocess.run(command, env=self._environment, stdout=-1, check=True).stdout)
        )
        return Delivery(float(printed[0]), process)

    def rsync(self) -> float:
        """Copy into a new directory."""
        words = ["rsync", "-az", "-e", str(self.login.bin / "ssh")] if self.login else ["rsync", "-a"]
        target = f"{self.login.host}:{self._new()}" if self.login else str(self._new())
        return seconds(lambda: subprocess.run([*words, f"{self.root / 'W'}/", target], check=True))

    def _new(self) -> Path:
        # Earlier copies stay: after thousands of files were removed, ext4 without a journal makes new ones ten times as
        # slowly for minutes, because it looks at each inode that was freed lately. What the last run wrote is not this
        # one's to write.
        os.sync()
        return self.root / f"copy{next(self._numbers)}"


def measure(place: Place, runs: int) -> None:
    """Measure in turns and print a table."""
    rsync: list[float] = []
    times: dict[str, list[Delivery]] = defaultdict(list)
    for _ in range(runs):
        place.edit()
        rsync.append(place.rsync())
        place.forget()
        times["first copy"].append(place.topcoat("copy", is_first=True))
        for link in ("copy", "hard"):
            place.edit()
            times[f"next edit, {link}"].append(place.topcoat(link))
        if place.login:
            place.login.disconnect()
            place.edit()
            times["hard, new connection"].append(place.topcoat("hard"))
    print(f"rsync {'-az over ssh' if place.login else '-a':14} {statistics.median(rsync):.3f} s")
    for step, deliveries in times.items():
        inner = statistics.median(delivery.inner for delivery in deliveries)
        process = statistics.median(delivery.process for delivery in deliveries)
        ratios = [delivery.inner / base for delivery, base in zip(deliveries, rsync, strict=True)]
        print(
            f"{step:20} {inner:.3f} s, process {process:.3f} s, "
            f"median of the ratios to rsync {statistics.median(ratios):.2f}"
        )


def main() -> None:
    """Measure each place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--places", nargs="*", default=["/dev/shm", "/var/tmp"], help="directories to measure in")
    parser.add_argument("--no-ssh", action="store_true", help="leave out the measurement over ssh")
    args = parser.parse_args()
    for parent in args.places:
        with scratch_in(parent) as root:
            print(f"\n{parent} ({file_system(root)})")
            measure(Place(root / "place", args.files, args.megabytes), args.runs)
    if not args.no_ssh:
        with scratch_in(args.places[0]) as root, login_node(root / "sshd", root) as login:
            print(f"\nover ssh, {args.places[0]}")
            measure(Place(root / "place", args.files, args.megabytes, login), args.runs)


if __name__ == "__main__":
    main()
