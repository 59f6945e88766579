"""Make the picture of a session in the README from a real run: python scripts/session_picture.py > docs/session.svg."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

PROMPT = "$ "
TRAIN = """\
import pathlib
for epoch in range(3):
    print("epoch", epoch, "loss", round({loss} / (epoch + 1), 3))
pathlib.Path("model.txt").write_text("weights")
"""
STEPS = (
    (1.0, "topcoat run -- python train.py"),
    (0.5, "topcoat run -- python train.py"),
    (0.5, "topcoat cp train:model.txt ."),
    (0.5, "topcoat list"),
)


def main() -> None:
    """Print the SVG."""
    with tempfile.TemporaryDirectory() as home:
        project = Path(home, "nano")
        (project / "bin").mkdir(parents=True)
        (project / "model.py").write_text("layers = 12\n")
        (project / ".torchxignore").write_text("bin\n")
        for name, words in (("topcoat", "-m topcoat"), ("python", "")):
            program = project / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            program.chmod(0o755)
        env = {"HOME": home, "PS1": PROMPT, "PATH": f"{project}/bin:{os.environ['PATH']}", "TERM": "xterm"}
        shell = pexpect.spawn(
            "bash", ["--norc", "--noediting"], env=env, cwd=str(project), encoding="utf-8", dimensions=(60, 120)
        )
        shell.expect_exact(PROMPT)
        lines = []
        for loss, command in STEPS:
            (project / "train.py").write_text(TRAIN.format(loss=loss))
            shell.sendline(command.replace("train:", f"{_last_job(lines)}:"))
            shell.expect_exact(PROMPT, timeout=60)
            lines.append(f"{PROMPT}{shell.before}".replace(home, "/home/ada").rstrip())
        shell.close(force=True)
    console = Console(file=StringIO(), record=True, width=120, force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)))
    # Without the fonts that the picture would fetch from a host.
    print(re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="topcoat"), flags=re.DOTALL))


def _last_job(lines: list[str]) -> str:
    return re.findall(r"(train-\w+): SUCCEEDED", "\n".join(["train-none: SUCCEEDED", *lines]))[-1]


if __name__ == "__main__":
    main()
