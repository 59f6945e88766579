"""Base images in the registry in memory: small, with real layers."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping

from topcoat.testing.registry import FakeRegistry


def layer(files: Mapping[str, bytes | None]) -> bytes:
    """Return a gzipped tar of *files*; None creates a directory."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if content is None else 0o644
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return gzip.compress(packed.getvalue(), mtime=0)


def add_base(registry: FakeRegistry, repository: str = "base", *, working_dir: str = "/app") -> str:
    """Store an image with an empty working directory and one file; return its reference."""
    parents = [working_dir[:end] for end in range(2, len(working_dir) + 1) if working_dir[end : end + 1] in ("", "/")]
    blob = layer({**{path.strip("/"): None for path in parents}, "etc/of": repository.encode()})
    config = {"config": {"WorkingDir": working_dir, "Env": ["PATH=/bin"]}, "rootfs": _rootfs(blob)}
    registry.add_image(repository, "1", layers=[blob], config=config)
    return f"{registry.host}/{repository}:1"


def _rootfs(blob: bytes) -> dict[str, object]:
    return {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(gzip.decompress(blob)).hexdigest()]}
