"""A sweep: many `topcoat run --detach` of one snapshot in a row, on this machine.

    python -m benchmarks.sweep [--jobs 50] [--old CHECKOUT]

The workspace has 10,000 files and 200 MB. It measures the time of the processes that submit, and the disk space of all
jobs, hard links counted once. With *--old*, another checkout of topcoat does the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.rig import file_system, scratch_in, seconds
from benchmarks.workloads import make_workspace

_HERE = Path(__file__).parent.parent


def sweep(root: Path, checkout: Path, jobs: int, link: str) -> tuple[float, float, int]:
    """Submit *jobs* jobs; return the seconds of the first and of all others, and the bytes on disk."""
    state = root / "state"
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout / "src"),
        "XDG_STATE_HOME": str(state),
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    words = ["run", "--detach", "-cfg", f"link={link}", "--workspace", str(root / "W"), "--", "true"]
    command = [sys.executable, "-m", "topcoat", *words]

    def submit() -> None:
        subprocess.run(command, env=environment, cwd=root, capture_output=True, check=True)

    first = seconds(submit)
    others = sum(seconds(submit) for _ in range(jobs - 1))
    used = subprocess.check_output(["du", "-sB1", state], text=True)
    shutil.rmtree(state)
    shutil.rmtree(root / "cache")
    return first, others, int(used.split()[0])


def main() -> None:
    """Measure each place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--places", nargs="*", default=["/dev/shm", "/var/tmp"], help="directories to measure in")
    parser.add_argument("--old", type=Path, help="another checkout of topcoat")
    args = parser.parse_args()
    for parent in args.places:
        with scratch_in(parent) as root:
            print(f"\n{parent} ({file_system(root)}), {args.jobs} jobs")
            make_workspace(root / "W", files=args.files, megabytes=args.megabytes)
            for checkout in filter(None, (args.old, _HERE)):
                for link in ("copy", "hard"):
                    first, others, used = sweep(root, checkout.resolve(), args.jobs, link)
                    name = "this" if checkout == _HERE else "old"
                    print(
                        f"{name:5} link={link}: first {first:.2f} s, all {first + others:.1f} s, "
                        f"{others / (args.jobs - 1):.3f} s for each other one, {used / 1e6:.0f} MB on disk"
                    )


if __name__ == "__main__":
    main()
