"""Bases that no registry has and an engine does, on real engines: exported once, and pushed as any other base."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.engines.test_export import tar_of
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.images import fetch, stacked
from tests.support.inside import expected, look
from tests.support.pushing import fresh, plan, push
from topcoat.bases import engine_base
from topcoat.bases.engine_base import open_engine
from topcoat.destinations import base_layers
from topcoat.destinations.base import DeliveryResult
from topcoat.errors import DaemonError, DaemonUnavailable, ImageNotFound, NoSuchPlatform
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_LAYER_GZIP, OCI_LAYER_ZSTD
from topcoat.pack.layer import _MAX_IN_MEMORY
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import AppDef, Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

_SETTINGS = {"WorkingDir": "/w", "Env": ["PATH=/usr/bin:/bin", "FROM=engine"], "User": "1000", "Labels": {"a": "b"}}


@pytest.fixture(params=["docker20", "docker_today", "docker_today_classic", "podman"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Each engine in turn, as the one that the docker command line uses."""
    running: Docker = request.getfixturevalue(request.param)
    running.use(monkeypatch)
    return running


@pytest.fixture
def one_engine(docker_today_classic: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
    docker_today_classic.use(monkeypatch)
    return docker_today_classic


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {f"f{number}": f"{number} {tmp_path}\n" * 900 for number in range(50)})


def _load(image: Image, engine: Docker, registry: Registry, **config: Any) -> str:
    """Load *image* under a name that *registry* does not know, and return that."""
    return image.load(engine, f"{registry.host}/{registry.unique('unpushed')}:dev", config={**_SETTINGS, **config})


def _keep_blobs(image: Image, engine: Docker, registry: Registry) -> None:
    """Make *engine* have the blobs of *image*: of a layer that it has unpacked from another one it pulls none."""
    _load(image, engine, registry)


def _no_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("an image was exported")

    monkeypatch.setattr(engine_base, "exporting", refuse)


def _check(registry: Registry, workspace: Workspace, delivered: DeliveryResult, skip: int = 1) -> None:
    fetched = fetch(registry, delivered.image)
    assert fetched.config["config"]["Env"][1:2] == ["FROM=engine"]
    assert fetched.config["config"]["User"] == "1000"
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert stacked(fetched.layers[skip:], "/w") == expected(snapshot)


def test_it_is_exported_once_and_then_only_edits_travel(
    engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, repository = _load(busybox_image, engine, registry), fresh(registry)
    first = push(workspace, base, repository)
    _check(registry, workspace, first)
    assert first.sent > busybox_image.layers[0].size / 2

    _no_exports(monkeypatch)
    with registry.recording() as log:
        assert push(workspace, base, repository).digest == first.digest
    assert sorted(exchange.method for exchange in log) == ["GET", "HEAD"]

    workspaces.edit(workspace, "f7")
    with registry.recording() as log:
        edited = push(workspace, base, repository)
    assert len(log) == 8
    assert log.sent < 20_000
    _check(registry, workspace, edited)


def test_tag_and_config_are_those_of_a_base_in_a_registry(
    engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    local = push(workspace, _load(busybox_image, engine, registry), fresh(registry))
    remote = push(workspace, pushed(registry, busybox_image, config=_SETTINGS), fresh(registry))
    assert local.image.rpartition(":")[2] == remote.image.rpartition(":")[2]
    configs = [fetch(registry, image.image).config for image in (local, remote)]
    assert configs[0]["rootfs"] == configs[1]["rootfs"]
    for key in ("Env", "User", "WorkingDir", "Labels", "Cmd"):
        assert configs[0]["config"].get(key) == configs[1]["config"].get(key)


def test_another_engine_pulls_and_runs_what_was_pushed(
    engine: Docker,
    registry: Registry,
    python_image: Image,
    workspace: Workspace,
    docker20: Docker,
    docker_today: Docker,
) -> None:
    base = _load(python_image, engine, registry, Env=["PATH=/usr/bin:/bin"])
    delivered = push(workspace, base, fresh(registry))
    other = docker_today if engine is docker20 else docker20
    other.run("pull", "--quiet", delivered.image)
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    assert look(other, delivered.image, "/w").below("/w") == expected(snapshot)


def test_an_image_id_is_a_base(engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace) -> None:
    name = _load(busybox_image, engine, registry)
    with open_engine() as client:
        image_id = client.api.inspect_image(name)["Id"]
    image_id = image_id if image_id.startswith("sha256:") else f"sha256:{image_id}"
    with registry.recording() as log:
        delivered = push(workspace, image_id, fresh(registry))
    assert not any("unpushed" in exchange.path for exchange in log)
    _check(registry, workspace, delivered)


def test_what_the_registry_has_lost_is_exported_again(
    engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base, repository = _load(busybox_image, engine, registry), fresh(registry)
    first = fetch(registry, push(workspace, base, repository).image)
    lost = first.manifest["layers"][0]["digest"]
    assert registry.request("DELETE", f"/v2/{repository.partition('/')[2]}/blobs/{lost}").status == 202
    workspaces.edit(workspace, "f7")
    _check(registry, workspace, push(workspace, base, repository))


def test_another_repository_gets_it_from_the_engine_again(
    one_engine: Docker, registry: Registry, registry3: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base = _load(busybox_image, one_engine, registry)
    push(workspace, base, fresh(registry))
    _check(registry3, workspace, push(workspace, base, fresh(registry3)))


def test_a_layer_that_the_target_has_is_not_sent(
    docker_today: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The containerd store keeps blobs as they were pulled: the repository has the very same one.
    docker_today.use(monkeypatch)
    base = _load(busybox_image, docker_today, registry)
    remote_base = pushed(registry, busybox_image, config=_SETTINGS)
    with registry.recording() as log:
        push(workspace, base, remote_base.name)
    assert log.sent < busybox_image.layers[0].size / 2


def test_images_that_share_layers_share_what_is_remembered(
    one_engine: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = fresh(registry)
    push(workspace, _load(busybox_image, one_engine, registry), repository)
    other = _load(busybox_image, one_engine, registry, Labels={"another": "one"})
    _no_exports(monkeypatch)
    _check(registry, workspace, push(workspace, other, repository))


def test_a_plan_exports_nothing(
    engine: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = _load(busybox_image, engine, registry)
    _no_exports(monkeypatch)
    with registry.recording() as log:
        planned = plan(workspace, base, fresh(registry))
    assert {exchange.method for exchange in log} == {"GET"}
    assert planned.planned.images[0].base.engine_id


def test_a_registry_that_has_it_is_believed(
    one_engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    remote_base = pushed(registry, busybox_image, config={"WorkingDir": "/w", "Env": ["FROM=registry"]})
    busybox_image.load(one_engine, remote_base.reference, config=_SETTINGS)
    planned = plan(workspace, remote_base, fresh(registry))
    assert planned.planned.images[0].base.config.env == {"FROM": "registry"}


def test_a_base_that_is_gone_from_its_registry_is_found_in_the_engine(
    one_engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    repository = fresh(registry)
    base = busybox_image.push(registry, registry.unique("soon-gone"), "1", config=_SETTINGS)
    first = push(workspace, base, repository)
    busybox_image.load(one_engine, base.reference, config=_SETTINGS)
    gone = registry.request("DELETE", f"/v2/{base.repository}/manifests/{base.digest}")
    assert gone.status == 202
    again = push(workspace, base, repository)
    assert again.image == first.image


def test_an_image_that_neither_registry_nor_engine_has_is_an_error(
    one_engine: Docker, registry: Registry, workspace: Workspace
) -> None:
    with pytest.raises(ImageNotFound, match="there is no image") as raised:
        push(workspace, f"{registry.host}/nobody/has-it:1", fresh(registry))
    assert "spelling" in (raised.value.hint or "")
    assert "container engine has no such image either" in (raised.value.hint or "")
    with pytest.raises(ImageNotFound, match="container engine") as raised:
        push(workspace, f"sha256:{'a' * 64}", fresh(registry))
    assert "docker images" in (raised.value.hint or "")


def test_a_missing_engine_is_named_in_the_hint_of_a_missing_image(
    registry: Registry, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ImageNotFound, match="there is no image") as raised:
        push(workspace, f"{registry.host}/nobody/has-it:1", fresh(registry))
    assert f"cannot connect to the container engine at unix://{tmp_path}/none.sock" in (raised.value.hint or "")
    with pytest.raises(DaemonUnavailable, match="socket not found"), open_engine():
        pass


def test_the_wrong_platform_is_refused(
    engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base = _load(busybox_image, engine, registry)
    with pytest.raises(NoSuchPlatform, match="linux/s390x"):
        push(workspace, base, fresh(registry), platform="linux/s390x")
    _check(registry, workspace, push(workspace, base, fresh(registry), platform="linux/amd64"))


def test_an_image_that_is_removed_meanwhile(
    one_engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base = _load(busybox_image, one_engine, registry, Labels={"short": "lived"})
    planned = plan(workspace, base, fresh(registry))
    one_engine.run("rmi", "--force", planned.planned.images[0].base.engine_id)
    with pytest.raises(DaemonError, match="cannot export"):
        planned.carry_out()


def test_a_large_one_is_announced(
    one_engine: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    notices: list[str],
) -> None:
    monkeypatch.setattr(base_layers, "_MIN_ANNOUNCED_BYTES", 1000)
    push(workspace, _load(busybox_image, one_engine, registry), fresh(registry))
    copies = [notice.rpartition(" of ")[2] for notice in notices if "copying" in notice]
    assert copies == ["the base from this machine's container engine"]


def test_memory_stays_small_and_the_disk_is_left_clean(
    one_engine: Docker, registry: Registry, python_image: Image, workspace: Workspace, home: Path
) -> None:
    assert python_image.layers[0].size > _MAX_IN_MEMORY
    delivered = push(workspace, _load(python_image, one_engine, registry, Env=None), fresh(registry))
    assert delivered.sent > 15_000_000
    spool = home / ".cache/topcoat/spool"
    assert list(spool.iterdir()) == []


def test_the_platform_that_is_asked_for_is_exported_of_an_image_that_has_several(
    docker_today: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker_today.use(monkeypatch)
    _keep_blobs(busybox_image, docker_today, registry)
    platforms = ("linux/amd64", "linux/arm64")
    base = busybox_image.push(registry, registry.unique("several"), "1", config=_SETTINGS, platforms=platforms)
    for platform in platforms:
        docker_today.run("pull", "--quiet", "--platform", platform, base.reference)
    assert registry.request("DELETE", f"/v2/{base.repository}/manifests/{base.digest}").status == 202
    for platform in platforms:
        delivered = push(workspace, base.reference, fresh(registry), platform=platform)
        _check(registry, workspace, delivered)
        assert fetch(registry, delivered.image).config["architecture"] == platform.partition("/")[2]


def test_zstd_layers_of_an_engine_are_pushed_as_gzip(
    docker_today: Docker,
    registry: Registry,
    busybox_image: Image,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zstandard = pytest.importorskip("zstandard")
    docker_today.use(monkeypatch)
    _keep_blobs(busybox_image, docker_today, registry)
    name = registry.unique("zstd")
    # A layer of its own: of one that it has unpacked already, the engine does not fetch another blob.
    tar = tar_of({"etc/of": name.encode()})
    blob = zstandard.ZstdCompressor().compress(tar)
    built = busybox_image.build(config=_SETTINGS, flavour="oci")
    config, manifest = json.loads(built.config), json.loads(built.manifest)
    del config["history"]
    config["rootfs"]["diff_ids"].append(sha256_digest(tar))
    data = json.dumps(config).encode()
    manifest["config"] |= {"digest": sha256_digest(data), "size": len(data)}
    manifest["layers"].append({"mediaType": OCI_LAYER_ZSTD, "digest": sha256_digest(blob), "size": len(blob)})
    for content in (busybox_image.layers[0].file.read_bytes(), blob, data):
        _put_blob(registry, name, content)
    raw = json.dumps(manifest).encode()
    stored = registry.request("PUT", f"/v2/{name}/manifests/1", raw, {"Content-Type": built.media_type})
    assert stored.status == 201
    docker_today.run("pull", "--quiet", f"{registry.host}/{name}:1")
    assert registry.request("DELETE", f"/v2/{name}/manifests/{sha256_digest(raw)}").status == 202

    delivered = push(workspace, f"{registry.host}/{name}:1", fresh(registry))

    fetched = fetch(registry, delivered.image)
    assert {layer["mediaType"] for layer in fetched.manifest["layers"]} == {DOCKER_LAYER_GZIP}
    assert fetched.config["rootfs"]["diff_ids"][1] == sha256_digest(tar)
    docker_today.run("pull", "--quiet", delivered.image)
    ran = docker_today.run("run", "--rm", "--network", "none", delivered.image, "/bin/cat", "/w/f7")
    assert ran.splitlines() == (Path(next(iter(workspace.projects))) / "f7").read_text().splitlines()


def _put_blob(registry: Registry, repository: str, data: bytes) -> None:
    place = registry.request("POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
    place += ("&" if "?" in place else "?") + f"digest={sha256_digest(data)}"
    assert registry.request("PUT", place, data, {"Content-Type": "application/octet-stream"}).status == 201


def test_the_hooks_of_the_mixin_push_an_image_over_an_engines_base(
    one_engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base, repository = _load(busybox_image, one_engine, registry), fresh(registry)
    cfg = {"image_repo": repository}
    with open_engine() as client:
        mixin, role = DockerWorkspaceMixin(docker_client=client), Role("r", image=base, workspace=workspace)
        mixin.build_workspaces([role], cfg)
        mixin.push_images(mixin.dryrun_push_images(AppDef("app", roles=[role]), cfg))
    _check(registry, workspace, DeliveryResult(role.image))
    assert push(workspace, base, repository).image == role.image


def test_the_command_line_builds_over_it(
    one_engine: Docker, registry: Registry, busybox_image: Image, workspace: Workspace
) -> None:
    base, repository = _load(busybox_image, one_engine, registry), fresh(registry)
    command = ["build", "--image", base, "--image-repo", repository, "--workspace", next(iter(workspace.projects))]
    done = subprocess.run(
        [sys.executable, "-m", "topcoat", *command], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    image, _, digest = done.stdout.strip().partition("@")
    assert fetch(registry, image).digest == digest
    _check(registry, workspace, DeliveryResult(image))
