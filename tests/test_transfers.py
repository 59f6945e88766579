from __future__ import annotations

import io
from pathlib import Path

import pytest

from topcoat.destinations.directory import DirectoryDestination
from topcoat.http.request import Body
from topcoat.scan.scanner import ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.transfers import Transfer, count_layers, counted, expect, forget_transfers, transfers


@pytest.fixture(autouse=True)
def _no_transfers() -> None:
    forget_transfers()


def test_a_body_counts_the_blocks_that_were_sent() -> None:
    sent: list[int] = []
    expect("pushing", 3 << 20)
    Body(io.BytesIO(bytes(2 << 20))).send(lambda block: sent.append(transfers()[0].done))
    assert transfers() == [Transfer("pushing", 2 << 20, 3 << 20)]
    assert sent == [0, 1 << 20]


def test_the_layers_that_an_engine_reports_are_added_up() -> None:
    lines: list[dict[str, object]] = [
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 3, "total": 10}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 1, "total": 5}},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 10, "total": 10}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 0, "total": 5}},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 10, "total": 10}},
        {"status": "Downloading", "id": "c", "progressDetail": {"current": "x", "total": None}},
        {"status": "Downloading", "id": "d", "progressDetail": None},
    ]
    assert list(count_layers("pulling", lines)) == lines
    assert transfers() == [Transfer("pulling", 11, 15)]


def test_blocks_count_when_they_are_taken() -> None:
    blocks = counted("loading", iter([b"ab", b"c"]))
    next(blocks)
    next(blocks)
    assert transfers() == [Transfer("loading", 2, 2)]


def test_the_total_is_never_below_what_was_transferred() -> None:
    list(counted("loading", [b"abc"]))
    expect("loading", 1)
    assert transfers() == [Transfer("loading", 3, 3)]


def test_a_job_directory_counts_what_is_copied(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "large").write_bytes(b"x" * (3 << 20))
    (tmp_path / "ws" / "small").write_bytes(b"y")
    DirectoryDestination(str(tmp_path / "job")).deliver(
        scan(Workspace({str(tmp_path / "ws"): ""}), ScanOptions()), "key"
    )
    assert transfers() == [Transfer("copying", (3 << 20) + 1, (3 << 20) + 1)]
