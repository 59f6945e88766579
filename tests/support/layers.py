"""Layers for tests, written as one line for each entry, and images of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

from tests.components.images import Image
from tests.components.rootfs import Layer
from topcoat.testing.registry import FakeRegistry


def tar(*lines: str) -> bytes:
    """Return a tar of entries such as ``dir home/user 0700 1000:1000``, ``link bin -> usr/bin``, ``file f = text``,
    ``fifo p``; by default, entries belong to root and have the usual modes.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for line in lines:
            info, content = _entry(line)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _entry(line: str) -> tuple[tarfile.TarInfo, bytes]:
    kind, _, rest = line.partition(" ")
    rest, _, content = rest.partition(" = ")
    rest, _, target = rest.partition(" -> ")
    name, *more = rest.split(" ")
    info = tarfile.TarInfo(name)
    info.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE}.get(kind, tarfile.REGTYPE)
    info.mode = int(more[0], 8) if more else {"dir": 0o755, "link": 0o777}.get(kind, 0o644)
    info.uid, info.gid = map(int, more[1].split(":")) if len(more) > 1 else (0, 0)
    info.linkname, info.size = target, len(content)
    return info, content.encode()


def packed(*lines: str) -> bytes:
    """Return `tar` of *lines*, gzipped."""
    return gzip.compress(tar(*lines), mtime=0)


def add_layers(registry: FakeRegistry, *layers: bytes, repository: str = "base", **config: Any) -> str:
    """Store an image of *layers* with runtime settings such as ``WorkingDir``; return its reference."""
    registry.add_image(repository, "1", layers=layers, config={"config": {"Env": ["PATH=/bin"], **config}})
    return f"{registry.host}/{repository}:1"


def layer_gets(registry: FakeRegistry, *layers: bytes) -> list[int]:
    """Return the number of GET requests for each of *layers*."""
    from topcoat.oci.digest import sha256_digest

    paths = [request.path for request in registry.requests if request.method == "GET"]
    return [sum(path.endswith(sha256_digest(layer)) for path in paths) for layer in layers]


def image(directory: Path, *layers: bytes, below: Image | None = None, **config: Any) -> Image:
    """Return an image of *layers*, on top of the image *below*, for real registries and engines."""
    new_layers = []
    for data in layers:
        stored = gzip.compress(data, mtime=0)
        file = directory / hashlib.sha256(stored).hexdigest()
        file.write_bytes(stored)
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        new_layers.append(Layer(file, f"sha256:{file.name}", len(stored), diff_id))
    stacked = (*(below.layers if below else ()), *new_layers)
    name = hashlib.sha256("".join(layer.digest for layer in stacked).encode()).hexdigest()[:12]
    return Image(name, stacked, {**(below.config if below else {"Env": ["PATH=/bin"]}), **config})
