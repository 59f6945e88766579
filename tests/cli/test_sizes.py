from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from topcoat.cli.sizes import age, disk_usage, human_duration, human_size


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1887437, "1.8 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_for_people(size: int | None, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (0.25, "0.2s"), (12.7, "12s"), (185, "3m 5s"), (7440, "2h 4m"), (86400, "1d"), (446_400, "5d 4h")],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_an_age_has_one_unit() -> None:
    now = datetime.now(timezone.utc)
    ages = [age(now - timedelta(seconds=seconds)) for seconds in (-5, 3, 119, 200, 8000, 90_000 * 3)]
    assert ages == ["0s", "3s", "119s", "3m", "2h", "3d"]
    assert age(None) == ""


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    before = disk_usage(str(tmp_path))
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert before <= disk_usage(str(tmp_path)) < before + 50_000
