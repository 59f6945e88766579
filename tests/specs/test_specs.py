from __future__ import annotations

import subprocess
import sys

from topcoat import specs


def test_exported_names_are_the_visible_ones() -> None:
    modules = {name for name, value in vars(specs).items() if isinstance(value, type(sys))}
    visible = {name for name in vars(specs) if not name.startswith("_")} - modules - {"annotations"}
    # The function and mapping have the names of the modules that hold them.
    shared = {"macros", "named_resources", "resource", "runopts"}
    assert visible | shared == set(specs.__all__)
    assert all(hasattr(specs, name) for name in specs.__all__)
    assert not any(isinstance(getattr(specs, name), type(sys)) for name in specs.__all__)


def test_the_import_is_light() -> None:
    heavy = ["yaml", "logging", "importlib.metadata", "argparse", "json", "difflib", "subprocess", "fsspec"]
    code = (
        "import sys; before = set(sys.modules); import topcoat.specs; "
        f"print([module for module in {heavy} if module in sys.modules.keys() - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
