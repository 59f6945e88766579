"""``topcoat run -s local_docker``, on the engines of then and now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.components.daemons import Docker
from tests.components.images import Image


def test_an_edit_is_in_the_next_container_without_a_build(
    topcoat: Cli, workspace: Path, any_docker: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    busybox_image.load(any_docker, "cli-run:1", config={"WorkingDir": "/app"})
    words = (
        "run",
        "-s",
        "local_docker",
        "--image",
        "cli-run:1",
        "--env",
        "A=1",
        "--",
        "sh",
        "-c",
        "cat train.py; echo $A",
    )
    for text in ("before", "after!"):
        (workspace / "train.py").write_text(f"{text}\n")
        done = topcoat(*words)
        assert done.code == 0, done.err
        assert done.out.startswith("local_docker://topcoat/sh-")
        assert done.logs == [text, "1"]
        assert topcoat("log", done.out.strip()).out == f"{text}\n1\n"
        assert topcoat("delete", done.out.strip()) == (0, "", "")


def test_the_failure_of_a_container_is_explained(
    topcoat: Cli, workspace: Path, docker_today: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    busybox_image.load(docker_today, "cli-run:1", config={"WorkingDir": "/app"})
    done = topcoat("run", "-s", "local_docker", "--image", "cli-run:1", "--name", "job", "--", "sh", "-c", "exit 7")
    assert done.code == 1
    handle = done.out.strip()
    assert "job/0 ended with exit code 7" in done.err
    assert f"  hint: topcoat log {handle}" in done.err
    assert topcoat("delete", handle).code == 0
