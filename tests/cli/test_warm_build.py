"""A build that has little to do is over in the time that starting takes: what it imports is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from topcoat.testing.registry import FakeRegistry

_HEAVY = (
    "dataclasses",
    "email",
    "encodings.idna",
    "http.client",
    "importlib.metadata",
    "inspect",
    "logging",
    "ssl",
    "subprocess",
    "tempfile",
    "topcoat.scan.re2",
    "yaml",
)
_BUILD = f"""
import sys
from topcoat.cli.main import main
code = main(sys.argv[1:])
print(code, [name for name in {_HEAVY} if name in sys.modules], file=sys.stderr)
"""


def test_pushing_an_edit_over_plain_http_leaves_the_heavy_modules_out(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / ".torchxignore").write_text(".git\n**/__pycache__\n")
    with FakeRegistry() as registry:
        registry.add_image("base", "1")
        for number in range(2):
            (workspace / "train.py").write_text(f"print({number})\n")
            command = ["build", "--image", f"{registry.host}/base:1", "--image-repo", f"{registry.host}/app"]
            done = subprocess.run(
                [sys.executable, "-c", _BUILD, *command, "--workspace", str(workspace)],
                capture_output=True,
                text=True,
                check=True,
            )
    assert done.stdout.startswith(f"{registry.host}/app:")
    assert done.stderr.splitlines()[-1] == "0 []"
