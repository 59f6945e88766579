"""Each component starts and does the one thing that the other tests need it for."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.host import ComponentError, Tool
from tests.components.images import NATIVE, Flavour, Image
from tests.components.podman import Podman
from tests.components.registries import Registry
from tests.support.inside import runner

# A container that has just been started may not listen yet.
_ASK = """
import http.client, sys, time, urllib.request
for attempt in range(300):
    try:
        sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())
        break
    except (OSError, http.client.HTTPException) as error:
        last = error
        time.sleep(0.2)
else:
    raise last
"""
_SERVE = ["sh", "-c", "echo served > /tmp/page; exec httpd -f -p 80 -h /tmp"]


@pytest.mark.parametrize("flavour", ["docker", "oci"])
def test_a_registry_gives_back_the_pushed_manifest(
    any_registry: Registry, busybox_image: Image, flavour: Flavour
) -> None:
    pushed = busybox_image.push(any_registry, any_registry.unique(), "1", flavour=flavour)
    built = pushed.images[NATIVE]

    got = any_registry.request("GET", f"/v2/{pushed.repository}/manifests/1", headers={"Accept": built.media_type})

    assert (got.status, got.body) == (200, built.manifest)
    assert got.headers["docker-content-digest"] == pushed.digest


def test_a_registry_mounts_and_deletes_blobs(any_registry: Registry, busybox_image: Image) -> None:
    source, target = any_registry.unique(), any_registry.unique()
    digest = busybox_image.push(any_registry, source).images[NATIVE].config_digest

    mounted = any_registry.request("POST", f"/v2/{target}/blobs/uploads/?mount={digest}&from={source}")
    deleted = any_registry.request("DELETE", f"/v2/{target}/blobs/{digest}")
    gone = any_registry.request("HEAD", f"/v2/{target}/blobs/{digest}")

    assert (mounted.status, deleted.status, gone.status) == (201, 202, 404)


def test_a_recording_has_the_requests_of_its_block_alone(registry: Registry) -> None:
    registry.request("GET", "/v2/")
    with registry.recording() as log:
        registry.request("HEAD", "/v2/nobody/manifests/1")
        opened = registry.request("POST", f"/v2/{registry.unique()}/blobs/uploads/")
        registry.request("PATCH", opened.headers["location"], b"12345")
    registry.request("GET", "/v2/")

    assert [(exchange.method, exchange.status, exchange.sent) for exchange in log] == [
        ("HEAD", 404, 0),
        ("POST", 202, 0),
        ("PATCH", 202, 5),
    ]
    assert log.lines[0] == ("HEAD", "/v2/nobody/manifests/1", 404)


def test_the_tls_registry_requires_its_ca_and_its_login(tls_registry: Registry, busybox_image: Image) -> None:
    pushed = busybox_image.push(tls_registry, tls_registry.unique())
    manifest = f"{tls_registry.url}/v2/{pushed.repository}/manifests/latest"

    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(manifest, timeout=60)
    context = ssl.create_default_context(cafile=tls_registry.ca_file)
    with pytest.raises(OSError, match="401") as refused:
        urllib.request.urlopen(manifest, timeout=60, context=context)
    refused.value.close()  # type: ignore[attr-defined]


def test_an_index_has_an_entry_per_platform(registry: Registry, python_image: Image, skopeo: Tool) -> None:
    pushed = python_image.push(registry, registry.unique(), platforms=["linux/amd64", "linux/arm64/v8"], flavour="oci")

    index = json.loads(skopeo("inspect", "--raw", f"docker://{pushed.reference}"))
    config = json.loads(skopeo("inspect", "--config", "--override-arch", "arm64", f"docker://{pushed.reference}"))

    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert (config["architecture"], config["config"]["WorkingDir"]) == ("arm64", "/app")


def test_a_config_key_can_be_replaced_and_left_out(registry: Registry, python_image: Image, crane: Tool) -> None:
    changes = {"User": "1000:1000", "WorkingDir": None, "Entrypoint": ["python3"]}
    pushed = python_image.push(registry, registry.unique(), config=changes)

    config = json.loads(crane("config", pushed.reference))["config"]

    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("1000:1000", ["python3"], ["python3"])
    assert "WorkingDir" not in config


def test_crane_names_the_pushed_digest(any_registry: Registry, busybox_image: Image, crane: Tool) -> None:
    pushed = busybox_image.push(any_registry, any_registry.unique("deep/er"), "v1")

    assert crane("digest", pushed.reference) == pushed.digest


def test_docker_runs_the_python_base(any_docker: Docker, python_image: Image) -> None:
    name = python_image.load(any_docker, "local/python:1")
    script = "import asyncio, json, lzma, os, sqlite3, ssl, tarfile; print(os.getcwd(), os.stat('/app').st_uid)"

    assert any_docker.run("run", "--rm", "--network", "none", name, "python3", "-c", script) == "/app 0"
    assert any_docker.run("run", "--rm", "--network", "none", name, "readlink", "/bin") == "usr/bin"


def test_docker_pulls_from_the_plain_registry(any_docker: Docker, registry: Registry, busybox_image: Image) -> None:
    pushed = busybox_image.push(registry, registry.unique())

    any_docker.run("pull", pushed.reference)

    assert any_docker.run("run", "--rm", "--network", "none", pushed.reference, "echo", "run") == "run"


def test_docker_answers_to_the_ids_of_its_image_store(any_docker: Docker, busybox_image: Image) -> None:
    name = busybox_image.load(any_docker, "local/store:1")
    built = busybox_image.build(flavour="oci")

    output = any_docker.run("inspect", "--format", "{{.Id}}", name)

    assert output == (built.digest if any_docker.containerd_store else built.config_digest)


def test_docker_containers_find_each_other_by_name(any_docker: Docker, python_image: Image) -> None:
    image = python_image.load(any_docker, "local/python:1")
    any_docker.run("network", "create", "names")
    any_docker.run("run", "-d", "--name", "named-server", "--network", "names", image, *_SERVE)

    command = ["python3", "-c", _ASK, "http://named-server/page"]
    assert any_docker.run("run", "--rm", "--network", "names", image, *command) == "served"


def test_docker_publishes_a_port(any_docker: Docker, busybox_image: Image) -> None:
    image = busybox_image.load(any_docker, "local/busybox:1")
    container = any_docker.run("run", "-d", "-p", "127.0.0.1::80", image, *_SERVE)
    address = any_docker.run("port", container, "80")

    asked = subprocess.run([sys.executable, "-c", _ASK, f"http://{address}/page"], capture_output=True, check=True)
    assert asked.stdout == b"served\n"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_docker_builds_a_dockerfile(
    any_docker: Docker,
    busybox_image: Image,
    tmp_path: Path,
    buildkit: str,
) -> None:
    busybox_image.load(any_docker, "local/busybox:1")
    (tmp_path / "Dockerfile").write_text("FROM local/busybox:1\nRUN echo built > /built\n")
    cli = Tool(any_docker.cli.command[0], {**any_docker.cli.env, "DOCKER_BUILDKIT": buildkit})

    cli("build", "-t", "local/built:1", tmp_path)

    assert any_docker.run("run", "--rm", "--network", "none", "local/built:1", "cat", "/built") == "built"


def test_a_failed_command_says_why(any_docker: Docker) -> None:
    with pytest.raises(ComponentError, match=r"exit 125[\s\S]*local/absent"):
        any_docker.run("run", "--pull", "never", "local/absent:1")
    assert any_docker.call("image", "inspect", "local/absent:1").returncode == 1


def test_podman_runs_a_loaded_and_a_pulled_image(
    podman: Podman, registry: Registry, registry3: Registry, busybox_image: Image
) -> None:
    images = [busybox_image.load(podman, "localhost/busybox:1")]
    for each_registry in (registry, registry3):
        images.append(busybox_image.push(each_registry, each_registry.unique(), flavour="oci").reference)

    for image in images:
        assert podman.run("run", "--rm", "--network", "none", image, "echo", "run") == "run"


def test_podman_containers_find_each_other_by_name(podman: Podman, python_image: Image) -> None:
    image = python_image.load(podman, "localhost/python:1")
    podman.run("network", "create", "names")
    podman.run("run", "-d", "--name", "named-server", "--network", "names", image, *_SERVE)

    command = ["python3", "-c", _ASK, "http://named-server/page"]
    assert podman.run("run", "--rm", "--network", "names", image, *command) == "served"


def test_podman_speaks_the_docker_api(podman: Podman, busybox_image: Image) -> None:
    image = busybox_image.load(podman, "localhost/busybox:1")

    assert podman.docker("run", "--rm", "--network", "none", image, "echo", "run") == "run"
    assert "Podman" in podman.docker("version")


def test_buildah_commits_and_pushes(registry: Registry, busybox_image: Image, buildah: Tool) -> None:
    base = busybox_image.push(registry, registry.unique())
    target = f"{registry.host}/{registry.unique()}:1"

    container = buildah("from", base.reference)
    buildah("config", "--label", "made=here", container)
    buildah("commit", container, target)
    buildah("push", target)

    path = target.removeprefix(registry.host).replace(":1", "/manifests/1")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    assert registry.request("HEAD", f"/v2{path}", headers=accept).status == 200


def test_containerd_pulls_and_runs(containerd: Containerd, registry: Registry, python_image: Image) -> None:
    pushed = python_image.push(registry, registry.unique(), flavour="oci")

    assert runner(containerd)(pushed.reference, ["python3", "-c", "print('run')"]) == "run"
