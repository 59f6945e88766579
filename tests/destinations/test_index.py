"""Images for every platform of a base: the new index, what is shared, and what is left behind."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from docker import DockerClient

from tests.components.daemons import Docker
from tests.components.host import Tool
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.fake_bases import layer
from tests.support.images import fetch, stacked
from tests.support.inside import expected
from tests.support.pushing import fresh, plan, push
from topcoat.bases.base import ALL_PLATFORMS
from topcoat.errors import InvalidImage, InvalidRunConfigException, NoSuchPlatform
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import canonical_json, sha256_digest
from topcoat.oci.manifest import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST, Manifest
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, ScanOptions, scan
from topcoat.specs import AppDef, Role, Workspace
from topcoat.testing.registry import FakeRegistry
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

_AMD, _ARM = "linux/amd64", "linux/arm64"
_SETTINGS = {"config": {"WorkingDir": "/w", "Env": ["A=b"]}}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {f"f{number}": f"{number}\n" * 9000 for number in range(60)})


def _tar(name: str) -> bytes:
    return gzip.decompress(layer({"etc": None, f"etc/{name.replace('/', '-')}": name.encode()}))


def _image(fake: FakeRegistry, platform: str, *, repository: str = "base", **options: Any) -> Descriptor:
    options = {"config": _SETTINGS, "layers": (_tar("shared"), _tar(platform)), "oci": True, **options}
    return fake.add_image(repository, platform=platform, **options)


def _attestation(fake: FakeRegistry, subject: Descriptor) -> Descriptor:
    entry = _image(fake, _AMD, layers=(b"in-toto",))
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.digest}
    unknown = {"os": "unknown", "architecture": "unknown"}
    return entry._replace(extra={"platform": unknown, "annotations": annotations})


def _base(fake: FakeRegistry, *platforms: str, oci: bool = True) -> str:
    entries = [_image(fake, platform, oci=oci) for platform in platforms or (_AMD, _ARM)]
    fake.add_index("base", "1", [*entries, _attestation(fake, entries[0])], oci=oci)
    return f"{fake.host}/base:1"


def _index(fake: FakeRegistry, image: str) -> dict[str, Any]:
    repository, _, tag = image.partition("/")[2].rpartition(":")
    return fake.manifest(repository, tag)


def _by_platform(fake: FakeRegistry, image: str) -> dict[str, str]:
    """Return each platform of an index and the name of its image, under a tag made for the purpose."""
    repository, found = image.partition("/")[2].rpartition(":")[0], {}
    for entry in _index(fake, image)["manifests"]:
        tag = f"of-{entry['digest'][7:20]}"
        fake.repositories[repository].tags[tag] = entry["digest"]
        found[f"{entry['platform']['os']}/{entry['platform']['architecture']}"] = f"{fake.host}/{repository}:{tag}"
    return found


def test_every_platform_is_patched(fake: FakeRegistry, workspace: Workspace) -> None:
    delivered = push(workspace, _base(fake), f"{fake.host}/app", platform="all")

    index = _index(fake, delivered.image)
    assert index["mediaType"] == OCI_INDEX
    assert fake.repositories["app"].tags[delivered.image.rpartition(":")[2]] == delivered.digest
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64"},
    ]
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES)).snapshot
    layers = []
    for entry, name in zip(index["manifests"], _by_platform(fake, delivered.image).values(), strict=True):
        fetched = fetch(fake, name, skip=2)
        assert len(fetched.raw) == entry["size"]
        assert fetched.config["architecture"] == entry["platform"]["architecture"]
        assert fetched.config["config"]["WorkingDir"] == "/w"
        assert stacked(fetched.layers[2:], "/w") == expected(snapshot)
        layers.append([layer["digest"] for layer in fetched.manifest["layers"][2:]])
    assert layers[0] == layers[1]
    assert delivered.layers == len(layers[0])


def test_nothing_changed_is_one_round_trip(fake: FakeRegistry, workspace: Workspace) -> None:
    base = _base(fake)
    first = push(workspace, base, f"{fake.host}/app", platform="all")
    fake.requests.clear()
    again = push(workspace, base, f"{fake.host}/app", platform="all")
    assert sorted(request.method for request in fake.requests) == ["HEAD", "HEAD"]
    assert (again.image, again.digest, again.sent) == (first.image, first.digest, 0)


def test_an_edit_sends_one_layer_and_what_names_it(fake: FakeRegistry, workspace: Workspace) -> None:
    base = _base(fake)
    push(workspace, base, f"{fake.host}/app", platform="all")
    workspaces.edit(workspace, "f7")
    fake.requests.clear()
    delivered = push(workspace, base, f"{fake.host}/app", platform="all")
    kinds = [(request.method, "manifests" in request.path) for request in fake.requests]
    assert sorted(kinds) == [("HEAD", True)] * 3 + [("POST", False)] * 3 + [("PUT", False)] * 3 + [("PUT", True)] * 3
    assert kinds[-3:] == [("PUT", True)] * 3
    assert delivered.layers == 1
    assert len(_index(fake, delivered.image)["manifests"]) == 2


def test_the_tag_depends_on_all_platforms_and_not_on_their_order(
    fake: FakeRegistry, workspace: Workspace, tmp_path: Path
) -> None:
    def tag(*platforms: str, wanted: str = "all") -> str:
        return plan(workspace, _base(fake, *platforms), f"{fake.host}/app", platform=wanted).planned.tag

    both = tag(_AMD, _ARM)
    assert tag(_ARM, _AMD) == both
    assert tag(_AMD, _ARM, "linux/s390x") != both
    assert both not in (tag(_AMD, _ARM, wanted=_AMD), tag(_AMD, _ARM, wanted=_ARM), tag(_AMD, _ARM, wanted=""))
    workspaces.edit(workspace, "f7")
    assert tag(_AMD, _ARM) != both


def test_a_platform_that_changes_is_noticed(fake: FakeRegistry, workspace: Workspace) -> None:
    first = push(workspace, _base(fake), f"{fake.host}/app", platform="all")
    entries = [_image(fake, _AMD), _image(fake, _ARM, layers=(_tar("shared"), _tar("new")))]
    fake.add_index("base", "1", entries)
    second = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
    assert second.image != first.image
    assert second.layers == 0


@pytest.mark.parametrize("form", ["manifest", "index of one", "index of one and its attestation"])
def test_a_base_for_one_platform_gives_a_plain_image(fake: FakeRegistry, workspace: Workspace, form: str) -> None:
    if form == "manifest":
        fake.add_image("base", "1", config=_SETTINGS)
    else:
        entry = _image(fake, _ARM)
        extra = [_attestation(fake, entry)] if "attestation" in form else []
        fake.add_index("base", "1", [entry, *extra])
    whole = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
    assert "layers" in _index(fake, whole.image)
    fake.requests.clear()
    assert push(workspace, f"{fake.host}/base:1", f"{fake.host}/app").digest == whole.digest


def test_dockers_flavour_stays(fake: FakeRegistry, workspace: Workspace) -> None:
    delivered = push(workspace, _base(fake, oci=False), f"{fake.host}/app", platform="all")
    index = _index(fake, delivered.image)
    assert index["mediaType"] == DOCKER_INDEX
    assert {"docker" in entry["mediaType"] for entry in index["manifests"]} == {True}


def test_nothing_that_describes_the_old_images_goes_over(fake: FakeRegistry, workspace: Workspace) -> None:
    stored = _image(fake, _AMD)
    manifest = fake.manifest("base", stored.digest)
    subject = {"mediaType": OCI_MANIFEST, "digest": stored.digest, "size": stored.size}
    data = canonical_json({**manifest, "subject": subject, "annotations": {"kept": "yes"}})
    signed = fake.store_manifest("base", "", data, OCI_MANIFEST)
    extra = {
        "platform": {"os": "linux", "architecture": "amd64", "os.features": ["x"]},
        "annotations": {"vnd.docker.reference.digest": stored.digest, "mine": "kept"},
        "data": "e30=",
        "urls": ["http://127.0.0.1:1/old"],
        "artifactType": "a/b",
    }
    fake.add_index("base", "1", [signed._replace(extra=extra), _image(fake, _ARM)])
    delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
    first = _index(fake, delivered.image)["manifests"][0]
    assert first.keys() == {"mediaType", "digest", "size", "platform", "annotations"}
    assert first["platform"] == extra["platform"]
    assert first["annotations"] == {"mine": "kept"}
    patched = fake.manifest("app", first["digest"])
    assert "subject" not in patched
    assert patched["annotations"] == {"kept": "yes"}


def test_annotations_of_the_index_stay(fake: FakeRegistry, workspace: Workspace) -> None:
    entries = [_image(fake, platform).to_json() for platform in (_AMD, _ARM)]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "annotations": {"team": "blue"}}
    subject = {**entries[0], "platform": {}}
    fake.store_manifest("base", "1", canonical_json({**document, "subject": subject}), OCI_INDEX)
    for _ in range(2):
        delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
        index = _index(fake, delivered.image)
        assert index["annotations"] == {"team": "blue"}
        assert "subject" not in index
        workspaces.edit(workspace, "f3")


def test_what_is_no_image_for_code_is_left_out(fake: FakeRegistry, workspace: Workspace) -> None:
    artifact = Manifest.build(
        media_type=OCI_MANIFEST, config=fake.add_blob("base", b"{}", "application/vnd.oci.empty.v1+json"), layers=[]
    )
    chart = fake.store_manifest("base", "", artifact, OCI_MANIFEST)
    windows = [
        _image(fake, "windows/amd64", layers=(_tar("windows"), version))._replace(
            extra={"platform": {"os": "windows", "architecture": "amd64", "os.version": version.decode()}}
        )
        for version in (b"10.0.1", b"10.0.2")
    ]
    twice = _image(fake, _AMD, layers=(_tar("the second one"),))
    nested = fake.add_index("base", "", [_image(fake, "linux/ppc64le"), _image(fake, "linux/riscv64")])
    fake.add_index("base", "1", [chart, *windows, _image(fake, _AMD), _image(fake, _ARM), twice, nested])
    delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
    assert list(_by_platform(fake, delivered.image)) == [_AMD, _ARM, "linux/ppc64le", "linux/riscv64"]
    first = fetch(fake, _by_platform(fake, delivered.image)[_AMD], skip=2)
    assert first.config["rootfs"]["diff_ids"][:2] == [sha256_digest(_tar(name)) for name in ("shared", _AMD)]

    fake.add_index("base", "2", windows)
    with pytest.raises(NoSuchPlatform, match="no image that code can be laid over"):
        push(workspace, f"{fake.host}/base:2", f"{fake.host}/app", platform="all")
    fake.store_manifest("base", "3", artifact, OCI_MANIFEST)
    with pytest.raises(InvalidImage, match="not a container image"):
        push(workspace, f"{fake.host}/base:3", f"{fake.host}/app", platform="all")


def test_indexes_without_end_are_refused(fake: FakeRegistry, workspace: Workspace) -> None:
    inner = fake.add_index("base", "", [_image(fake, _AMD), _image(fake, _ARM)])
    for _ in range(4):
        inner = fake.add_index("base", "1", [inner])
    with pytest.raises(InvalidImage, match="nested more than 3 deep"):
        push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")


def test_each_platform_lands_where_its_base_works(fake: FakeRegistry, workspace: Workspace) -> None:
    entries = [
        _image(fake, platform, config={"config": {"WorkingDir": directory}})
        for platform, directory in ((_AMD, "/w"), (_ARM, "/srv/app"))
    ]
    fake.add_index("base", "1", entries)
    snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES))
    for edit in range(2):
        delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
        images = _by_platform(fake, delivered.image)
        snapshot = scan(workspace, ScanOptions(IMAGE_IGNORE_FILES))
        for platform, directory in ((_AMD, "/w"), (_ARM, "/srv/app")):
            fetched = fetch(fake, images[platform], skip=2)
            assert stacked(fetched.layers[2:], directory) == expected(snapshot.snapshot)
            assert f"WORKSPACE_DIR={directory}" in fetched.config["config"]["Env"]
        if edit:
            assert delivered.layers == 2
        workspaces.edit(workspace, "f7")


def test_each_platform_keeps_the_directories_of_its_base(fake: FakeRegistry, workspace: Workspace) -> None:
    wanted = {_AMD: (0o755, 0), _ARM: (0o700, 5)}
    entries = []
    for platform, (mode, uid) in wanted.items():
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("w")
            member.type, member.mode, member.uid = tarfile.DIRTYPE, mode, uid
            archive.addfile(member)
        entries.append(_image(fake, platform, layers=(_tar("shared"), packed.getvalue())))
    fake.add_index("base", "1", entries)
    delivered = push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all")
    for platform, name in _by_platform(fake, delivered.image).items():
        for members in fetch(fake, name, skip=2).code(2):
            members_by_name = {member.name: (member.mode, member.uid) for member in members}
            assert members_by_name["w"] == wanted[platform]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_base_layers_of_every_platform_are_brought_once(workspace: Workspace, elsewhere: bool) -> None:
    with FakeRegistry() as source, FakeRegistry() as other:
        target = other if elsewhere else source
        delivered = push(workspace, _base(source), f"{target.host}/app", platform="all")
        for image in _by_platform(target, delivered.image).values():
            fetch(target, image)
        mounts = [request.path for request in source.requests if "mount=" in request.path]
        # One layer is common to both, and each has one of its own.
        assert len(mounts) == (0 if elsewhere else 3)


def test_a_lost_blob_is_sent_again(fake: FakeRegistry, workspace: Workspace) -> None:
    base = _base(fake)
    first = push(workspace, base, f"{fake.host}/app", platform="all")
    image = _by_platform(fake, first.image)[_ARM]
    fake.lose_blob(fetch(fake, image, skip=2).manifest["layers"][-1]["digest"])
    workspaces.edit(workspace, "f7")
    delivered = push(workspace, base, f"{fake.host}/app", platform="all")
    for name in _by_platform(fake, delivered.image).values():
        fetch(fake, name)


def test_what_is_packed_ahead_has_the_indexs_digest_as_its_id(fake: FakeRegistry, workspace: Workspace) -> None:
    base, repository = _base(fake), f"{fake.host}/app"
    mixin, role = DockerWorkspaceMixin(), Role("r", image=base, workspace=workspace)
    cfg = {"image_repo": repository, "platform": "all"}
    mixin.build_workspaces([role], cfg)
    image_id = role.image
    app = AppDef("app", roles=[role])
    images = mixin.dryrun_push_images(app, cfg)
    assert fake.repositories.get("app") is None or not fake.repositories["app"].tags
    for _ in range(2):
        mixin.push_images(images)
        assert fake.repositories["app"].tags[role.image.rpartition(":")[2]] == image_id
    assert push(workspace, base, repository, platform="all").image == role.image


def test_a_plan_of_the_mixin_is_carried_out(fake: FakeRegistry, workspace: Workspace) -> None:
    mixin, role = DockerWorkspaceMixin(), Role("r", image=_base(fake), workspace=workspace)
    plan = mixin.plan_workspaces([role], {"image_repo": f"{fake.host}/app", "platform": "all"})
    assert plan is not None
    plan.carry_out()
    assert len(_index(fake, role.image)["manifests"]) == 2


class TestAllPlatformsAreRefused:
    """Says so before anything is done."""

    def test_an_engine_refuses_all_platforms(self, fake: FakeRegistry, workspace: Workspace) -> None:
        client = cast(DockerClient, object())
        with pytest.raises(InvalidRunConfigException, match="platform=all") as raised:
            plan(workspace, _base(fake), client=client, platform=ALL_PLATFORMS)
        assert "image_repo" in (raised.value.hint or "")

    def test_a_dockerfile_refuses_all_platforms(self, fake: FakeRegistry, tmp_path: Path) -> None:
        workspace = workspaces.write(tmp_path / "w", {"Dockerfile.torchx": "ARG IMAGE\nFROM $IMAGE\nRUN true\n"})
        role = Role("r", image=_base(fake), workspace=workspace)
        with pytest.raises(InvalidRunConfigException, match=r"Dockerfile\.torchx") as raised:
            DockerWorkspaceMixin().plan_workspaces([role], {"image_repo": f"{fake.host}/app", "platform": "all"})
        assert raised.value.hint


def test_real_registries_tools_and_engines_take_it(
    any_registry: Registry,
    python_image: Image,
    docker_today: Docker,
    skopeo: Tool,
    crane: Tool,
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    base = python_image.push(
        any_registry, any_registry.unique("multi"), "1", config={"WorkingDir": "/w"}, platforms=(_AMD, _ARM)
    )
    repository = fresh(any_registry)
    first = push(workspace, base, repository, platform="all")
    with any_registry.recording() as log:
        assert push(workspace, base, repository, platform="all").digest == first.digest
    assert [exchange.method for exchange in log] == ["HEAD", "HEAD"]
    workspaces.edit(workspace, "f7")
    delivered = push(workspace, base, repository, platform="all")

    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{delivered.image}"))
    assert [entry["platform"]["architecture"] for entry in raw["manifests"]] == ["amd64", "arm64"]
    assert crane("digest", "--insecure", delivered.image).strip() == delivered.digest
    crane("validate", "--insecure", "--remote", delivered.image)
    for architecture in ("amd64", "arm64"):
        docker_today.run("pull", "--quiet", "--platform", f"linux/{architecture}", delivered.image)
        output = docker_today.run("image", "inspect", "--platform", f"linux/{architecture}", delivered.image)
        assert json.loads(output)[0]["Architecture"] == architecture
    ran = docker_today.run("run", "--rm", "--network", "none", "--platform", _AMD, delivered.image, "cat", "f7")
    assert ran.strip() == (tmp_path / "w/f7").read_text().strip()
