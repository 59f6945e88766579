from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.components.daemons import Docker
from tests.components.images import Image
from topcoat.scan import scanner
from topcoat.testing.registry import FakeRegistry


def _config(registry: FakeRegistry, reference: str) -> dict[str, object]:
    digest = reference.partition("@")[2]
    manifest = registry.manifest("app", digest)
    config: dict[str, object] = json.loads(registry.blobs[manifest["config"]["digest"]])  # type: ignore[index]
    return config


def test_the_reference_of_the_pushed_image_is_printed(cli: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    done = cli("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app")
    assert (done.code, done.err) == (0, "")
    name, _, digest = done.out.strip().partition("@")
    repository, _, tag = name.rpartition(":")
    assert repository == f"{host}/app"
    assert fake_registry.repositories["app"].tags == {tag: digest}


def test_nothing_is_sent_when_nothing_has_changed(cli: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    words = ("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app")
    first = cli(*words).out
    before = len(fake_registry.requests)
    assert cli(*words).out == first
    assert [request.method for request in fake_registry.requests[before:]] == ["HEAD", "HEAD"]
    (workspace / "train.py").write_text("print('edited')\n")
    assert cli(*words).out != first


def test_no_cache_looks_everything_up_again_and_gives_the_same_image(
    cli: Cli, workspace: Path, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, clock = fake_registry.host, time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 10**10)  # old enough for the stat index
    read: list[str] = []
    digest_at_once = scanner.digest_at_once
    monkeypatch.setattr(scanner, "digest_at_once", lambda tree, path: read.append(path) or digest_at_once(tree, path))
    words = ("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app")
    first = cli(*words).out
    for flags, is_read in (((), False), (("--no-cache",), True), ((), False)):
        before = len(fake_registry.requests)
        read.clear()
        assert cli(*words, *flags).out == first
        assert ("train.py" in read) is is_read
        assert any(request.method == "GET" for request in fake_registry.requests[before:]) is is_read


def test_json_is_one_object(cli: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    output = cli("build", "--json", "--image", f"{host}/base:1", "--image-repo", f"{host}/app").json
    assert output["reference"] == f"{output['image']}@{output['digest']}"
    assert output["layers"] == 1
    assert output["sent"] > 0


def test_options_of_the_image_are_run_options(cli: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    options = f"workspace_dir=/code,pythonpath=False,image_repo={host}/app"
    done = cli("build", "--image", f"{host}/base:1", "-cfg", options, "--platform", "linux/amd64")
    assert done.code == 0
    stated = _config(fake_registry, done.out.strip())["config"]
    assert isinstance(stated, dict)
    assert stated["WorkingDir"] == "/code"
    assert not [pair for pair in stated["Env"] if pair.startswith("PYTHONPATH=")]


def test_a_configuration_file_sets_defaults(cli: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    (workspace / ".torchxconfig").write_text(
        f"[cli:build]\nimage = {host}/base:1\nimage_repo = {host}/app\ncfg = workspace_dir=/code\n"
    )
    done = cli("build")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{host}/app:")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ((), "no image to lay the code over", "--image BASE"),
        (("--image", "x", "--workspace", ""), "topcoat build has no code to lay over the image", "--workspace DIR"),
        (("--image", "x", "-cfg", "modez=exact"), "unknown run option 'modez'", "did you mean modes?"),
        (("--image", "x", "-cfg", "hot=maybe"), "the run option 'hot' must be a bool", ""),
        (("--image", "x", "--image-repo", "h/app:1"), "invalid image_repo 'h/app:1'", "image_repo="),
        (("--image", "x", "--image-repo", "h/app", "-cfg", "modes=odd"), "invalid modes 'odd'", "choose "),
        (("--image", "X Y", "--image-repo", "127.0.0.1:1/app"), "invalid image name 'X Y'", ""),
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, workspace: Path, words: tuple[str, ...], message: str, hint: str) -> None:
    done = cli("build", *words)
    assert (done.code, done.out) == (2, "")
    assert done.error[0].startswith(message)
    assert done.error[1].startswith(hint)


def test_a_dockerfile_that_does_not_use_image_needs_none(
    cli: Cli, workspace: Path, fake_registry: FakeRegistry
) -> None:
    host = fake_registry.host
    words = ("build", "--image-repo", f"{host}/app")
    for text in (f"FROM {host}/base:1\nCOPY . /app\n", f"ARG IMAGE={host}/base:1\nFROM $IMAGE\nCOPY . /app\n"):
        (workspace / "Dockerfile.torchx").write_text(text)
        done = cli(*words)
        assert (done.code, done.err) == (0, "")
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nCOPY . /app\n")
    assert cli(*words).error[0] == "no image to lay the code over"
    assert cli(*words, "--image", f"{host}/base:1").code == 0


def test_an_image_goes_into_the_engine_without_a_repository(
    topcoat: Cli, workspace: Path, any_docker: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    busybox_image.load(any_docker, "cli-base:1")
    done = topcoat("build", "--image", "cli-base:1", "-cfg", "workspace_dir=/code")
    assert (done.code, done.err) == (0, "")
    printed = any_docker.run("run", "--rm", "--network", "none", done.out.strip(), "cat", "/code/train.py")
    assert printed == "print('trained')"


def test_a_dockerfile_in_the_workspace_is_built(
    topcoat: Cli, workspace: Path, docker_today: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    busybox_image.load(docker_today, "cli-base:1")
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nCOPY train.py /made/\n")
    done = topcoat("build", "--image", "cli-base:1", "-cfg", "quiet=True")
    assert (done.code, done.err) == (0, "")
    printed = docker_today.run("run", "--rm", "--network", "none", done.out.strip(), "cat", "/made/train.py")
    assert printed == "print('trained')"
