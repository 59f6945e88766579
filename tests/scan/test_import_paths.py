from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import workspaces
from tests.support.notices import recorded_notices

from topcoat.scan.import_paths import import_paths
from topcoat.scan.scanner import scan


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        ({"train.py": ""}, ("/code",)),
        ({"src/pkg/a.py": ""}, ("/code", "/code/src")),
        ({"src": None}, ("/code", "/code/src")),
        ({"src": ""}, ("/code",)),
        ({"src/__init__.py": "", "src/types.py": ""}, ("/code",)),
    ],
)
def test_src_is_on_the_path_unless_it_is_a_package(
    tmp_path: Path, files: dict[str, str | None], paths: tuple[str, ...]
) -> None:
    snapshot = scan(workspaces.write(tmp_path / "w", files)).snapshot
    assert import_paths(snapshot, "/code") == paths


def test_the_root_directory_has_one_slash(tmp_path: Path) -> None:
    assert import_paths(scan(workspaces.write(tmp_path / "w", {"src": None})).snapshot, "/") == ("/", "/src")


def test_a_directory_with_a_colon_does_not_split_the_path(tmp_path: Path) -> None:
    snapshot = scan(workspaces.write(tmp_path / "w", {"src": None})).snapshot
    with recorded_notices() as notices:
        assert import_paths(snapshot, "/jobs/12:30") == ()
    assert "not on PYTHONPATH: its directory /jobs/12:30 has a colon" in notices[-1]


def test_modules_that_would_hide_pythons_own_keep_src_off_the_path(tmp_path: Path) -> None:
    snapshot = scan(workspaces.write(tmp_path / "w", {"src/pkg/types.py": "", "src/types.py": ""})).snapshot
    with recorded_notices() as notices:
        assert import_paths(snapshot, "/code") == ("/code",)
    assert notices == ["src/ is not on PYTHONPATH: src/types.py would hide Python's own module"]
