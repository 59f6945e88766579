"""Names of files and directories, shared by workspaces and bases so that they meet."""

from __future__ import annotations

TEXT = ["README", "Dockerfile", "main.py", "x.csv", "data.txt", ".env", "-f", "a b", "new\nline", "t\tab", "*", "[a]",
        "q?", "\\back",
        "\u00e4.py", "a\u0308.py", "\U0001f600", "'quoted\"", "%41", "#hash", "!bang", "~", "UPPER.PY", "upper.py",
        "nul.", "n" * 101, "k" * 255]  # fmt: skip
"""Names that are mostly files."""

FOLDERS = ["src", "pkg", "x", "bin", "lib", "etc", "tmp", ".git", "--", "dir with space", "\u65e5\u672c", "d" * 60,
           "e" * 120, "line\nbreak", "a.b", "..."]  # fmt: skip
"""Names that are mostly directories."""

NAMES = [*TEXT, *FOLDERS]
