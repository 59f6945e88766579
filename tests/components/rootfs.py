"""Layers for base images, made without internet from what the distribution's packages hold."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.components.host import CACHE, ComponentError, run_tool, tool, unavailable

# Part of every cache name: raise it when the layers come out differently.
_RECIPE = 1
_MTIME = 1_700_000_000
_DEPENDS = [
    "--recurse",
    *(f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")),
]
# Dependencies of maintainer scripts and of programs that the interpreter does without.
_NOT_NEEDED = re.compile(
    r"dpkg|tar|debconf.*|cdebconf|perl.*|libperl.*|libgdbm.*|install-info|readline-common|mailcap|mime-support"
    r"|libacl1|libselinux1|libpcre.*|libmd0|libmd5.*|gcc-.*|ucf|sensible-utils|libc-bin|libtirpc-common"
)
_MERGED = ("bin", "sbin", "lib", "lib64")


class Layer(NamedTuple):
    """One gzip layer on disk. ``digest`` and ``size`` are of the compressed file, ``diff_id`` of the tar in it."""

    file: Path
    digest: str
    size: int
    diff_id: str


def busybox_layers() -> tuple[Layer, ...]:
    """One layer: static busybox under /bin with all its links, /etc/passwd, /tmp."""
    busybox = tool("busybox", "busybox-static")
    version = run_tool([busybox]).split()[1]
    return _cached(f"busybox-{version}", lambda: [_layer(_busybox_tree(busybox))])


def python_layers() -> tuple[Layer, ...]:
    """Three layers: the system's libraries and busybox; the distribution's Python; /app and a marker."""
    busybox = tool("busybox", "busybox-static")
    for program in ("apt-get", "apt-cache", "dpkg"):
        tool(program, "Debian's Python packages")
    release = platform.freedesktop_os_release()
    name = f"python-{release['ID']}-{release.get('VERSION_ID', 'rolling')}"
    return _cached(name, lambda: _python_layers(_python_of_this_release(), busybox))


def _python_of_this_release() -> str:
    listed = run_tool(["apt-cache", "depends", "python3-minimal"])
    match = re.search(r"Depends: (python3\.\d+)-minimal", listed)
    if match is None:
        raise ComponentError(f"apt-cache knows no python3-minimal (apt-get update):\n{listed}")
    return match[1]


class _Entry(NamedTuple):
    """A file to pack: content as bytes or from a path, a link target, or (neither) a directory."""

    mode: int
    content: bytes | Path | None = None
    link: str | None = None


_Tree = dict[str, _Entry]


def _busybox_tree(busybox: Path) -> _Tree:
    tree = {"bin": _Entry(0o755), "bin/busybox": _Entry(0o755, busybox.read_bytes())}
    names = set(run_tool([busybox, "--list"]).split()) - {"busybox"}
    tree |= {f"bin/{name}": _Entry(0o777, link="busybox") for name in names}
    return tree | _accounts()


def _accounts() -> _Tree:
    """Users, the world-writable /tmp, and the directories that containers expect to find."""
    passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    tree = {name: _Entry(0o755) for name in ("etc", "dev", "proc", "sys", "usr", "var")}
    return {
        **tree,
        "root": _Entry(0o700),
        "tmp": _Entry(0o1777),
        "etc/passwd": _Entry(0o644, passwd),
        "etc/group": _Entry(0o644, b"root:x:0:\nnogroup:x:65534:\n"),
    }


def _python_layers(python: str, busybox: Path) -> list[_Packed]:
    wanted = [f"{python}-minimal", f"lib{python}-stdlib", "base-files", "media-types"]
    listed = run_tool(["apt-cache", "depends", *_DEPENDS, *wanted]).splitlines()
    names = sorted(name for name in set(listed) if name[:1].isalnum() and not _NOT_NEEDED.fullmatch(name))
    with tempfile.TemporaryDirectory(prefix="topcoat-python-") as scratch:
        root = Path(scratch)
        debs = root / "debs"
        debs.mkdir()
        # apt drops to a user of its own, who could not write here.
        run_tool(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *names], cwd=debs, timeout=600)
        system, interpreter = root / "system", root / "interpreter"
        for deb in sorted(debs.iterdir()):
            side = interpreter if re.match(r"(lib)?python3", deb.name) else system
            side.mkdir(exist_ok=True)
            run_tool(["dpkg", "-x", deb, side])
        first, second = _usrmerged(_read(system)), _usrmerged(_read(interpreter))
        tree = _busybox_tree(busybox)
        for name, entry in tree.items():
            place = f"usr/{name}" if name.startswith("bin") else name
            if place not in second:
                first.setdefault(place, entry)
        for name in _MERGED:
            first.setdefault(f"usr/{name}", _Entry(0o755))
            first[name] = _Entry(0o777, link=f"usr/{name}")
        second["usr/bin/python3"] = second["usr/bin/python"] = _Entry(0o777, link=python)
        third = {"app": _Entry(0o755), "etc": _Entry(0o755), "etc/base": _Entry(0o644, f"{python}\n".encode())}
        return [_layer(first), _layer(second), _layer(third)]


def _read(directory: Path) -> _Tree:
    tree: _Tree = {}
    for parent, directories, files in os.walk(directory):
        for name in directories + files:
            path = Path(parent, name)
            place = str(path.relative_to(directory))
            if place.startswith(("usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/locale")):
                continue
            if path.is_symlink():
                tree[place] = _Entry(0o777, link=os.readlink(path))
            elif path.is_dir():
                tree[place] = _Entry(path.stat().st_mode & 0o7777)
            else:
                tree[place] = _Entry(path.stat().st_mode & 0o7777, path)
    return tree


def _usrmerged(tree: _Tree) -> _Tree:
    """Move what is below /bin, /sbin and /lib* to below /usr, as installed systems have it."""
    merged: _Tree = {}
    for name, entry in tree.items():
        top, slash, _ = name.partition("/")
        if top not in _MERGED:
            merged[name] = entry
        elif slash:
            merged[f"usr/{name}"] = entry
    return merged


class _Packed(NamedTuple):
    data: bytes
    diff_id: str


def _layer(tree: _Tree) -> _Packed:
    """Pack a tree, the same bytes for the same tree."""
    for name in list(tree):
        for parent in list(Path(name).parents)[:-1]:
            tree.setdefault(str(parent), _Entry(0o755))
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, entry in sorted(tree.items()):
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = entry.mode, _MTIME
            if entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(info)
            elif entry.content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                data = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    plain = raw.getvalue()
    return _Packed(gzip.compress(plain, 6, mtime=0), _digest(plain))


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _cached(name: str, build: Callable[[], list[_Packed]]) -> tuple[Layer, ...]:
    """Read the layers from the cache; build them, under a lock, where they are not there yet."""
    final = CACHE / "images" / f"{name}-{_RECIPE}"
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final.with_name(final.name + ".lock")):
        if not final.is_dir():
            try:
                packed = build()
            except ComponentError as error:
                unavailable(name, str(error))
            _write(final, packed)
    listed = json.loads((final / "layers.json").read_text())
    return tuple(Layer(final / record["digest"].removeprefix("sha256:"), **record) for record in listed)


def _write(final: Path, packed: list[_Packed]) -> None:
    stage = Path(tempfile.mkdtemp(prefix=".", dir=final.parent))
    try:
        listed = []
        for data, diff_id in packed:
            digest = _digest(data)
            (stage / digest.removeprefix("sha256:")).write_bytes(data)
            listed.append({"digest": digest, "size": len(data), "diff_id": diff_id})
        (stage / "layers.json").write_text(json.dumps(listed))
        stage.rename(final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
