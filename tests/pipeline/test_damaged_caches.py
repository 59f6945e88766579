"""Caches are an aid: whatever happens to them, a build pushes the right image and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fake_bases import add_base
from topcoat.images.options import image_options
from topcoat.pipeline import build_image
from topcoat.specs.workspace import Workspace
from topcoat.state import cache_dir
from topcoat.testing.registry import FakeRegistry
from topcoat.testing.trees import build_tree

# More than a layer that is kept in memory.
_LARGE = 9 << 20


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    build_tree(tmp_path / "w", {".torchxignore": "", "train.py": "1", "data.bin": os.urandom(_LARGE)})
    return tmp_path / "w"


def build(fake: FakeRegistry, workspace: Path) -> None:
    """Build, and check that what is reported is what the registry has."""
    options = image_options({"image_repo": f"{fake.host}/app"})
    delivered = build_image(Workspace({str(workspace): ""}), f"{fake.host}/base:1", options)
    tag = delivered.image.rpartition(":")[2]
    assert fake.repositories["app"].tags[tag] == delivered.digest


def edit(workspace: Path) -> None:
    (workspace / "train.py").write_bytes(os.urandom(8).hex().encode())


def records() -> list[Path]:
    return [path for path in cache_dir().rglob("*") if path.is_file()]


@contextmanager
def small_disk(directory: Path, options: str) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=False).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "a flipped bit": _flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "JSON": lambda path: path.write_bytes(b"{}"),
    "deep JSON": lambda path: path.write_bytes(b"[" * 200_000),
    "a FIFO": _replace_by_fifo,
    "a directory": _replace_by_directory,
    "unreadable": lambda path: path.chmod(0),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_build_over_damaged_records_is_right(
    fake: FakeRegistry, workspace: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 10**10)  # old enough for the stat index
    add_base(fake)
    build(fake, workspace)
    assert {path.parent.name for path in records()} >= {"index", "bases", "code-layers", "deliveries", "trees"}
    for _ in range(2):
        for path in records():
            DAMAGES[damage](path)
        edit(workspace)
        build(fake, workspace)


@pytest.mark.parametrize("options", ["size=4k", "size=1m", "size=100m,nr_inodes=1"], ids=["pages", "small", "inodes"])
def test_a_build_with_a_full_cache_is_right(fake: FakeRegistry, workspace: Path, options: str) -> None:
    add_base(fake)
    with small_disk(cache_dir(), options):
        for _ in range(2):
            edit(workspace)
            (workspace / "data.bin").write_bytes(os.urandom(_LARGE))
            build(fake, workspace)


def test_a_build_with_a_read_only_cache_is_right(fake: FakeRegistry, workspace: Path) -> None:
    add_base(fake)
    build(fake, workspace)
    with small_disk(cache_dir(), "size=1m,ro"):
        edit(workspace)
        build(fake, workspace)
    build(fake, workspace)


def test_a_build_whose_cache_is_removed_meanwhile_is_right(fake: FakeRegistry, workspace: Path) -> None:
    add_base(fake)
    ended = threading.Event()

    def remove() -> None:
        while not ended.wait(0.001):
            shutil.rmtree(cache_dir(), ignore_errors=True)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for _ in range(10):
            edit(workspace)
            build(fake, workspace)
    finally:
        ended.set()
        remover.join()
