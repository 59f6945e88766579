"""Ignore rules: time per path, beside one regular expression per pattern asked in a loop.

`python -m benchmarks.ignore [--files N]`

The paths are those of a made-up project, walked as a scan would: what is below a pruned directory is not asked.
The loop decides alike (the benchmark fails if it does not); it is how a matcher of one object per pattern does it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from topcoat.scan.ignore import DEFAULT_PATTERNS, IgnoreRules
from topcoat.scan.pattern import matcher

NEGATIONS = """\
.git
.venv
**/__pycache__
**/*.pyc
data/
!data/config.yaml
!data/schema/**
outputs
*.csv
!/train.csv
docs/**
!docs/README.md
**/*.ckpt
**/*.pt
tmp*
!tmp_keep
**/.env*
!.env.example
notebooks/*.ipynb
**/node_modules
"""
_ROW = "{:24} {:>8} {:>7} {:>7} {:>8} {:>8} {:>6} {:>8}"
FEW = "data/\n*.csv\n.git\n"

Decide = Callable[[str, Any], tuple[bool, Any]]


class Project(NamedTuple):
    """Directories with what they hold, parents first; a name ends with a slash where it is a directory."""

    listings: list[tuple[str, list[str]]]


def make_project(files: int) -> Project:
    """Return about *files* paths, two to seven components deep, with a little of what projects leave out."""
    listings: dict[str, list[str]] = {"": []}

    def directory(path: str) -> str:
        parent, _, name = path.rstrip("/").rpartition("/")
        key = f"{parent}/" if parent else ""
        if path not in listings:
            if key not in listings:
                directory(key)
            listings[key].append(f"{name}/")
            listings[path] = []
        return path

    for index in range(files):
        package = directory(f"src/project/part_{index % 23}/area_{index % 7}/" + "deep/" * (index % 3))
        listings[package].append(f"module_{index}.py")
        if index % 50 == 0:
            listings[directory(f"{package}__pycache__/")].append(f"module_{index}.cpython-311.pyc")
        if index % 40 == 0:
            listings[directory(f"data/shard_{index % 5}/")].append(f"part_{index}.csv")
        if index % 100 == 0:
            listings[directory(".git/objects/")].append(f"{index:040x}")
            listings[directory("docs/pages/")].append(f"page_{index}.md")
    listings["data/"].append("config.yaml")
    listings["docs/"].append("README.md")
    return Project(list(listings.items()))


def walk(project: Project, rules: IgnoreRules, decide: Decide | None) -> tuple[int, int, float]:
    """Walk with *decide*, or with nothing at all: paths asked, paths kept, seconds."""
    members = dict(project.listings)
    asked = kept = 0
    start = time.perf_counter()
    pending: list[tuple[str, Any]] = [("", 0)]
    while pending:
        prefix, state = pending.pop()
        for name in members[prefix]:
            asked += 1
            bare = prefix + name.rstrip("/")
            excluded, below = decide(bare, state) if decide else (False, 0)
            kept += not excluded
            if name.endswith("/") and not (excluded and rules.can_prune(bare)):
                pending.append((f"{bare}/", below))
    return asked, kept, time.perf_counter() - start


def loop(rules: IgnoreRules) -> Decide:
    """Return the same decision, made pattern by pattern with one bit for each."""
    patterns = [(matcher([rule.term]), rule.line.excluded) for rule in rules.rules]

    def decide(path: str, above: Any) -> tuple[bool, list[bool]]:
        carried = above or [False] * len(patterns)
        bits = []
        excluded = False
        for (matches, plain), bit in zip(patterns, carried, strict=True):
            spoke = bit or (excluded is not plain and bool(matches(path)))
            bits.append(spoke)
            if spoke:
                excluded = plain
        return excluded, bits

    return decide


def measure(project: Project, rules: IgnoreRules, decide: Decide, rounds: int) -> tuple[int, int, float]:
    """Return paths asked, paths kept and nanoseconds per path, the walk itself taken off; the best of *rounds*."""
    asked, kept, _ = walk(project, rules, decide)
    # The walk alone sees the pruned directories too, so it is counted per path.
    alone_asked, _, _ = walk(project, rules, None)
    alone = min(walk(project, rules, None)[2] for _ in range(rounds)) / alone_asked
    best = min(walk(project, rules, decide)[2] for _ in range(rounds)) / asked
    return asked, kept, (best - alone) * 1e9


def main() -> None:
    """Print one line per ignore file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    project = make_project(args.files)
    many = "".join(f"{index * 2654435761 % 2**32:08x}/file_{index}.bin\n" for index in range(1000))
    print(_ROW.format("rules", "patterns", "paths", "kept", "ns/path", "loop", "ratio", "read ms"))
    for title, text in {
        "three lines": FEW,
        "built-in": "\n".join(DEFAULT_PATTERNS),
        "20 lines with negations": NEGATIONS,
        "everything but *.py": "*\n!**/*.py\n",
        "1000 plain names": many,
    }.items():
        start = time.perf_counter()
        rules = IgnoreRules.parse([("ignore", text.encode())])
        reading = (time.perf_counter() - start) * 1e3
        naive = loop(rules)
        asked, kept, ours = measure(project, rules, rules.decide, args.rounds)
        if walk(project, rules, naive)[:2] != (asked, kept):
            raise SystemExit(f"{title}: the loop decides otherwise")
        _, _, theirs = measure(project, rules, naive, 1 if len(rules) > 100 else args.rounds)
        figures = (f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.1f}", f"{reading:.1f}")
        print(_ROW.format(title, len(rules), asked, kept, *figures))


if __name__ == "__main__":
    main()
