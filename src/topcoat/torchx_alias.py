"""Let code that was written for TorchX find topcoat where TorchX is not installed.

``install_as_torchx()`` makes ``import torchx`` and its public submodules give the modules of topcoat that
hold the same names, the very same objects: a ``torchx.specs.Role`` is a ``topcoat.specs.Role``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

from topcoat.errors import TorchXInstalled

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # The import system asks for the two methods only, and the base class is slow to import.

# Where a name differs from ours; below these packages, all others are the same.
_RENAMED = {
    "torchx.specs.api": "topcoat.specs",
    "torchx.specs.finder": "topcoat.components.finder",
}
_PACKAGES = ("specs", "workspace", "schedulers", "runner", "components", "version")


def install_as_torchx() -> None:
    """Make ``import torchx`` and its submodules find topcoat, in this process, from now on.

    Nothing is imported before it is asked for, and calling it again changes nothing. Raise
    ``TorchXInstalled`` where the real TorchX is: to hide it would change what other code gets.
    """
    if not install_as_torchx_if_missing():
        raise TorchXInstalled(
            "TorchX is installed here, and topcoat does not take its place",
            hint="pip uninstall torchx, or use its own modules: topcoat accepts its AppDef",
        )


def install_as_torchx_if_missing() -> bool:
    """Do what ``install_as_torchx`` does unless TorchX is installed; tell whether ``torchx`` is topcoat."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    if _torchx_is_installed():
        return False
    sys.meta_path.insert(0, _Finder())
    return True


def _torchx_is_installed() -> bool:
    if "torchx" in sys.modules:
        return True
    spec = importlib.util.find_spec("torchx")
    # A mere directory named torchx, which Python takes for a namespace package, has no origin.
    return spec is not None and spec.origin is not None


class _Finder:
    """Find ``torchx`` and what is below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchx":
            return ModuleSpec(fullname, _RootLoader(), is_package=True)
        if not fullname.startswith("torchx."):
            return None
        ours = _RENAMED.get(fullname, f"topcoat{fullname.removeprefix('torchx')}")
        known = fullname.split(".")[1] in _PACKAGES and importlib.util.find_spec(ours) is not None
        if not known or _hides_an_export(ours):
            # Left to the other finders, a file of ours could be loaded a second time under this name.
            raise ModuleNotFoundError(
                f"{fullname} has no counterpart in topcoat, which is imported as torchx here", name=fullname
            )
        return ModuleSpec(fullname, _AliasLoader(ours))


def _hides_an_export(ours: str) -> bool:
    """Tell whether the module *ours* has the name of something else in its package, like ``topcoat.specs.runopts``.

    To import it under another name would put it in that one's place. TorchX has no such modules.
    """
    package, _, name = ours.rpartition(".")
    export = getattr(sys.modules.get(package), name, None)
    return export is not None and not isinstance(export, ModuleType)


class _AliasLoader(Loader):
    """Put a module of ours where the import system looks for the one that it wants."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what sys.modules holds after this call, so that the module keeps its own
        # spec.
        sys.modules[module.__name__] = importlib.import_module(self._ours)


class _RootLoader(Loader):
    """Make the module ``torchx`` itself, which holds a few names and leads to the rest."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "topcoat, imported as torchx."
        vars(module)["__getattr__"] = _torchx_attribute


def _torchx_attribute(name: str) -> object:
    """Return what ``torchx.<name>`` is: a submodule, or TorchX's name for the version or the default image."""
    if name in _PACKAGES:
        return importlib.import_module(f"torchx.{name}")
    if name == "__version__":
        return importlib.import_module("topcoat.version").__version__
    if name == "IMAGE":
        return importlib.import_module("topcoat.components.image").default_image()
    raise AttributeError(f"module 'torchx' has no attribute {name!r}: it is topcoat, imported as torchx")
