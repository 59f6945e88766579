"""Editable installs of a workspace's packages: through them a job imports files that its snapshot does not have."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from topcoat.foreign_text import parse_json
from topcoat.notices import notice
from topcoat.scan.snapshot import Snapshot
from topcoat.scan.sources import local_path
from topcoat.specs import Workspace

_NOT_PACKAGES = ("setup.py", "conftest.py")


def warn_of_editable_installs(workspace: Workspace, snapshot: Snapshot) -> None:
    """Tell which packages are installed in editable mode from *workspace* and have modules that *snapshot* has not."""
    local = [(local_path(source), target) for source, target in workspace.resolved()]
    sources = [(os.path.realpath(source), target) for source, target in local if source is not None]
    for package, directory in _editable_installs():
        for source, target in sources:
            if os.path.commonpath((source, directory)) not in (source, directory):
                continue
            missing = _missing_module(max(source, directory, key=len), source, target, snapshot)
            if missing:
                notice(
                    f"the package {package} is installed in editable mode from {directory}: the job imports from there "
                    f"what the ignore rules leave out, such as {missing}, which would be missing on a cluster"
                )


def _missing_module(directory: str, source: str, target: str, snapshot: Snapshot) -> str:
    """Return a module below *directory* that *snapshot* does not have, relative to *source*; empty if it has all."""
    root = f"{directory}/src" if os.path.isdir(f"{directory}/src") else directory
    for parent, directories, files in os.walk(root):
        directories[:] = [name for name in directories if os.path.exists(f"{parent}/{name}/__init__.py")]
        for name in files:
            if name.endswith(".py") and name not in _NOT_PACKAGES:
                path = os.path.relpath(f"{parent}/{name}", source)
                if snapshot.find(os.fsencode("/".join(filter(None, (target, path))))) is None:
                    return path
    return ""


def _editable_installs() -> Iterator[tuple[str, str]]:
    """Yield name and directory of what is installed in editable mode, for this Python and that on PATH."""
    on_path = next((path for path in os.get_exec_path() if os.path.exists(f"{path}/python3")), "")
    library = f"{os.path.dirname(on_path)}/lib"
    directories = list(sys.path)
    with contextlib.suppress(OSError):
        directories += [f"{library}/{name}/site-packages" for name in os.listdir(library)]
    for directory in dict.fromkeys(map(os.path.realpath, directories)):
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.endswith(".dist-info") and (source := _editable_source(f"{directory}/{name}/direct_url.json")):
                    yield name.partition("-")[0], source
                elif name.endswith(".egg-link"):
                    with open(f"{directory}/{name}") as file:
                        yield name.removesuffix(".egg-link"), os.path.realpath(file.readline().strip())


def _editable_source(direct_url: str) -> str:
    """Return the directory of an editable install (PEP 610), empty for another install."""
    try:
        with open(direct_url, "rb") as file:
            text = file.read()
        if b"editable" not in text:
            return ""
        from urllib.parse import unquote

        data = parse_json(text)
        path = unquote(data["url"].removeprefix("file://")) if data["dir_info"]["editable"] else ""
        return os.path.realpath(path) if path else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
