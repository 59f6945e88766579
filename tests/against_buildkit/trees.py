"""Random workspaces on disk, and random edits of them, the same for the same seed."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.against_buildkit.names import FOLDERS, TEXT

_FILE_MODES = [0o644, 0o644, 0o644, 0o755, 0o600, 0o777, 0o000, 0o4755, 0o2711, 0o6755, 0o1644, 0o444, 0o200]
_FOLDER_MODES = [0o755, 0o755, 0o755, 0o700, 0o1777, 0o2775, 0o3770, 0o000, 0o555]
_LINKS = ["README", "../README", "src", "src/", "./x", "nowhere", "nowhere/at/all", "/etc/passwd", "/", ".", "..",
          "/app/src", "a b", "new\nline", "\u65e5\u672c/x", "x/" * 70 + "y", "k" * 255 + "/z"]  # fmt: skip
IGNORE_FILES = (".dockerignore", ".torchxignore")
# The Dockerfile of a build whose context is a tar.
DOCKERFILE = "Dockerfile.of.the.build"
_SPREAD = (1, 2**31 + 1000)
_LARGE = 1 << 20


class RandomTree:
    """A workspace in *root*, and what can be done to it. Names are text; *raw* ones are bytes that are no UTF-8."""

    def __init__(self, root: Path, chance: random.Random, *, raw: bool = False) -> None:
        self.root = root
        self._chance = chance
        self._text = [*TEXT, os.fsdecode(b"latin-\xe9"), os.fsdecode(b"\xff" * 101)] if raw else TEXT
        self._folders = [*FOLDERS, os.fsdecode(b"\xff\xfe"), os.fsdecode(b"d\xe9" * 60)] if raw else FOLDERS
        root.mkdir()

    def grow(self) -> None:
        """Fill the workspace."""
        chance = self._chance
        for _ in range(chance.choice([0, 1, 3, 6, 12, 25])):
            self._add()
        if chance.random() < 0.1:
            self._add_heavy()
        if chance.random() < 0.1:
            self._add_deep()
        if chance.random() < 0.05 and not (fifo := self.root / "queue").exists():
            os.mkfifo(fifo)
        for path in self.everything():
            self._date(path)
        self.settle()

    def edit(self) -> None:
        """Edit the workspace, in one to four ways."""
        for _ in range(self._chance.choice([1, 1, 2, 4])):
            self._chance.choice(_EDITS)(self)
        self.settle()

    def everything(self) -> list[Path]:
        """Return all that is there but ignore files and Dockerfile, what is inside before what holds it."""
        kept = {self.root / name for name in (*IGNORE_FILES, DOCKERFILE)}
        paths = (path for path in _members(self.root) if path not in kept)
        return sorted(paths, key=lambda path: (-len(path.parts), os.fsencode(path)))

    def special(self) -> set[bytes]:
        """Return the paths of what is neither file, directory nor link."""
        kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
        return {
            os.fsencode(path.relative_to(self.root))
            for path in self.everything()
            if not any(kind(path.lstat().st_mode) for kind in kinds)
        }

    def _files(self) -> list[Path]:
        return [path for path in self.everything() if stat.S_ISREG(path.lstat().st_mode)]

    def _directories(self) -> list[Path]:
        return [path for path in self.everything() if stat.S_ISDIR(path.lstat().st_mode)]

    def _add(self) -> None:
        chance = self._chance
        above = chance.choice([self.root, self.root, *self._directories()])
        if chance.random() < 0.35:
            above /= chance.choice(self._folders)
        kind = chance.choice(["file"] * 6 + ["directory"] * 2 + ["link"] * 2 + ["hard link"])
        place = above / chance.choice(self._folders if kind == "directory" else self._text)
        if _exists(place) or not self._make_way(above):
            return
        if kind == "directory":
            place.mkdir()
            place.chmod(chance.choice(_FOLDER_MODES))
        elif kind == "link":
            place.symlink_to(chance.choice(_LINKS))
        elif kind == "hard link" and (others := self._files()):
            os.link(chance.choice(others), place)
        else:
            self._write(place, self._size())
        self._date(place)

    def _make_way(self, above: Path) -> bool:
        """Make a directory and those above it; False where something else is in the way."""
        missing = []
        while not _exists(above):
            missing.append(above)
            above = above.parent
        if not stat.S_ISDIR(above.lstat().st_mode):
            return False
        for path in reversed(missing):
            path.mkdir()
            path.chmod(self._chance.choice(_FOLDER_MODES))
        return True

    def _add_heavy(self) -> None:
        """Add what fills several layers."""
        for number in range(self._chance.choice([4, 30])):
            self._write(self.root / f"heavy{number}.bin", self._chance.choice([100_000, 400_000, _LARGE, _LARGE + 5]))

    def _add_deep(self) -> None:
        above = self.root
        while len(os.fsencode(above)) < len(os.fsencode(self.root)) + self._chance.randint(90, 700):
            above /= self._chance.choice(self._folders)
        if self._make_way(above) and not _exists(above / "leaf"):
            self._write(above / "leaf", 5)

    def _size(self) -> int:
        return self._chance.choice([0, 0, 1, 511, 512, 513, 3000, 3000, 20_000, 150_000])

    def _write(self, place: Path, size: int) -> None:
        # Hard links to it stay: an editor that writes in place changes all names of a file.
        place.write_bytes(self._chance.randbytes(size))
        place.chmod(self._chance.choice(_FILE_MODES))
        self._date(place)

    def _date(self, place: Path) -> None:
        """Give something a date of its own: BuildKit takes a file for unchanged that kept its size and date."""
        nanoseconds = self._chance.randrange(_SPREAD[0] * 10**9, _SPREAD[1] * 10**9)
        os.utime(place, ns=(nanoseconds, nanoseconds), follow_symlinks=False)

    def settle(self) -> None:
        """Keep every date in the first half of its second: layers cut fractions off, BuildKit's export rounds them."""
        for place in _members(self.root):
            date = place.lstat().st_mtime_ns
            if date % 10**9 >= 10**9 // 2:
                date -= 10**9 // 2
                os.utime(place, ns=(date, date), follow_symlinks=False)

    def _one(self, of: Sequence[Path]) -> Path | None:
        return self._chance.choice(of) if of else None

    def _rewrite(self) -> None:
        if place := self._one(self._files()):
            self._write(place, self._size())

    def _replace(self) -> None:
        """Write a new file and rename it into place, as many editors do."""
        if place := self._one(self._files()):
            beside = self.root / "saving"
            self._write(beside, self._size())
            beside.rename(place)

    def _remove(self) -> None:
        if place := self._one(self.everything()):
            _remove(place)

    def _remove_directory(self) -> None:
        if place := self._one(self._directories()):
            _remove(place)

    def _chmod(self) -> None:
        if place := self._one([*self._files(), *self._directories()]):
            modes = _FOLDER_MODES if place.is_dir() else _FILE_MODES
            place.chmod(self._chance.choice(modes))

    def _touch(self) -> None:
        if place := self._one(self.everything()):
            self._date(place)

    def _retarget(self) -> None:
        if place := self._one([path for path in self.everything() if path.is_symlink()]):
            place.unlink()
            place.symlink_to(self._chance.choice(_LINKS))
            self._date(place)

    def _change_type(self) -> None:
        """Make a file a directory, a directory a link, and so on."""
        place = self._one(self.everything())
        if place is None:
            return
        mode = place.lstat().st_mode
        _remove(place)
        becomes = self._chance.choice([kind for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
                                       if kind != stat.S_IFMT(mode)])  # fmt: skip
        if becomes == stat.S_IFLNK:
            place.symlink_to(self._chance.choice(_LINKS))
        elif becomes == stat.S_IFREG:
            self._write(place, self._size())
        else:
            place.mkdir()
            if self._chance.random() < 0.7:
                self._write(place / "inner", 10)
            place.chmod(self._chance.choice(_FOLDER_MODES))
        self._date(place)

    def _rename(self) -> None:
        place = self._one(self.everything())
        names = self._folders if place and place.is_dir() else self._text
        if place and not _exists(target := place.parent / self._chance.choice(names)):
            place.rename(target)


def _members(root: Path) -> Iterator[Path]:
    for above, directories, names in os.walk(root):
        yield from (Path(above, name) for name in [*directories, *names])


def _exists(place: Path) -> bool:
    return os.path.lexists(place)


def _remove(place: Path) -> None:
    if stat.S_ISDIR(place.lstat().st_mode):
        shutil.rmtree(place)
    else:
        place.unlink()


_EDITS: list[Callable[[RandomTree], None]] = [
    RandomTree._rewrite,
    RandomTree._rewrite,
    RandomTree._replace,
    RandomTree._add,
    RandomTree._add,
    RandomTree._remove,
    RandomTree._remove,
    RandomTree._remove_directory,
    RandomTree._chmod,
    RandomTree._touch,
    RandomTree._retarget,
    RandomTree._change_type,
    RandomTree._rename,
]
