"""Dockerfiles built by Podman and by Buildah, where no container engine answers."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.components import host
from tests.components.host import Tool
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.images import fetch
from topcoat.builders.tool_builder import ToolBuilder, tool_builder
from topcoat.errors import DaemonError, DaemonUnavailable, ImageNotFound, TagMoved
from topcoat.registry.clients import Clients
from topcoat.specs import AppDef, Role, Workspace
from topcoat.state import spool_dir
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

DOCKERFILE = """\
ARG IMAGE
FROM $IMAGE
ARG WORKSPACE
ARG GREETING=hello
HEALTHCHECK CMD true
COPY . /code/
RUN echo "$GREETING from $WORKSPACE" > /made
"""


@pytest.fixture(params=["podman", "buildah"])
def tool(
    request: pytest.FixtureRequest, containers_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The one builder on this machine: no container engine answers, and the other tool is not installed."""
    host.need_root(request.param)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    # What they call, found where Debian has it; of the two tools, the one alone.
    for name in (request.param, "runc", "conmon", "netavark", "nsenter", "newuidmap", "newgidmap", "iptables", "sh"):
        program = shutil.which(name, path=containers_env["PATH"])
        if name == request.param:
            program = str(host.tool(name, name))
        if program:
            (bin_ / name).symlink_to(program)
    for name in ("CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, containers_env[name])
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    monkeypatch.setenv("PATH", str(bin_))
    # Not a socket's path: the docker package does not close a unix socket that it cannot connect.
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    return str(request.param)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    (directory / "train.py").write_text("print('trained')\n")
    (directory / "secret.txt").write_text("no\n")
    (directory / "Dockerfile.torchx").write_text(DOCKERFILE)
    (directory / ".torchxignore").write_text("secret.txt\n")
    return directory


@pytest.fixture
def base(registry: Registry, busybox_image: Image) -> str:
    return busybox_image.push(registry, registry.unique("base"), "1").reference


@pytest.fixture
def repository(registry: Registry) -> str:
    return f"{registry.host}/{registry.unique('app')}"


Ship = Callable[..., str]


@pytest.fixture
def ship(workspace: Path) -> Ship:
    """Plan the build of the workspace over an image and carry it out; return the image's name."""

    def run(image: str, repository: str, **cfg: object) -> str:
        role = Role("trainer", image, workspace=Workspace({str(workspace): ""}))
        plan = DockerWorkspaceMixin().plan_workspaces([role], {"image_repo": repository, **cfg})  # type: ignore[dict-item]
        assert plan is not None
        plan.carry_out()
        return role.image

    return run


@pytest.fixture
def files(crane: Tool, tmp_path: Path) -> Callable[[str], Mapping[bytes, tarfile.TarInfo]]:
    """Return the members of an image's file system, regular files with their content as ``linkname``."""

    def read(image: str) -> Mapping[bytes, tarfile.TarInfo]:
        packed = tmp_path / "exported.tar"
        crane("export", image, str(packed))
        collected = {}
        with tarfile.open(packed, encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                if member.isreg() and member.size < 1000:
                    source = archive.extractfile(member)
                    assert source is not None
                    member.linkname = source.read().decode()
                collected[os.fsencode(member.name.removeprefix("./"))] = member
        return collected

    return read


Files = Callable[[str], Mapping[bytes, tarfile.TarInfo]]


def left_behind() -> list[Path]:
    return list(Path(spool_dir()).iterdir())


def test_a_dockerfile_is_built_with_its_arguments_and_pushed(
    tool: str, ship: Ship, base: str, repository: str, files: Files, workspace: Path
) -> None:
    image = ship(base, repository, build_args={"GREETING": "ahoy"}, quiet=True)
    actual = files(image)
    assert actual[b"made"].linkname == f"ahoy from {workspace}\n"
    assert sorted(path for path in actual if path.startswith(b"code/") and path != b"code/") == [
        b"code/.torchxignore",
        b"code/Dockerfile.torchx",
        b"code/train.py",
    ]
    assert left_behind() == []


def test_names_of_any_bytes_modes_links_and_empty_directories_reach_the_builder(
    tool: str, ship: Ship, base: str, repository: str, files: Files, workspace: Path
) -> None:
    odd = os.fsencode(workspace) + b"/odd \xff\nname"
    Path(os.fsdecode(odd)).write_text("odd\n")
    os.chmod(odd, 0o751)
    (workspace / "empty").mkdir()
    os.symlink("nowhere at all", workspace / "link")
    actual = files(ship(base, repository, modes="exact", quiet=True))
    assert actual[b"code/odd \xff\nname"].linkname == "odd\n"
    assert actual[b"code/odd \xff\nname"].mode & 0o7777 == 0o751
    assert actual[b"code/empty"].isdir()
    assert actual[b"code/link"].linkname == "nowhere at all"
    assert (actual[b"code/train.py"].uid, actual[b"code/train.py"].gid) == (0, 0)


def test_dockerignore_is_not_obeyed_a_second_time(
    tool: str, ship: Ship, base: str, repository: str, files: Files, workspace: Path
) -> None:
    (workspace / ".dockerignore").write_text("*.txt\nDockerfile.torchx\n")
    (workspace / ".torchxignore").write_text("!secret.txt\n")
    actual = files(ship(base, repository, quiet=True))
    assert b"code/secret.txt" in actual
    assert b"code/Dockerfile.torchx" not in actual


def test_the_settings_that_only_dockers_format_has_are_kept(
    tool: str, ship: Ship, base: str, repository: str, crane: Tool
) -> None:
    config = json.loads(crane("config", ship(base, repository, quiet=True)))["config"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"]}


def test_the_same_again_builds_and_pushes_nothing(
    tool: str, ship: Ship, base: str, repository: str, registry: Registry
) -> None:
    first = ship(base, repository, quiet=True)
    with registry.recording() as log:
        assert ship(base, repository, quiet=True) == first
    assert sorted((exchange.method, exchange.path.split("/manifests/")[1]) for exchange in log) == sorted(
        [("HEAD", "1"), ("HEAD", first.rpartition(":")[2])]
    )
    with registry.recording() as log:
        assert ship(base, repository, quiet=True, rebuild=True) == first
    assert log.count("PUT", "/manifests/") == 1


def test_a_new_image_under_the_name_of_the_base_is_noticed_and_used(
    tool: str, ship: Ship, registry: Registry, busybox_image: Image, repository: str, crane: Tool
) -> None:
    name = registry.unique("base")
    base = busybox_image.push(registry, name, "1").reference
    first = ship(base, repository, quiet=True)
    twice = dataclasses.replace(busybox_image, layers=busybox_image.layers * 2)
    twice.push(registry, name, "1")
    second = ship(base, repository, quiet=True)
    assert second != first
    below = json.loads(crane("config", second))["rootfs"]["diff_ids"][:2]
    assert below == [layer.diff_id for layer in twice.layers]


def test_a_base_of_several_platforms_and_one_by_digest_can_be_built_on(
    tool: str, ship: Ship, registry: Registry, busybox_image: Image, repository: str, files: Files
) -> None:
    platforms = ("linux/amd64", "linux/arm64")
    base = busybox_image.push(registry, registry.unique("index"), "1", platforms=platforms)
    assert b"made" in files(ship(base.reference, repository, quiet=True, platform="linux/amd64"))
    assert b"made" in files(ship(base.by_digest, repository, quiet=True, platform="linux/amd64"))


def test_an_image_that_the_dockerfile_does_not_use_is_neither_looked_up_nor_pulled(
    tool: str, ship: Ship, base: str, repository: str, registry: Registry, workspace: Path
) -> None:
    (workspace / "Dockerfile.torchx").write_text(f"FROM {base}\nRUN true\n")
    with registry.recording() as log:
        ship(f"{registry.host}/never-used:1", repository, quiet=True)
    assert not [exchange for exchange in log if "never-used" in exchange.path]


@pytest.mark.parametrize("name", ["localhost/only-here:1", "only-here:1"])
def test_an_image_that_is_here_alone_can_be_built_on(
    tool: str,
    name: str,
    ship: Ship,
    repository: str,
    busybox_image: Image,
    files: Files,
    tmp_path: Path,
    containers_env: dict[str, str],
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(busybox_image.archive("localhost/only-here:1"))
    builder = tool_builder(Clients())
    assert builder is not None
    pull = Tool(host.tool("buildah", "buildah"), containers_env)
    pull("pull", f"docker-archive:{archive}")
    assert b"made" in files(ship(name, repository, quiet=True))
    assert builder.base_tag_inputs(name, "") == [builder.image_id("localhost/only-here:1")]
    with pytest.raises(ImageNotFound):
        builder.base_tag_inputs("sha256:" + "0" * 64, "")


def test_an_image_that_is_kept_is_known_by_its_labels(
    tool: str, ship: Ship, base: str, repository: str, registry: Registry
) -> None:
    image = ship(base, repository, quiet=True)
    labels = fetch(registry, image).config["config"]["Labels"]
    tag = image.rpartition(":")[2]
    assert labels["dev.topcoat.identity"] == tag
    assert labels["dev.topcoat.snapshot"].startswith("sha256:")
    builder = tool_builder(Clients())
    assert builder is not None
    name = builder.image_name(tag)
    assert builder.has_labels(
        name, {label: labels[label] for label in ("dev.topcoat.identity", "dev.topcoat.snapshot")}
    )
    assert not builder.has_labels(name, {"dev.topcoat.identity": tag[:-1]})
    assert not builder.has_labels("localhost/none:1", {"dev.topcoat.identity": tag})


def test_a_tag_that_was_moved_is_an_error_and_another_machine_adopts_by_labels(
    tool: str, ship: Ship, base: str, repository: str, registry: Registry, busybox_image: Image, home: Path
) -> None:
    image = ship(base, repository, quiet=True)
    shutil.rmtree(home / ".cache" / "topcoat")
    with registry.recording() as log:
        assert ship(base, repository, quiet=True) == image
    assert "PUT" not in {exchange.method for exchange in log}
    busybox_image.push(registry, repository.partition("/")[2], image.rpartition(":")[2])
    with pytest.raises(TagMoved):
        ship(base, repository, quiet=True)
    assert ship(base, repository, quiet=True, rebuild=True) == image
    assert "dev.topcoat.identity" in fetch(registry, image).config["config"]["Labels"]


def test_a_private_registry_with_tls_is_reached_with_the_login_and_authority_that_topcoat_uses(
    tool: str, ship: Ship, tls_registry: Registry, busybox_image: Image, home: Path
) -> None:
    base = busybox_image.push(tls_registry, tls_registry.unique("base"), "1").reference
    assert tls_registry.ca_file is not None
    certificates = home / ".docker" / "certs.d" / tls_registry.host
    certificates.mkdir(parents=True)
    shutil.copy(tls_registry.ca_file, certificates / "ca.crt")
    login = base64.b64encode(f"{tls_registry.username}:{tls_registry.password}".encode()).decode()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {tls_registry.host: {"auth": login}}}))
    repository = tls_registry.unique("app")
    image = ship(base, f"{tls_registry.host}/{repository}", quiet=True)
    tag = image.rpartition(":")[2]
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    assert tls_registry.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers=accept).status == 200
    assert left_behind() == []


def test_a_push_that_is_refused_says_why_and_how_to_log_in(
    tool: str, ship: Ship, base: str, tls_registry: Registry
) -> None:
    builder = tool_builder(Clients())
    assert builder is not None
    from topcoat.oci.reference import Reference

    with pytest.raises(DaemonError, match=f"{tool} cannot push") as caught:
        builder.push("localhost/none:1", Reference.parse(f"{tls_registry.host}/x:1"), lambda text: None)
    assert "docker login" in str(caught.value.hint)


def test_output_is_streamed_after_a_line_about_builder_and_reason_unless_quiet(
    tool: str, ship: Ship, base: str, repository: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ship(base, repository, build_args={"GREETING": "loud"})
    message = capfd.readouterr().err
    first = (
        f"building Dockerfile.torchx with {tool} on this machine; "
        "Dockerfile.torchx:5: HEALTHCHECK is for services (HEALTHCHECK CMD true)"
    )
    assert message.splitlines()[0] == first
    assert "STEP" in message
    ship(base, repository, build_args={"GREETING": "still"}, quiet=True)
    assert capfd.readouterr().err == ""


def test_a_build_that_fails_shows_all_of_its_output_and_leaves_nothing(
    tool: str, ship: Ship, base: str, repository: str, workspace: Path
) -> None:
    (workspace / "Dockerfile.torchx").write_text(DOCKERFILE + "RUN echo what went wr''ong && exit 7\n")
    with pytest.raises(DaemonError, match="what went wrong") as caught:
        ship(base, repository, quiet=True)
    assert f"with {tool} on this machine" in caught.value.message
    assert "STEP 1" in caught.value.message
    assert f"{tool} build ended with exit code" in caught.value.message
    assert left_behind() == []


def test_an_image_that_was_built_by_its_id_is_pushed_by_it(
    tool: str, workspace: Path, base: str, repository: str, files: Files
) -> None:
    app = AppDef("job", [Role("trainer", base, workspace=Workspace({str(workspace): ""}))])
    mixin, cfg = DockerWorkspaceMixin(), {"image_repo": repository, "quiet": True}
    mixin.build_workspaces(app.roles, cfg)
    assert app.roles[0].image.startswith("sha256:")
    mixin.push_images(mixin.dryrun_push_images(app, cfg))
    assert b"made" in files(app.roles[0].image)


def test_without_a_repository_an_engine_is_needed(tool: str, workspace: Path, base: str) -> None:
    role = Role("trainer", base, workspace=Workspace({str(workspace): ""}))
    with pytest.raises(DaemonUnavailable, match=r"^Dockerfile\.torchx:5: HEALTHCHECK") as caught:
        DockerWorkspaceMixin().build_workspaces([role], {})
    assert "this needs a container engine" in caught.value.message
    assert "image_repo" in str(caught.value.hint)


def test_podman_comes_before_buildah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool_builder(Clients()) is None
    labels = []
    for name in ("buildah", "podman"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        builder = tool_builder(Clients())
        assert isinstance(builder, ToolBuilder)
        labels.append(builder.label)
    assert labels == ["buildah on this machine", "podman on this machine"]
