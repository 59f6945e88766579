"""Let code that was written for TorchX find topcoat where TorchX is not installed.

``install_as_torchx()`` makes ``import torchx`` and its public submodules import the corresponding modules of topcoat,
the same objects: ``torchx.specs.Role`` is ``topcoat.specs.Role``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from topcoat.errors import TorchXInstalled

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.metadata import EntryPoint
else:
    Loader = object  # The import system needs only the two methods, and the base class is slow to import.

# All other modules of these packages have the same name in topcoat.
_RENAMED = {
    "torchx.specs.api": "topcoat.specs",
    "torchx.specs.finder": "topcoat.components.finder",
}
_PACKAGES = ("specs", "workspace", "schedulers", "runner", "components", "plugins", "cli", "version")

_NOT_SERVED = {
    "apps": "programs that run inside TorchX's own image",
    "deprecations": "decorators for TorchX's own code",
    "distributed": "helpers for torch.distributed",
    "examples": "TorchX's examples",
    "notebook": "the notebook magic",
    "pipelines": "adapters for pipeline services",
    "runtime": "helpers for code that runs in the job",
    "settings": "the names of TorchX's environment variables",
    "testing": "TorchX's test fixtures; see topcoat.testing",
    "tracker": "experiment trackers (jobs get their settings; the image needs TorchX)",
    "util": "TorchX's internal helpers",
}
"""Packages of TorchX that topcoat does not have, and what they are (docs/spec.md)."""


def install_as_torchx() -> None:
    """Make ``import torchx`` and its submodules find topcoat in this process from now on.

    Modules are imported on first use; a second call changes nothing. Raise ``TorchXInstalled`` if TorchX is installed:
    hiding it would change what other code imports.
    """
    if not install_as_torchx_if_missing():
        raise TorchXInstalled(
            "TorchX is installed, and topcoat does not replace it",
            hint="pip uninstall torchx, or use its own modules: topcoat accepts its AppDef",
        )


def install_as_torchx_if_missing() -> bool:
    """Call ``install_as_torchx`` unless TorchX is installed; return whether ``torchx`` is topcoat."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    if _torchx_is_installed():
        return False
    sys.meta_path.insert(0, _Finder())
    return True


def load_entry_point(entry: EntryPoint) -> Any:
    """Return the object that *entry* names; a module of TorchX that topcoat has too means topcoat's.

    An entry of a group of TorchX may import TorchX: if that is not installed, it imports topcoat.
    """
    if entry.group.startswith("torchx."):
        install_as_torchx_if_missing()
    own = _own_name(entry.module)
    return (type(entry)(entry.name, own + entry.value[len(entry.module) :], entry.group) if own else entry).load()


def _own_name(module: str) -> str | None:
    """Return the name in topcoat of TorchX's *module*, ``None`` if topcoat does not have it."""
    top, _, rest = module.partition(".")
    if top != "torchx" or rest.partition(".")[0] not in _PACKAGES:
        return None
    name = _RENAMED.get(module, f"topcoat.{rest}")
    try:
        return name if importlib.util.find_spec(name) else None
    except ModuleNotFoundError:
        return None


def _torchx_is_installed() -> bool:
    if "torchx" in sys.modules:
        return True
    spec = importlib.util.find_spec("torchx")
    # A directory named torchx is found as a namespace package, which has no origin.
    return spec is not None and spec.origin is not None


class _Finder:
    """Find ``torchx`` and its submodules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchx":
            return ModuleSpec(fullname, _RootLoader(), is_package=True)
        if not fullname.startswith("torchx."):
            return None
        name = _own_name(fullname)
        if name is None or _hides_an_export(name):
            # Another finder might load a file of topcoat a second time under this name.
            about = _NOT_SERVED.get(fullname.split(".")[1])
            detail = f"; topcoat does not serve {about}: pip install torchx for it" if about else ""
            raise ModuleNotFoundError(
                f"{fullname} does not exist in topcoat, which is imported as torchx here{detail}", name=fullname
            )
        return ModuleSpec(fullname, _AliasLoader(name))


def _hides_an_export(module: str) -> bool:
    """Return whether *module* has the name of another object of its package, like ``topcoat.specs.runopts``.

    Importing it as an alias would replace that object in the package. TorchX has no such modules.
    """
    package, _, name = module.rpartition(".")
    export = getattr(sys.modules.get(package), name, None)
    return export is not None and not isinstance(export, ModuleType)


class _AliasLoader(Loader):
    """Load a module of topcoat under another name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns what sys.modules holds after this call; the module keeps its own spec.
        sys.modules[module.__name__] = importlib.import_module(self._name)


class _RootLoader(Loader):
    """Create the module ``torchx`` itself, which imports its attributes on first use."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "topcoat, imported as torchx."
        vars(module)["__getattr__"] = _torchx_attribute


def _torchx_attribute(name: str) -> object:
    """Return ``torchx.<name>``: a submodule, the version or the default image."""
    if name in _PACKAGES:
        return importlib.import_module(f"torchx.{name}")
    if name == "__version__":
        return importlib.import_module("topcoat.version").__version__
    if name == "IMAGE":
        return importlib.import_module("topcoat.specs.default_image").default_image()
    raise AttributeError(f"module 'torchx' has no attribute {name!r}: it is topcoat, imported as torchx")
