"""The locale decides about nothing that is shipped: names and rules are bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from topcoat.scan.names import decode, encode
from topcoat.testing.trees import Link, build_tree

NAMES = ["données/clé.pem", "données/lu.txt", "café.py", "plain.py", "日本/語.py"]
# Prints what a scan gives, and copies it.
SCRIPT = """
import json, os, sys
from topcoat.destinations.directory import DirectoryDestination
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs.workspace import Workspace
root, target, job, argument = os.fsdecode(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "argument"
target = target if argument else "cible/\\u00e9t\\u00e9"
options = ScanOptions(IMAGE_IGNORE_FILES)
for _ in range(2):
    scanned = scan(Workspace({root: target}), options)
DirectoryDestination(job).deliver(scanned, "w")
entries = [[entry.path.hex(), entry.kind, entry.content.hex()] for entry in scanned.snapshot]
for entry in scanned.snapshot:
    if entry.kind == "file":
        scanned.read(entry)
print(json.dumps([sys.getfilesystemencoding(), scanned.snapshot.digest, entries]))
"""


def run(env: dict[str, str], *arguments: str) -> tuple[str, str, dict[bytes, tuple[str, bytes]]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(os.fsencode, arguments)],
        env={**os.environ, **env},
        capture_output=True,
        check=True,
    )
    encoding, digest, entries = json.loads(done.stdout)
    return encoding, digest, {bytes.fromhex(path): (kind, bytes.fromhex(text)) for path, kind, text in entries}


@pytest.mark.parametrize("how", ["argument", "literal"])
def test_an_ignore_rule_with_an_accent_holds_in_every_locale(
    tmp_path: Path, odd_locale: dict[str, str], how: str
) -> None:
    root = tmp_path / "été"
    tree = {encode(name): "secret" for name in NAMES}
    build_tree(
        root,
        {".dockerignore": "données\n!données/lu.txt\ncaf?.py\n**/語.py\n", **tree, "lien": Link("données/lu.txt")},
    )
    arguments = (str(root), "cible/été")
    encoding, digest, entries = run(odd_locale, *arguments, str(tmp_path / "one"), how)
    assert encoding != "utf-8"
    assert set(entries) == {
        b"cible",
        *(
            encode(f"cible/été{path}")
            for path in ("", "/.dockerignore", "/données", "/données/lu.txt", "/plain.py", "/日本", "/lien")
        ),
    }
    assert entries[encode("cible/été/lien")] == ("link", encode("données/lu.txt"))
    assert run({"PYTHONUTF8": "1"}, *arguments, str(tmp_path / "two"), how)[1] == digest
    assert (tmp_path / "one/cible/été/données/lu.txt").read_text() == "secret"


def test_any_bytes_are_a_name() -> None:
    for name in (b"\xff\xfe", "é".encode("latin-1"), "é".encode()):
        assert encode(decode(name)) == name
