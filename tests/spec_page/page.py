"""The code blocks of the spec page, word for word, and a process in which they run as printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.components.host import unavailable

_HERE = Path(__file__).parent
_ALIAS = "import topcoat\ntopcoat.install_as_torchx()\n"


def block(name: str) -> str:
    """Return the text of a block: ``mixin.py``, ``scheduler.py``, ``testing.py`` or ``torchxignore``."""
    return (_HERE / "blocks" / name).read_text(encoding="utf-8")


def run_page(directory: Path, *blocks: str, then: str | Path = "", arguments: tuple[str, ...] = ()) -> str:
    """Join *blocks* into ``page.py``, run it and *then* in a new Python, and return the output.

    *then* is a program, or the path of one; it can ``import page``.
    """
    (directory / "page.py").write_text("\n\n".join(map(block, blocks)), encoding="utf-8")
    more = then.read_text(encoding="utf-8") if isinstance(then, Path) else then
    (directory / "main.py").write_text(f"{_ALIAS}\nimport page\n{more}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(directory / "main.py"), *arguments],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
    )
    if "TorchX is installed, and" in done.stderr:
        unavailable("a Python without TorchX", "TorchX is installed beside topcoat")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def run_completed(directory: Path, *arguments: str) -> dict[str, Any]:
    """Run ``completed.py``, the page's scheduler with its methods filled in, and return what it reports."""
    printed = run_page(directory, "mixin.py", "scheduler.py", then=_HERE / "completed.py", arguments=arguments)
    report: dict[str, Any] = json.loads(printed)
    return report
