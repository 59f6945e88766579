"""The engine reports a failed pull in its stream."""

from __future__ import annotations

import json
from typing import Any

import docker
import pytest

from tests.support.http_servers import read_request, scripted_server
from topcoat.bases.base import Base
from topcoat.destinations.engine import pull_base
from topcoat.engines.pull import pull
from topcoat.errors import DaemonError
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from topcoat.schedulers.docker.containers import fetch


def _refuse(connection: Any) -> None:
    while head := read_request(connection)[0]:
        lines = [{"status": "Pulling"}, {"error": "toomanyrequests: \x1b[2J limit", "errorDetail": {}}]
        if head.startswith(b"GET"):
            body = b'{"message": "No such image"}'
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        else:
            body = "\r\n".join(map(json.dumps, lines)).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def _pull_base(client: Any, image: str) -> None:
    manifest = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, sha256_digest(b""), 0), ())
    pull_base(client, Base(image, sha256_digest(b"1"), manifest, ImageConfig({"rootfs": {"diff_ids": []}})))


@pytest.mark.parametrize("act", [pull, fetch, _pull_base])
def test_a_failed_pull_shows_the_error_of_the_engines_stream(act: Any) -> None:
    with scripted_server(_refuse) as host:
        client = docker.DockerClient(base_url=f"tcp://{host}", version="1.41")
        with pytest.raises(DaemonError, match=r"cannot pull q\.io/app.*toomanyrequests: ") as raised:
            act(client, "q.io/app:1")
        client.close()
    assert "\x1b" not in str(raised.value)
    assert "docker pull" in (raised.value.hint or "")
