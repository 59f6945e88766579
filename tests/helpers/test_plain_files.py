"""Plain files: what is not plain is left to others, and leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.reflinks import stand_in_for_reflinks
from topcoat.helpers import plain_files
from topcoat.helpers.plain_files import Batch, Result

CONTENTS = {"empty": b"", "small": b"small", "large": os.urandom(3 << 20) + b"end"}
FUTURE = 1 << 62


@pytest.fixture(params=sorted(CONTENTS))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    path.write_bytes(CONTENTS[request.param])
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_007, 1_000_000_007))
    return path


def digest(path: Path, *, is_young: bool = False) -> Batch:
    st = path.stat()
    return "digest", bytes(path.parent), b"", (), [(bytes(Path(path.name)), st.st_size, st.st_ctime_ns, is_young)]


def _make(how: str, path: Path, target: Path, *shared: int) -> Batch:
    st = path.stat()
    file = bytes(Path(path.name)), st.st_size, st.st_mode & 0o7777, st.st_mtime_ns
    return how, bytes(path.parent), bytes(target), shared, [file]


def copy(path: Path, target: Path, unchanged_since: int = FUTURE, clones: bool = False) -> Batch:
    return _make("copy", path, target, unchanged_since, clones)


def clone(path: Path, target: Path) -> Batch:
    return _make("clone", path, target)


def link(path: Path, target: Path) -> Batch:
    return _make("link", path, target)


def do(batch: Batch) -> Result:
    (result,) = plain_files.do(batch)
    return result


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The directory of the new files."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def test_a_digest_is_that_of_the_content(file: Path) -> None:
    assert do(digest(file)) == do(digest(file, is_young=True)) == hashlib.sha256(CONTENTS[file.name]).digest()


def test_a_copy_has_content_mode_and_time(file: Path, new: Path) -> None:
    before = os.umask(0o077)
    try:
        assert do(copy(file, new)) == b""
    finally:
        os.umask(before)
    st = (new / file.name).stat()
    assert (new / file.name).read_bytes() == CONTENTS[file.name]
    assert (st.st_mode & 0o7777, st.st_mtime_ns, st.st_nlink) == (0o640, 1_000_000_007, 1)


def test_a_link_is_the_same_file(file: Path, new: Path) -> None:
    assert do(link(file, new)) == b""
    assert (new / file.name).samefile(file)


@pytest.fixture
def cloned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return stand_in_for_reflinks(monkeypatch)


def test_a_clone_has_content_mode_and_time(file: Path, new: Path, cloned: list[int]) -> None:
    assert do(clone(file, new)) == b""
    st = (new / file.name).stat()
    assert (new / file.name).read_bytes() == CONTENTS[file.name]
    assert (st.st_mode & 0o7777, st.st_mtime_ns, st.st_nlink) == (0o640, 1_000_000_007, 1)
    assert cloned == ([0x40049409] if CONTENTS[file.name] else [])


def test_without_reflinks_nothing_is_cloned_or_left(file: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    # Nothing of an empty file is shared.
    expected = b"" if file.name == "empty" else None
    assert do(clone(file, new)) == expected
    assert (new / file.name).exists() == (file.name == "empty")


def test_a_copy_clones_what_is_large_or_surely_on_the_disk(
    file: Path, new: Path, cloned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clones = copy(file, new, clones=True)
    assert do(clones) == b""
    assert bool(cloned) == (file.name == "large")
    later = time.time_ns() + 120_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    (new / file.name).unlink()
    assert do(clones) == b""
    assert len(cloned) == {"large": 2, "small": 1, "empty": 0}[file.name]
    assert (new / file.name).read_bytes() == CONTENTS[file.name]


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewritten_with_the_old_mtime(path: Path) -> None:
    size, mtime = path.stat().st_size, path.stat().st_mtime_ns
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(mtime, mtime))


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replaced_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [grown, rewritten_with_the_old_mtime, replaced_by_a_link, replaced_by_a_fifo, os.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_after_it_was_listed_has_no_digest(file: Path, change: Callable[[Path], None]) -> None:
    batch = digest(file)
    change(file)
    assert do(batch) is None


@pytest.mark.parametrize("change", [grown, rewritten_with_the_old_mtime, replaced_by_a_fifo, os.unlink])
def test_a_file_that_changed_after_it_was_listed_is_not_copied(
    file: Path, new: Path, change: Callable[[Path], None]
) -> None:
    listed_at = file.stat().st_ctime_ns + 1
    batch = copy(file, new, listed_at)
    change(file)
    assert do(batch) is None
    assert not (new / file.name).exists()


@pytest.mark.parametrize("change", [grown, replaced_by_a_link, replaced_by_a_fifo, os.unlink])
@pytest.mark.parametrize("how", [clone, link])
def test_a_file_that_a_job_changed_is_not_shared(
    file: Path, new: Path, cloned: list[int], change: Callable[[Path], None], how: Callable[[Path, Path], Batch]
) -> None:
    batch = how(file, new)
    change(file)
    assert do(batch) is None
    assert not (new / file.name).exists()


def test_a_file_that_changes_while_it_is_copied_is_not_copied(
    file: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = copy(file, new)
    whole = plain_files.copy_bytes

    def copy_and_meddle(source: int, out: int, size: int) -> bool:
        copied = whole(source, out, size)
        file.touch()
        return copied

    monkeypatch.setattr(plain_files, "copy_bytes", copy_and_meddle)
    assert do(batch) is None
    assert not (new / file.name).exists()


@pytest.mark.parametrize("sent", [[], [7], [1 << 20, 1]], ids=["nothing", "a part", "several parts"])
def test_what_the_kernel_does_not_copy_is_read_and_written(
    sent: list[int], file: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = os.sendfile, list(sent)

    def send_a_part(out: int, source: int, offset: None, count: int) -> int:
        if not parts:
            raise OSError(errno.EINVAL, "Invalid argument")
        return whole(out, source, offset, min(parts.pop(0), count))

    monkeypatch.setattr(os, "sendfile", send_a_part)
    assert do(copy(file, new)) == b""
    assert (new / file.name).read_bytes() == file.read_bytes()


def test_a_copy_ends_where_the_file_ends(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"short")
    with (tmp_path / "short").open("rb") as source, (tmp_path / "new").open("wb") as out:
        assert plain_files.copy_some(source.fileno(), out.fileno(), 100) == 5
        assert plain_files.copy_some(source.fileno(), out.fileno(), 95) == 0


def test_a_file_that_is_open_for_writing_has_no_digest_if_it_is_young(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"line\n")
        file.flush()
        assert do(digest(path, is_young=True)) is None
        assert do(digest(path)) is not None


@pytest.mark.parametrize("how", [copy, clone, link])
def test_nothing_is_replaced(file: Path, new: Path, cloned: list[int], how: Callable[[Path, Path], Batch]) -> None:
    (new / file.name).write_text("mine")
    assert do(how(file, new)) is None
    assert (new / file.name).read_text() == "mine"


def test_a_full_disk_leaves_nothing(file: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "utime", refuse)
    assert do(copy(file, new)) is None
    assert not (new / file.name).exists()


def test_a_file_with_holes_is_not_plain(tmp_path: Path, new: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(8 << 20)
    assert do(copy(tmp_path / "sparse", new)) is None


def test_files_of_a_directory_that_is_gone_are_not_plain(file: Path, tmp_path: Path) -> None:
    assert plain_files.do(copy(file, tmp_path / "gone")) == [None]
    assert (
        plain_files.do(("link", bytes(tmp_path / "gone"), bytes(tmp_path), (), [(b"a", 1, 0o644, 1)] * 3)) == [None] * 3
    )


def test_a_batch_has_the_result_of_each_file(new: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).write_text(name)
    _, source, target, shared, a = link(tmp_path / "a", new)
    missing, c = [(b"b", 1, 0o644, 1)], link(tmp_path / "c", new)[-1]
    assert plain_files.do(("link", source, target, shared, [*a, *missing, *c])) == [b"", None, b""]
    assert sorted(os.listdir(new)) == ["a", "c"]


def test_no_handle_stays_open(file: Path, new: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for target in (new, new / "gone"):
        plain_files.do(copy(file, target))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_script_imports_little() -> None:
    code = f"import sys; exec(open({plain_files.__file__!r}).read(), {{'__name__': 'script'}}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "marshal" in imported
    assert not imported & {"topcoat", "typing", "hashlib", "signal", "enum"}


def test_a_directory_is_listed_and_a_link_to_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "\udcff").write_bytes(b"12")
    (tmp_path / "link").symlink_to("d")
    listed, *others = plain_files.do(("list", bytes(tmp_path), b"", (), [(b"d", 0), (b"link", 0), (b"gone", 0)]))
    st = (tmp_path / "d" / "\udcff").stat()
    assert listed is not None
    assert plain_files.unpack_members(listed) == [
        ("\udcff", "file", st.st_mode & 0o7777, 2, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, None)
    ]
    assert others == [None, None]
