"""Workspaces for tests: small ones, one with unusual files, and a large one that is the same at every call."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Mapping
from pathlib import Path

from topcoat.specs import Workspace

Content = str | bytes | None
"""Content of a file; None creates an empty directory."""

LONG = "long" * 30


def write(root: Path, files: Mapping[str, Content]) -> Workspace:
    """Write *files* below *root*, and return *root* as a workspace."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Workspace({str(root): ""})


def odd(root: Path) -> Workspace:
    """Write unusual names, links, modes, empty directories and ignored files."""
    write(
        root,
        {
            ".torchxignore": "ignored\n*.log\n",
            "ignored/secret": "no",
            "run.log": "no",
            "main.py": "print('main')\n",
            "empty": b"",
            "hollow/inner": None,
            "with space/a b.txt": "space",
            "new\nline/x\ty": "newline",
            "uml\u00e4ut/\u65e5\u672c.txt": "unicode",
            "-rf/--": "dashes",
            "back\\slash'\"": "quotes",
            f"{LONG}/{LONG}/{LONG}.txt": "a name that ustar has no room for",
            f"{'p' * 90}/short": "a name that ustar splits",
            "large.bin": random.Random(1).randbytes((1 << 20) + 17),
            "bin/tool": "#!/bin/sh\necho tool\n",
            "modes/private": "private",
            "modes/group": "group",
        },
    )
    raw = os.fsencode(root)
    os.mkdir(raw + b"/\xff\xfe")
    with open(raw + b"/\xff\xfe/latin-\xe9" + b"-" * 100, "wb") as file:
        file.write(b"not UTF-8")
    links = {
        b"link": b"main.py",
        b"link-to-dir": b"with space",
        b"dangling": b"nowhere/at all",
        b"outside": b"/etc/passwd",
        b"hollow/up": b"../new\nline/x\ty",
        b"raw-link": b"\xff\xfe/latin-\xe9",
        b"far": b"x/" * 80 + b"y",
    }
    for link, target in links.items():
        os.symlink(target, raw + b"/" + link)
    for name, mode in {"bin/tool": 0o755, "modes/private": 0o600, "modes/group": 0o664, "modes": 0o2750}.items():
        (root / name).chmod(mode)
    return Workspace({str(root): ""})


def bulk(root: Path) -> Workspace:
    """Write 20 MB: 1500 text files and 12 large incompressible files, the same at every call."""
    return write(root, _bulk())


@functools.cache
def _bulk() -> Mapping[str, bytes]:
    chance = random.Random(7)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz_(), \n", k=9)) for _ in range(20_000)]
    text = b"".join(chance.choices(words, k=300_000))
    content = {".torchxignore": b".git\n"}
    for number in range(1500):
        size = min(int(chance.lognormvariate(7.5, 1.0)), 100_000)
        start = chance.randrange(len(text) - size)
        content[f"src/pkg{number // 60:02}/mod{number:05}.py"] = text[start : start + size]
    for number in range(12):
        content[f"data/blob{number}.bin"] = chance.randbytes((1 << 20) + chance.randrange(1 << 20))
    return content


def edit(workspace: Workspace, name: str, old: bytes = b"", new: bytes = b"edited") -> None:
    """Replace *old* (by default the first bytes) of a file by *new*, of the same length by default."""
    path = Path(next(iter(workspace.projects)), name)
    data = path.read_bytes()
    path.write_bytes(data.replace(old, new, 1) if old else new + data[len(new) :])
