"""What topcoat's own directories use: what can be removed from the cache, and a warning when they grow large."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from topcoat.cli.sizes import disk_usage, human_size
from topcoat.notices import notice
from topcoat.records import Cache
from topcoat.schedulers.responses import Freeable
from topcoat.state import cache_dir, state_dir

LIMIT_VARIABLE = "TOPCOAT_DISK_WARNING_GB"
_DEFAULT_LIMIT_GB = 5.0
_CHECK_INTERVAL_S = 86400.0
_CHECKS = Cache("disk-checks", 1)
_UNUSED_CACHE_S = 30 * 86400.0
_UNUSED_SPOOL_S = 86400.0


def cache_items() -> Iterator[Freeable]:
    """Yield the parts of the cache that were not used for a month, and temporary files of a day ago."""
    with suppress(OSError):
        for directory in sorted(cache_dir().iterdir()):
            age = _UNUSED_SPOOL_S if directory.name == "spool" else _UNUSED_CACHE_S
            size = sum(size for _, size in _unused_files(directory, age))
            if size:
                what = "temporary files" if directory.name == "spool" else f"unused {directory.name}"
                yield Freeable(f"{what} in the cache", str(directory), size)


def free_cache_item(item: Freeable) -> None:
    """Remove the unused files of a directory of the cache."""
    directory = Path(item.id)
    age = _UNUSED_SPOOL_S if directory.name == "spool" else _UNUSED_CACHE_S
    for path, _ in _unused_files(directory, age):
        with suppress(OSError):
            os.unlink(path)


def _unused_files(directory: Path, age: float) -> Iterator[tuple[str, int]]:
    limit = time.time() - age
    for root, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            with suppress(OSError):
                st = os.lstat(path)
                if max(st.st_mtime, st.st_atime) < limit:
                    yield path, st.st_blocks * 512


def warn_if_large() -> None:
    """Print a notice if the cache and the jobs use more than 5 GB (``TOPCOAT_DISK_WARNING_GB``); look once a day."""
    if 0 <= time.time() - (_CHECKS.read_json("last", float) or 0.0) < _CHECK_INTERVAL_S:
        return
    _CHECKS.write_json("last", time.time())
    size = disk_usage(str(cache_dir())) + disk_usage(str(state_dir()))
    if size > _limit():
        notice(f"topcoat's jobs and caches use {human_size(size)}: topcoat gc shows what can be freed")


def _limit() -> float:
    try:
        return float(os.environ.get(LIMIT_VARIABLE, "")) * 1e9
    except ValueError:
        return _DEFAULT_LIMIT_GB * 1e9
