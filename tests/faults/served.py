"""A registry in memory in a process of its own, so that the process that forks commands has one thread."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.fake_bases import add_base
from topcoat.oci.manifest import MANIFEST_TYPES
from topcoat.testing.registry import FakeRegistry
from topcoat.testing.validate import validate


@contextmanager
def served_registry() -> Iterator[str]:
    """Yield ``host:port`` of a registry that has the image ``base:1``."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with FakeRegistry() as registry:
                add_base(registry)
                os.write(writing, registry.host.encode())
                signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            os.set_blocking(pipe.fileno(), True)
            yield os.read(pipe.fileno(), 100).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def get(host: str, path: str) -> bytes:
    """Return the body of the response to GET ``/v2/`` *path*."""
    accept = {"Accept": ", ".join(sorted(MANIFEST_TYPES))}
    request = urllib.request.Request(f"http://{host}/v2/{path}", headers=accept)
    with urllib.request.urlopen(request, timeout=30) as response:
        data: bytes = response.read()
        return data


def code_of(host: str, repository: str, reference: str) -> dict[str, bytes]:
    """Validate an image with the blobs that were added to the base, and return the files that it has below ``/app``."""
    manifest = get(host, f"{repository}/manifests/{reference}")
    document: dict[str, Any] = json.loads(manifest)
    base, *layers = [layer["digest"] for layer in document["layers"]]
    blobs = {digest: get(host, f"{repository}/blobs/{digest}") for digest in (*layers, document["config"]["digest"])}
    validate(manifest, lambda descriptor: None if descriptor.digest == base else io.BytesIO(blobs[descriptor.digest]))
    files: dict[str, bytes] = {}
    for digest in layers:
        blob = blobs[digest]
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                directory, _, last = name.rpartition("/")
                if last.startswith(".wh."):
                    gone = f"{directory}/{last.removeprefix('.wh.')}/"
                    files = {path: data for path, data in files.items() if not f"{path}/".startswith(gone)}
                elif member.isreg():
                    source = archive.extractfile(member)
                    assert source is not None
                    files[name] = source.read()
    return {name.removeprefix("app/"): data for name, data in files.items() if name.startswith("app/")}
