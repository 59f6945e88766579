"""What topcoat's HTTP client costs in a warm edit, compared with ``http.client`` and urllib3.

`python -m benchmarks.http_layer [--rounds N]`

Each measurement is a new process that has imported what a push needs besides HTTP. The clock covers the import of the
HTTP client and the eight requests of a warm edit: three HEAD and two POST at the same time, two PUT of blobs at the
same time, the PUT of the manifest. The server is the fake registry, in this process. The clients take turns within
each round, in random order, so the differences are those of pairs.
"""

from __future__ import annotations

# Only what a push imports too: the new process imports this module.
import argparse
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from topcoat.oci.manifest import OCI_CONFIG, OCI_MANIFEST

# Method, path and body; returns status and Location.
Send = Callable[[str, str, bytes], tuple[int, str]]

_BLOBS = (os.urandom(20_000), b"{}")
_MEDIA_TYPE = {"Content-Type": OCI_MANIFEST}


def topcoat_client(host: str, port: int, ca: str) -> Send:
    """Return the client of topcoat."""
    from topcoat.http.origin import Origin
    from topcoat.http.pool import Pool
    from topcoat.http.request import Body, Request
    from topcoat.http.tls import TLSSettings

    origin = Origin("https" if ca else "http", host, port)
    pool = Pool(origin, TLSSettings(ca_files=(ca,) if ca else ()))

    def send(method: str, path: str, body: bytes) -> tuple[int, str]:
        request = Request(method, f"{origin.scheme}://{origin.authority}{path}", _MEDIA_TYPE, Body(body))
        response = pool.exchange(request)
        response.read_all(1 << 20)
        return response.status, response.header("Location")

    return send


def stdlib_client(host: str, port: int, ca: str) -> Send:
    """Return a client that keeps connections of ``http.client``."""
    import http.client

    context = _context(ca) if ca else None
    idle: list[http.client.HTTPConnection] = []

    def send(method: str, path: str, body: bytes) -> tuple[int, str]:
        if idle:
            connection = idle.pop()
        elif context:
            connection = http.client.HTTPSConnection(host, port, context=context)
        else:
            connection = http.client.HTTPConnection(host, port)
        connection.request(method, path, body, _MEDIA_TYPE)
        response = connection.getresponse()
        response.read()
        idle.append(connection)
        return response.status, response.getheader("Location", "")

    return send


def urllib3_client(host: str, port: int, ca: str) -> Send:
    """Return a pool of urllib3."""
    import urllib3

    kwargs: dict[str, Any] = {"ssl_context": _context(ca)} if ca else {}
    pool = (urllib3.HTTPSConnectionPool if ca else urllib3.HTTPConnectionPool)(host, port, maxsize=8, **kwargs)

    def send(method: str, path: str, body: bytes) -> tuple[int, str]:
        response = pool.urlopen(method, path, body, _MEDIA_TYPE, redirect=False, retries=False)
        return response.status, response.headers.get("Location", "")

    return send


_CLIENTS = {"topcoat": topcoat_client, "http.client": stdlib_client, "urllib3": urllib3_client}


def _context(ca: str) -> Any:
    import ssl

    context = ssl.create_default_context()
    context.load_verify_locations(ca)
    return context


def warm_edit(send: Send) -> None:
    """Send the requests of a warm edit."""
    uploads = "/v2/app/blobs/uploads/"
    heads = [("HEAD", f"/v2/{name}", b"") for name in ("base/manifests/1", "app/manifests/new", "app/manifests/last")]
    results = _together(send, [*heads, *[("POST", uploads, b"")] * 2])
    assert sorted(status for status, _ in results) == [200, 202, 202, 404, 404]
    locations = [location for _, location in results if location]
    digests = [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in _BLOBS]
    puts = [
        ("PUT", f"{urlsplit(location).path}?digest={digest}", blob)
        for location, digest, blob in zip(locations, digests, _BLOBS, strict=True)
    ]
    assert [status for status, _ in _together(send, puts)] == [201, 201]
    layer, config = ({"digest": digest, "size": len(blob)} for digest, blob in zip(digests, _BLOBS, strict=True))
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [{"mediaType": "layer", **layer}]}
    document["config"] = {"mediaType": OCI_CONFIG, **config}
    assert send("PUT", "/v2/app/manifests/new", json.dumps(document).encode())[0] == 201


def _together(send: Send, requests: list[tuple[str, str, bytes]]) -> list[tuple[int, str]]:
    results: list[tuple[int, str]] = [(0, "")] * len(requests)

    def run(number: int) -> None:
        results[number] = send(*requests[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def measure(client: str, netloc: str, ca: str) -> None:
    """Print the seconds of one warm edit, import included; this is the new process."""
    import topcoat.pack.plan
    import topcoat.rootfs.nodes
    import topcoat.scan.scanner  # noqa: F401

    host, _, port = netloc.partition(":")
    start = time.perf_counter()
    warm_edit(_CLIENTS[client](host, int(port), ca))
    print(time.perf_counter() - start)


def main() -> None:
    """Run the comparison, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--measure", nargs=3, metavar=("CLIENT", "HOST:PORT", "CA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure)
    else:
        compare(args.rounds)


def compare(rounds: int) -> None:
    """Print a table of both schemes and all clients."""
    import random
    import statistics
    import subprocess
    import tempfile
    from pathlib import Path

    from tests.support.certificates import make_certificates

    from topcoat.testing.registry import FakeRegistry

    # With compiled modules, as in an installation.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as directory:
        certificates = make_certificates(Path(directory))
        for title, tls in (("plain HTTP", None), ("TLS", certificates.tls)):
            times: dict[str, list[float]] = {name: [] for name in _CLIENTS}
            # One round more: the first one fills caches.
            for number in range(rounds + 1):
                for name in random.sample(list(_CLIENTS), len(_CLIENTS)):
                    with FakeRegistry(tls=tls) as registry:
                        registry.add_image("base", "1")
                        ca = certificates.ca if tls else ""
                        command = [sys.executable, "-m", "benchmarks.http_layer", "--measure", name, registry.host, ca]
                        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
                    if number:
                        times[name].append(1000 * float(done.stdout))
            print(f"{title}, {rounds} rounds, median in ms (difference to topcoat: median and quartiles of pairs)")
            for name, values in times.items():
                pairs = [value - own for value, own in zip(values, times["topcoat"], strict=True)]
                low, middle, high = statistics.quantiles(pairs, n=4) if name != "topcoat" else (0, 0, 0)
                print(f"{name:12}{statistics.median(values):7.1f} {middle:+7.1f} ({low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
