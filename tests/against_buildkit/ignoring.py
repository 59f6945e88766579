"""Random ignore files for a workspace, which both sides obey."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.against_buildkit.trees import IGNORE_FILES, RandomTree

_WHOLE = ["*", "**", "**/*.py", "*.py", "!**/*.py", "**/x", "x/**", "!x/**", "src", "!src/pkg", "?", "[a-z]*",
          "[^a-z]*", "**/[rR]*", "!README", "!*.md",
          ".*", "!.env", "**/.git", "n*", ".dockerignore", ".torchxignore", "!.*",
          "*/*", "*/*/*", "d*/**", "./src", "/src/", "src//pkg", "../x", "\\*", "\\#hash", "\\!bang", "[[]a]",
          "a b", "  a b  ", "\u65e5*", "**/a?.py"]  # fmt: skip
_REFUSED = ["[", "[]a]", "a[", "[a-", "!", "\\"]
_NOISE = ["", "# a comment", " # no comment", "   "]


def write_ignore_files(tree: RandomTree, beside: Path, chance: random.Random) -> None:
    """Write ignore files with rules for what is in *tree*, and what BuildKit needs to obey the same.

    BuildKit knows no ``.torchxignore``: it gets the rules of both files in *beside*, the ``.dockerignore`` of its
    Dockerfile, which takes the place of the workspace's own.
    """
    root = tree.root
    paths = [path.relative_to(root) for path in tree.everything()]
    for name in IGNORE_FILES:
        (root / name).unlink(missing_ok=True)
    beside.unlink(missing_ok=True)
    names = chance.choice([[".dockerignore"], [".dockerignore"], [".torchxignore"], [".dockerignore", ".torchxignore"]])
    texts = [_rules(paths, chance, first=name == names[0]) for name in names]
    for name, text in zip(names, texts, strict=True):
        (root / name).write_bytes(text)
    if names != [".dockerignore"]:
        beside.write_bytes(b"\n".join(texts))
    tree.settle()


def _rules(paths: Sequence[Path], chance: random.Random, *, first: bool) -> bytes:
    if chance.random() < 0.15:
        return b""
    lines = [_rule(paths, chance) for _ in range(chance.choice([1, 2, 4, 8]))]
    if chance.random() < 0.02:
        lines.append(chance.choice(_REFUSED))
    end = "\r\n" if chance.random() < 0.1 else "\n"
    text = "".join(line + end for line in lines).encode()
    return b"\xef\xbb\xbf" + text if first and chance.random() < 0.1 else text


def _rule(paths: Sequence[Path], chance: random.Random) -> str:
    draw = chance.random()
    if draw < 0.1:
        return chance.choice(_NOISE)
    if draw < 0.5 or not paths:
        return chance.choice(_WHOLE)
    parts = [_escaped(part, chance) for part in chance.choice(paths).parts]
    if chance.random() < 0.3:
        parts = parts[: chance.randint(1, len(parts))]
    if chance.random() < 0.3:
        parts[chance.randrange(len(parts))] = chance.choice(["*", "**", "?*", "[a-z]*", "*.*"])
    sign = "!" if chance.random() < 0.35 else ""
    return sign + chance.choice(["", "", "", "/", "**/"]) + "/".join(parts) + chance.choice(["", "", "", "/", "/**"])


def _escaped(part: str, chance: random.Random) -> str:
    """Spell a name so that it stands for itself, mostly.

    What does not print becomes any character: a line break ends a rule, and BuildKit cannot send the others.
    """
    spelled = (f"\\{letter}" if letter in "*?[\\!#" and chance.random() < 0.9 else letter for letter in part)
    return "".join(letter if letter.isprintable() or len(letter) > 1 else "?" for letter in spelled)
