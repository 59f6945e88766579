"""Caches and state: where they lie, who may read them, and that a file is never half written."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from topcoat.errors import StateError
from topcoat.notices import notices_once, show_notices
from topcoat.state import cache_dir, make_private, spool_dir, state_dir, write_atomic, write_cache

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the XDG rules are Linux's")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@linux
@pytest.mark.parametrize(
    ("find", "variable", "fallback"),
    [(cache_dir, "XDG_CACHE_HOME", ".cache"), (state_dir, "XDG_STATE_HOME", ".local/state")],
)
def test_directories_follow_the_xdg_rules(
    find: Callable[..., Path],
    variable: str,
    fallback: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "given"))
    assert find("a", "b") == tmp_path / "given/topcoat/a/b"
    monkeypatch.setenv(variable, "relative/is/ignored")
    assert find("a") == home / fallback / "topcoat/a"
    monkeypatch.delenv(variable)
    assert find() == home / fallback / "topcoat"


def test_asking_for_a_directory_creates_none(home: Path) -> None:
    cache_dir("index")
    state_dir("jobs")
    assert os.listdir(home) == []


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_every_created_directory_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not/there/yet"))
    directory = cache_dir("index", "deep")
    with umask(mask):
        write_cache(directory / "file", b"")
    while directory != tmp_path:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
        directory = directory.parent


def test_an_existing_directory_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tmp_path.chmod(0o755)
    make_private(cache_dir("index"))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_deleted_cache_is_created_again() -> None:
    path = cache_dir("index") / "file"
    for _ in range(2):
        write_cache(path, b"data")
        assert path.read_bytes() == b"data"
        shutil.rmtree(cache_dir())


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """The notices that were shown."""
    texts: list[str] = []
    previous = show_notices(texts.append)
    yield texts
    show_notices(previous)


def test_a_cache_that_cannot_be_written_is_one_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with notices_once():
        for name in ("one", "two"):
            write_cache(cache_dir(name) / name, b"")
    (text,) = notices
    assert text.startswith(f"working without a cache: cannot write to {tmp_path}/file/topcoat: Not a directory")
    assert "set XDG_CACHE_HOME" in text


def test_without_a_cache_the_spool_is_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spool_dir() == str(cache_dir("spool"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert spool_dir() == tempfile.gettempdir()


def test_a_state_directory_that_cannot_be_created_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(StateError, match=r"cannot write to .*file/topcoat/jobs") as caught:
        make_private(state_dir("jobs"))
    assert "XDG_STATE_HOME" in str(caught.value.hint)


@linux
def test_without_a_home_directory_reads_miss_and_writes_name_the_variables_to_set(
    monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    import pwd

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(OSError, match="Not a directory"):
        (cache_dir("index") / "file").read_bytes()
    write_cache(cache_dir("index") / "file", b"")
    assert notices[0].startswith("working without a cache: cannot find a home directory for caches and jobs; set HOME")
    with pytest.raises(StateError, match="cannot find a home directory") as caught:
        make_private(state_dir("jobs"))
    assert "set HOME" in str(caught.value.hint)


def test_a_file_is_replaced_atomically_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_atomic(path, b"one")
    with path.open("rb") as reader:
        write_atomic(path, b"another")
        assert reader.read() == b"one"
    assert path.read_bytes() == b"another"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["note"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "note"
    write_atomic(path, b"old")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((StateError, KeyboardInterrupt)) as caught:
        write_atomic(path, b"new")
    assert isinstance(caught.value, StateError) or caught.value is failure
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["note"]


def test_a_deleted_directory_is_a_state_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file or directory"):
        write_atomic(tmp_path / "gone" / "note", b"")
