"""Import component files and modules."""

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
from topcoat.linked_files import is_kernel_file, leads_out

_IMPORTS_TORCHX = re.compile(rb"^\s*(?:import|from)\s+torchx\b", re.MULTILINE)


def load_file(path: str) -> ModuleType:
    """Import the Python file *path*; the same file gives the same module.

    A file in a package is imported as a module of that package, so that relative imports work. Any other file is a
    top-level module that can import the files beside it. If TorchX is not installed, ``import torchx`` gives topcoat.
    Raise ``UnknownComponent`` if the file cannot be read and ``InvalidComponent`` if it cannot be imported.
    """
    file = Path(path).expanduser().absolute()
    if is_kernel_file(str(file)):
        raise UnknownComponent(f"the component file {path} leads to /proc or /sys", hint="name a Python file")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UnknownComponent(
            f"cannot read the component file {path}: {error.strerror or error}",
            hint="components are named path/to/file.py:function or, built in, as topcoat builtins lists them",
        ) from error
    if _IMPORTS_TORCHX.search(text):
        torchx_alias.install_as_torchx_if_missing()
    name, root = _module_name(file)
    if root not in sys.path:
        sys.path.append(root)
    return guarded(lambda: _load(file, name), path)


def load_module(name: str) -> ModuleType:
    """Import the module *name*, or raise ``UnknownComponent`` or ``InvalidComponent`` as ``load_file`` does."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None:
        raise UnknownComponent(f"no module named {name!r}")
    return guarded(lambda: importlib.import_module(name), name)


def guarded(load: Callable[[], ModuleType], shown: str) -> ModuleType:
    """Return the result of *load*; if TorchX is not installed, ``import torchx`` gives topcoat.

    Raise ``InvalidComponent`` or ``MissingDependency``, with *shown* in the message, if *load* fails.
    """
    try:
        try:
            return load()
        except ModuleNotFoundError as error:
            # The component may import torchx indirectly.
            if error.name != "torchx" or not torchx_alias.install_as_torchx_if_missing():
                raise
            return load()
    except TopcoatError:
        raise
    except SyntaxError as error:
        file = error.filename or shown
        # A link may lead to a file that is nobody's business.
        quoted = "" if leads_out(file, os.path.dirname(file) or ".") else f": {(error.text or '').strip()}"
        raise InvalidComponent(f"{file}:{error.lineno}: {error.msg}{quoted}") from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise MissingDependency(f"{shown} cannot be loaded: {error}", hint=f"pip install {package}") from error
    except (Exception, SystemExit) as error:
        raise InvalidComponent(f"{shown} cannot be loaded: {type(error).__name__}: {error}") from error


def _module_name(file: Path) -> tuple[str, str]:
    """Return the module name of *file*, and the directory to import it from."""
    names = [file.stem]
    directory = file.parent
    while (directory / "__init__.py").is_file() and directory.name.isidentifier():
        names.insert(0, directory.name)
        directory = directory.parent
    return ".".join(names), str(directory)


def _load(file: Path, name: str) -> ModuleType:
    if "." in name and (module := _import_as_package(name)) is not None and _is(module, file):
        return module
    # A top-level file gets another name if that of an imported module is the same.
    same_name = sys.modules.get(name)
    if same_name is not None and not _is(same_name, file):
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
    """Import *name*, or return ``None`` if it is not a module of the package that this name finds."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


def _is(module: ModuleType, file: Path) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and os.path.exists(path) and os.path.samefile(path, file)
