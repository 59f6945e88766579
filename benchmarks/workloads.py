"""Workspaces to measure with, the same on every machine with the same Python."""

from __future__ import annotations

import os
import random
import sysconfig
from pathlib import Path


def source_text() -> bytes:
    """Return some megabytes of real source text: the standard library's."""
    library = Path(sysconfig.get_path("stdlib"))
    return b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))


def make_workspace(root: Path, *, files: int = 10_000, megabytes: int = 200, seed: int = 7) -> Path:
    """Fill *root* with a project: many source files, of a few kilobytes each, and data files for the rest of the size.

    Returns:
        A source file in the middle, to edit.
    """
    rng = random.Random(seed)
    text = source_text()
    root.mkdir(parents=True)
    (root / ".torchxignore").write_text(".git\n**/__pycache__\n")
    data_files = max(files // 340, 1)
    total = 0
    middle = root
    for number in range(files - data_files - 1):
        folder = root / "src" / f"pkg{number // 100:03d}" / f"sub{number // 20 % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        size = min(int(rng.lognormvariate(8.2, 1.0)), 200_000)
        start = rng.randrange(len(text) - size)
        path = folder / f"module_{number:05d}.py"
        path.write_bytes(text[start : start + size])
        total += size
        if number == files // 2:
            middle = path
    data = root / "data"
    data.mkdir()
    each = max((megabytes * 1_000_000 - total) // data_files, 1)
    for number in range(data_files):
        (data / f"blob{number:02d}.bin").write_bytes(_mixture(rng, text, each))
    return middle


def _mixture(rng: random.Random, text: bytes, size: int) -> bytes:
    """Return data that compresses as data sets do: three parts text and one part noise, in turns of a megabyte."""
    parts: list[bytes] = []
    turn = 1_000_000
    for number in range(-(-size // turn)):
        start = rng.randrange(len(text) - turn)
        parts.append(rng.randbytes(turn) if number % 4 == 3 else text[start : start + turn])
    return b"".join(parts)[:size]


def edit_line(path: Path, number: int) -> None:
    """Change one line of *path*: append a comment that differs from run to run."""
    with path.open("ab") as file:
        file.write(f"# edit {number} {os.urandom(4).hex()}\n".encode())
