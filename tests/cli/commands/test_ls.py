from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, environment


def test_paths_are_sorted_and_directories_end_with_a_slash(cli: Cli, workspace: Path) -> None:
    assert cli("ls") == (0, ".torchxignore\npkg/\npkg/__init__.py\ntrain.py\n", "")


def test_image_rules_read_both_files_and_directory_rules_one(cli: Cli, workspace: Path) -> None:
    (workspace / ".dockerignore").write_text("train.py\n")
    assert "train.py" not in cli("ls").out
    assert "train.py" not in cli("ls", "--image-rules").out
    assert "train.py" in cli("ls", "--directory-rules").out
    assert cli("ls", "--image-rules", "--directory-rules").code == 2


def test_another_workspace_can_be_named(cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("ls", "--workspace", "pkg").out == "__init__.py\n"
    assert cli("ls", "--workspace", "{pkg: a/b, train.py: main.py}").out == "a/\na/b/\na/b/__init__.py\nmain.py\n"


def test_json_has_what_a_job_would_see(cli: Cli, workspace: Path) -> None:
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o700)
    (workspace / "link").symlink_to("train.py")
    output = cli("ls", "--json").json
    assert output["digest"].startswith("sha256:")
    assert output["size"] == sum(entry["size"] for entry in output["entries"])
    entries = {entry.pop("path"): entry for entry in output["entries"]}
    assert entries["run.sh"] == {"kind": "file", "mode": "0755", "size": 10}
    assert entries["link"] == {"kind": "link", "mode": "0777", "size": 0}
    assert entries["pkg"] == {"kind": "dir", "mode": "0755", "size": 0}


def test_without_an_ignore_file_one_notice_lists_the_default_patterns(cli: Cli, workspace: Path) -> None:
    (workspace / ".torchxignore").unlink()
    (workspace / ".git").mkdir()
    done = cli("ls")
    assert ".git" not in done.out
    assert done.err.startswith(f"topcoat: no .torchxignore in {workspace}")
    assert done.err.count("\n") == 1


def test_file_names_are_printed_unchanged(workspace: Path) -> None:
    names = [b"new\nline", b"not-utf-8-\xff", "\u00e4".encode(), b" "]
    for name in names:
        with open(os.path.join(os.fsencode(workspace), name), "w"):
            pass
    done = subprocess.run(
        [sys.executable, "-m", "topcoat", "ls", "-0"], env=environment(LC_ALL="C"), capture_output=True, check=True
    )
    assert done.stdout.split(b"\0")[:-1] == sorted([*names, b".torchxignore", b"pkg/", b"pkg/__init__.py", b"train.py"])


def test_nul_and_json_exclude_each_other(cli: Cli, workspace: Path) -> None:
    assert cli("ls", "-0", "--json").code == 2
