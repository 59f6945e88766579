"""The edit loop of this checkout beside that of another one, old and new in turn, so that both meet the same machine.

    python -m benchmarks.paired ../old-checkout --runs 15

Prints the median seconds of a cold build, an edit and a build without changes, and the ratio new / old.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.components.images import Image
from tests.components.rootfs import python_layers

from benchmarks.rig import rig, seconds
from benchmarks.workloads import edit_line, make_workspace

HERE = Path(__file__).parent.parent


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="the other checkout")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=200)
    args = parser.parse_args()
    checkouts = {"old": args.old.resolve(), "new": HERE}
    times: dict[str, dict[str, list[float]]] = {step: {name: [] for name in checkouts} for step in _STEPS}
    with rig() as running:
        workspace = running.scratch / "W"
        source = make_workspace(workspace, files=args.files, megabytes=args.megabytes)
        base = Image("python", python_layers(), {"WorkingDir": "/app"}).push(running.registry, "base", "1")

        def build(name: str) -> None:
            env = {
                **os.environ,
                "PYTHONPATH": str(checkouts[name] / "src"),
                "XDG_CACHE_HOME": str(running.scratch / f"cache-{name}"),
                "XDG_CONFIG_HOME": str(running.scratch / "config"),
            }
            env.pop("PYTHONDONTWRITEBYTECODE", None)
            words = ["build", "--image", base.reference, "--image-repo", f"{running.registry.host}/{name}"]
            command = [sys.executable, "-m", "topcoat", *words, "--workspace", str(workspace)]
            subprocess.run(command, env=env, capture_output=True, check=True)

        for name in checkouts:
            times["cold"][name].append(seconds(lambda name=name: build(name)))  # type: ignore[misc]
        for number in range(args.runs):
            edit_line(source, number)
            # Whoever comes second finds the file system warm: they take turns.
            names = list(checkouts) if number % 2 else list(reversed(checkouts))
            for step in ("edit", "no-op"):
                for name in names:
                    times[step][name].append(seconds(lambda name=name: build(name)))  # type: ignore[misc]
    for step, by_name in times.items():
        old, new = (statistics.median(by_name[name]) for name in ("old", "new"))
        ratios = [new / old for old, new in zip(by_name["old"], by_name["new"], strict=True)]
        print(f"{step:6} old {old:.3f} s, new {new:.3f} s, median of the paired ratios {statistics.median(ratios):.2f}")


_STEPS = ("cold", "edit", "no-op")

if __name__ == "__main__":
    main()
