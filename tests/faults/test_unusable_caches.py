"""A cache directory that is read-only, full or removed: builds go on without it, and what they push is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.inside import script
from tests.faults.served import code_of, served_registry

CACHES = {
    "read-only": "mount -t tmpfs -o ro tmpfs cache",
    "read-only after a build": "build; mount --bind cache cache; mount -o remount,ro,bind cache",
    "full": "mount -t tmpfs -o size=64k tmpfs cache; head -c 999999 /dev/zero > cache/filler",
    "without inodes": "mount -t tmpfs -o nr_inodes=4 tmpfs cache; touch cache/1 cache/2 cache/3",
    "full after a build": "mount -t tmpfs -o size=2M tmpfs cache; build; head -c 9999999 /dev/zero > cache/filler",
    "a file": "rmdir cache; touch cache",
    "removed after a build": "build; rm -r cache",
}


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served_registry() as host:
        yield host


@pytest.mark.parametrize("name", sorted(CACHES))
def test_a_build_goes_on_with_a_cache_that_cannot_be_used(host: str, tmp_path: Path, name: str) -> None:
    workspace = tmp_path / "ws"
    workspace.mkdir()
    for number in range(5):
        (workspace / f"module{number}.py").write_text(f"print({number})\n" * 1000)
    repository = name.replace(" ", "-")
    output = script(
        f"""
        mkdir cache; export XDG_CACHE_HOME="$PWD/cache"
        build() {{ topcoat build --image {host}/base:1 --image-repo {host}/{repository} --workspace ws; }}
        {{ {CACHES[name]}; }} > /dev/null 2>&1
        build; echo "first $?"
        echo edited >> ws/module0.py
        build; echo "edit $?"
        build; echo "again $?"
        """,
        "mount",
        directory=tmp_path,
    )
    assert "first 0" in output, output
    assert "edit 0" in output, output
    assert "again 0" in output, output
    first, edited, again = (line for line in output.splitlines() if "@sha256:" in line)
    assert first != edited == again
    expected = {path.name: path.read_bytes() for path in workspace.iterdir()}
    assert code_of(host, repository, again.rpartition("@")[2]) == expected
    # Each build says it at most once.
    assert output.count("working without a cache") <= 3
