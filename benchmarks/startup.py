"""Start-up: `topcoat --help` and friends beside `python -c pass`, as ratios.

`python -m benchmarks.startup [--runs N]`
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

from benchmarks.rig import seconds

_IMPORTS = {
    "topcoat --version": ["-m", "topcoat", "--version"],
    "topcoat --help": ["-m", "topcoat", "--help"],
    "topcoat ls (no files)": ["-m", "topcoat", "ls"],
    "import topcoat.specs": ["-c", "import topcoat.specs"],
    "import what a build needs": ["-c", "import topcoat.pipeline, topcoat.destinations.registry"],
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    # As installed: with compiled modules.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def median(arguments: list[str]) -> float:
        def run() -> None:
            command = [sys.executable, *arguments]
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

        run()
        return statistics.median(seconds(run) for _ in range(runs))

    least = median(["-c", "pass"])
    print(f"{'python -c pass':28}{1000 * least:7.1f} ms")
    for name, arguments in _IMPORTS.items():
        took = median(arguments)
        print(f"{name:28}{1000 * took:7.1f} ms {took / least:6.1f}x")


if __name__ == "__main__":
    main()
