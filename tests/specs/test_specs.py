from __future__ import annotations

import subprocess
import sys

import pytest

from topcoat import specs


def test_every_exported_name_is_loaded_on_access() -> None:
    for name in specs.__all__:
        assert not isinstance(getattr(specs, name), type(sys)), name
    assert set(specs.__all__) <= set(dir(specs))
    with pytest.raises(AttributeError, match="no attribute 'Rolle'"):
        specs.Rolle  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_no_slow_modules() -> None:
    heavy = ["yaml", "logging", "importlib.metadata", "argparse", "json", "difflib", "subprocess", "fsspec"]
    code = (
        "import sys; before = set(sys.modules); import topcoat.specs; "
        f"print([module for module in {heavy} if module in sys.modules.keys() - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
