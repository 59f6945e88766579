"""Which mixtures of media types and compressions which engine pulls and runs: the table of the documentation."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.images import Flavour, Image, Pushed
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.images import fetch, stacked
from tests.support.inside import expected, runner
from tests.support.pushing import fresh, push
from topcoat.destinations.base import DeliveryResult
from topcoat.errors import MissingDependency
from topcoat.oci.compression import Compression, decompressed, find_compressor
from topcoat.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import Workspace

ENGINES = ("docker20", "docker_today", "docker_today_classic", "podman", "containerd")
_DOCUMENTATION = Path(__file__).parents[2] / "docs/images.md"


class Form(NamedTuple):
    """The media types of an image, and the engines that do not take it."""

    manifest: str
    config: str
    base: str
    code: str
    refused_by: tuple[str, ...] = ()


FORMS = {
    "Docker, gzip layers": Form(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LAYER_GZIP),
    "Docker, plain tar layer": Form(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LAYER),
    "OCI, gzip layers": Form(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_GZIP),
    "OCI, plain tar layer": Form(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER),
    "OCI, Docker's types for the base's layers": Form(OCI_MANIFEST, OCI_CONFIG, DOCKER_LAYER_GZIP, OCI_LAYER_GZIP),
    "OCI, zstd layer": Form(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, ("docker20",)),
    "OCI, Docker's types for the base's layers, zstd layer": Form(
        OCI_MANIFEST, OCI_CONFIG, DOCKER_LAYER_GZIP, OCI_LAYER_ZSTD, ("docker20",)
    ),
    "Docker, with an OCI layer": Form(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP, OCI_LAYER_GZIP, ("podman",)),
    "Docker, with an OCI config": Form(DOCKER_MANIFEST, OCI_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LAYER_GZIP),
    "OCI, with a Docker config": Form(OCI_MANIFEST, DOCKER_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_GZIP, ("podman",)),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Docker | Containerd:
    """Each engine in turn."""
    running: Docker | Containerd = request.getfixturevalue(request.param)
    return running


def _name(engine: Docker | Containerd) -> str:
    return engine.name if isinstance(engine, Docker) else "containerd"


def _reads(engine: Docker | Containerd, image: str, path: str) -> str | None:
    """Return what *engine* reads from a file of *image* after a pull, None where it does not take the image."""
    if isinstance(engine, Docker):
        if engine.call("pull", image).returncode:
            return None
        return runner(engine)(image, ["cat", path])
    if engine.ctr.call("--address", engine.address, "images", "pull", "--plain-http", image).returncode:
        return None
    return engine.run("run", "--rm", image, f"c{os.urandom(4).hex()}", "cat", path)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _stored(tar: bytes, media_type: str) -> bytes:
    if media_type == OCI_LAYER_ZSTD:
        compressor = find_compressor("zstd").start()
        return bytes(compressor.compress(tar) + compressor.flush())
    if media_type in (OCI_LAYER, DOCKER_LAYER):
        return tar
    import gzip

    return gzip.compress(tar, mtime=0)


def _code(content: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        directory, file = tarfile.TarInfo("code"), tarfile.TarInfo("code/content")
        directory.type, directory.mode, file.size = tarfile.DIRTYPE, 0o755, len(content)
        archive.addfile(directory)
        archive.addfile(file, io.BytesIO(content.encode()))
    return packed.getvalue()


def _craft(registry: Registry, busybox: Image, form: Form, content: str) -> str:
    """Push busybox with one more layer in this *form*; return the reference."""
    repository = registry.unique("form")
    base, tar = busybox.layers[0].file.read_bytes(), _code(content)
    code = _stored(tar, form.code)
    config = json.loads(busybox.build().config)
    config["rootfs"]["diff_ids"] = [_digest(decompressed(io.BytesIO(base)).read()), _digest(tar)]
    config["history"] = [{"created_by": "base"}, {"created_by": "code"}]
    blobs = {form.config: json.dumps(config).encode()}
    layers = [(form.base, base), (form.code, code)]
    for data in (*blobs.values(), base, code):
        opened = registry.request("POST", f"/v2/{repository}/blobs/uploads/")
        place = opened.headers["location"]
        put = registry.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={_digest(data)}", data)
        assert put.status == 201, put.body
    described: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": form.manifest,
        "config": _descriptor(form.config, blobs[form.config]),
        "layers": [_descriptor(media_type, data) for media_type, data in layers],
    }
    headers = {"Content-Type": form.manifest}
    put = registry.request("PUT", f"/v2/{repository}/manifests/1", json.dumps(described).encode(), headers)
    assert put.status == 201, put.body
    return f"{registry.host}/{repository}:1"


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


@pytest.mark.parametrize("form", FORMS)
def test_an_engine_takes_the_forms_that_the_table_says(
    engine: Docker | Containerd, registry: Registry, busybox_image: Image, form: str
) -> None:
    content = f"{form} in {_name(engine)}"
    image = _craft(registry, busybox_image, FORMS[form], content)
    can_read = _reads(engine, image, "/code/content")
    assert can_read == (None if _name(engine) in FORMS[form].refused_by else content)


def test_the_table_of_the_documentation_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", _DOCUMENTATION.read_text(), re.MULTILINE)
    columns = " | ".join(("Docker 20.10", "Docker today", "Docker today, classic store", "Podman 4.3", "containerd 2"))
    table = dict(rows)
    assert table["image"] == columns
    wanted = {
        form: " | ".join("**no**" if engine in types.refused_by else "yes" for engine in ENGINES)
        for form, types in FORMS.items()
    }
    assert {form: cells for form, cells in table.items() if form in wanted} == wanted


def _types(registry: Registry, image: str) -> tuple[str, str, set[str], set[str]]:
    """Return the media types of a pushed image: manifest, config, the base's layers, the code's."""
    repository, _, tag = image.partition("/")[2].rpartition(":")
    accept = {"Accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"}
    manifest = registry.request("GET", f"/v2/{repository}/manifests/{tag}", headers=accept).json()
    layers = [layer["mediaType"] for layer in manifest["layers"]]
    return manifest["mediaType"], manifest["config"]["mediaType"], set(layers[:1]), set(layers[1:])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("flavour", ["docker", "oci"])
class TestOurOwn:
    """Images as topcoat pushes them, over bases of both flavours."""

    @pytest.fixture
    def image(
        self,
        registry: Registry,
        busybox_image: Image,
        tmp_path: Path,
        flavour: Flavour,
        compression: Compression,
    ) -> str:
        base: Pushed = pushed(registry, busybox_image, flavour=flavour, config={"WorkingDir": "/code"})
        workspace = workspaces.write(tmp_path / "w", {"content": f"{flavour} {compression} {tmp_path}"})
        return push(workspace, base, fresh(registry), compression=compression).image

    def test_has_a_form_that_engines_take(
        self, registry: Registry, image: str, flavour: Flavour, compression: Compression
    ) -> None:
        manifest, config, base, code = _types(registry, image)
        forms = [form for form in FORMS.values() if form[:4] == (manifest, config, *base, *code)]
        assert len(forms) == 1
        assert forms[0].refused_by == (("docker20",) if compression == "zstd" else ())
        assert (manifest == DOCKER_MANIFEST) == (flavour == "docker" and compression == "gzip")

    def test_is_pulled_and_run(
        self, engine: Docker | Containerd, tmp_path: Path, image: str, flavour: Flavour, compression: Compression
    ) -> None:
        wanted = f"{flavour} {compression} {tmp_path}"
        refused = compression == "zstd" and _name(engine) == "docker20"
        assert _reads(engine, image, "/code/content") == (None if refused else wanted)


class TestZstd:
    """The run option ``compression``, in a registry."""

    @pytest.fixture
    def base(self, registry: Registry, busybox_image: Image) -> Pushed:
        return pushed(registry, busybox_image, config={"WorkingDir": "/code"})

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        return workspaces.write(tmp_path / "w", {f"d{n}/f{n}": f"{n} of {tmp_path}\n" * 4000 for n in range(40)})

    def test_an_image_that_not_all_can_pull_has_a_tag_of_its_own(
        self, registry: Registry, base: Pushed, workspace: Workspace
    ) -> None:
        repository = fresh(registry)
        zstd = push(workspace, base, repository, compression="zstd")
        gz = push(workspace, base, repository)
        assert zstd.image != gz.image
        assert gz.layers > 0
        assert fetch(registry, zstd.image, skip=1).layers[1:] == fetch(registry, gz.image, skip=1).layers[1:]
        assert push(workspace, base, repository, compression="zstd") == DeliveryResult(zstd.image, zstd.digest)

    def test_any_machine_makes_the_same_image(
        self,
        registry: Registry,
        base: Pushed,
        workspace: Workspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = push(workspace, base, fresh(registry), compression="zstd")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
        assert push(workspace, base, fresh(registry), compression="zstd").digest == first.digest

    def test_an_edit_travels_in_one_small_layer(self, registry: Registry, base: Pushed, workspace: Workspace) -> None:
        repository = fresh(registry)
        push(workspace, base, repository, compression="zstd")
        workspaces.edit(workspace, "d7/f7")
        edited = push(workspace, base, repository, compression="zstd")
        assert edited.layers == 1
        layers = fetch(registry, edited.image, skip=1).layers[1:]
        assert stacked(layers, "/code") == expected(scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot)

    def test_without_the_library_nothing_is_asked_or_sent(
        self, registry: Registry, base: Pushed, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository = fresh(registry)
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with registry.recording() as log, pytest.raises(MissingDependency, match="zstandard package") as raised:
            push(workspace, base, repository, compression="zstd")
        assert raised.value.hint == "pip install 'topcoat[zstd]'"
        assert len(log) == 0
