"""Load a component file as the module that it is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from topcoat import torchx_alias
from topcoat.errors import InvalidComponent, MissingDependency, TopcoatError, UnknownComponent

_IMPORTS_TORCHX = re.compile(rb"^\s*(?:import|from)\s+torchx\b", re.MULTILINE)


def load_file(path: str) -> ModuleType:
    """Return the module that the Python file *path* is; the same file gives the same module.

    A file of a package is that package's module, so that its relative imports work; any other is a module of
    its own, whose neighbours can be imported. Where it imports torchx and TorchX is not installed, it finds
    topcoat. Raise ``UnknownComponent`` if there is no such file and ``InvalidComponent`` if it cannot be
    loaded.
    """
    file = Path(path).expanduser().absolute()
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UnknownComponent(
            f"cannot read the component file {path}: {error.strerror or error}",
            hint="components are named path/to/file.py:function or, built in, as topcoat builtins lists them",
        ) from error
    if _IMPORTS_TORCHX.search(text):
        torchx_alias.install_as_torchx_if_missing()
    name, root = _identity(file)
    if root not in sys.path:
        sys.path.append(root)
    return guarded(lambda: _load(file, name), path)


def load_module(name: str) -> ModuleType:
    """Import the module *name*, or raise ``UnknownComponent`` or ``InvalidComponent`` as ``load_file`` does."""
    try:
        found = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        found = None
    if found is None:
        raise UnknownComponent(f"there is no module {name!r} to take a component from")
    return guarded(lambda: importlib.import_module(name), name)


def guarded(load: Callable[[], ModuleType], shown: str) -> ModuleType:
    """Return what *load* loads, with ``import torchx`` finding topcoat where there is no TorchX.

    Raise ``InvalidComponent``, with what was raised where, if it cannot be loaded.
    """
    try:
        try:
            return load()
        except ModuleNotFoundError as error:
            # A module that the component imports may be the one that imports torchx.
            if error.name != "torchx" or not torchx_alias.install_as_torchx_if_missing():
                raise
            return load()
    except TopcoatError:
        raise
    except SyntaxError as error:
        raise InvalidComponent(f"{error.filename}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise MissingDependency(f"{shown} cannot be loaded: {error}", hint=f"pip install {package}") from error
    except Exception as error:
        raise InvalidComponent(f"{shown} cannot be loaded: {type(error).__name__}: {error}") from error


def _identity(file: Path) -> tuple[str, str]:
    """Return the module name of *file*, and the directory from which that name can be imported."""
    names = [file.stem]
    directory = file.parent
    while (directory / "__init__.py").is_file() and directory.name.isidentifier():
        names.insert(0, directory.name)
        directory = directory.parent
    return ".".join(names), str(directory)


def _load(file: Path, name: str) -> ModuleType:
    if "." in name and (module := _import_as_package(name)) is not None and _is(module, file):
        return module
    # A file of its own must not take, or be taken for, a module that happens to have its name.
    taken = sys.modules.get(name)
    if taken is not None and not _is(taken, file):
        name = f"{name}_{zlib.crc32(str(file).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidComponent(f"{file} is not a Python file", hint="component files end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_as_package(name: str) -> ModuleType | None:
    """Import *name*, or return ``None`` where its package is not the one that the file lies in."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


def _is(module: ModuleType, file: Path) -> bool:
    found = getattr(module, "__file__", None)
    return found is not None and os.path.exists(found) and os.path.samefile(found, file)
