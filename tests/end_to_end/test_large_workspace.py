"""A workspace of 10,000 files and 200 MB, from the command line to every engine, with no container engine involved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from benchmarks.workloads import edit_line, make_workspace

from tests.components.host import Tool
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.inside import expected, look
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace


class Large(NamedTuple):
    """The workspace, a source file of it, and the image it is laid over and the repository it goes to."""

    root: Path
    source: Path
    base: str
    repository: str
    cache: Path


@pytest.fixture(scope="module")
def large(scratch: Path, registry: Registry, python_image: Image) -> Large:
    root = scratch / "large workspace"
    source = make_workspace(root)
    base = python_image.push(registry, registry.unique("base"), "1")
    return Large(root, source, base.reference, f"{registry.host}/{registry.unique('large')}", scratch / "large cache")


def build(large: Large) -> str:
    """Run ``topcoat build`` where no engine can be found, and return what it prints."""
    words = ["build", "--workspace", str(large.root), "--image", large.base, "--image-repo", large.repository]
    nothing = {"PATH": "/nonexistent", "DOCKER_HOST": "unix:///nonexistent"}
    done = subprocess.run(
        [sys.executable, "-m", "topcoat", *words],
        env={**os.environ, **nothing, "XDG_CACHE_HOME": str(large.cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # On a busy machine, the registry may need more than five seconds.
    assert [line for line in done.stderr.splitlines() if not line.startswith("topcoat: waiting for ")] == []
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["docker20", "docker_today", "docker_today_classic", "podman", "containerd"])
def test_the_tree_in_a_container_is_the_snapshot(large: Large, engine: str, request: pytest.FixtureRequest) -> None:
    image = build(large).partition("@")[0]
    snapshot = scan(Workspace({str(large.root): ""}), ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert sum(entry.kind == "file" for entry in snapshot) == 10_000
    assert snapshot.size > 190_000_000
    seen = look(request.getfixturevalue(engine), image, "/app")
    assert seen.below("/app") == expected(snapshot)


def test_other_tools_read_the_image(large: Large, skopeo: Tool) -> None:
    reference = build(large)
    image, _, digest = reference.partition("@")
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{image}"))
    assert inspected["Digest"] == digest
    assert inspected["Labels"]["dev.topcoat.target"] == "/app"


def test_an_edit_sends_less_than_a_thousandth_in_at_most_eight_requests(large: Large, registry: Registry) -> None:
    build(large)
    for number in range(1, 6):
        edit_line(large.source, number)
        with registry.recording() as log:
            build(large)
        # A delivery that takes two seconds looks again whether the tag has moved meanwhile.
        if log[-1].answered - log[0].started < 1.5:
            break
    assert len(log.lines) <= 8
    assert log.sent < 200_000
    with registry.recording() as log:
        build(large)
    assert sorted(method for method, _, _ in log.lines) == ["HEAD", "HEAD"]
    assert log.sent == 0
