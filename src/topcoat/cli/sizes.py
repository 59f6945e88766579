"""Sizes and times for people."""

from __future__ import annotations

import os
from datetime import datetime, timezone

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_size(size: int | None) -> str:
    """Return a number of bytes such as ``1.8 MiB``; empty for ``None``."""
    if size is None:
        return ""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def human_duration(seconds: float) -> str:
    """Return a duration such as ``12s``, ``3m 5s``, ``2h 4m`` or ``5d 3h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s" if whole >= 10 else f"{max(0.0, seconds):.1f}s"
    parts = ((whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)


def age(since: datetime | None) -> str:
    """Return how long ago *since* was in its largest unit, as kubectl does: ``5m``; empty for ``None``."""
    if since is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def disk_usage(directory: str) -> int:
    """Return the bytes that *directory* uses; a file with several names in it counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [directory]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                st = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if st.st_nlink == 1 or (st.st_dev, st.st_ino) not in seen:
                seen.add((st.st_dev, st.st_ino))
                total += st.st_blocks * 512 if hasattr(st, "st_blocks") else st.st_size
    return total
