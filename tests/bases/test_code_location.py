"""Where code lands in a base: directories stay as they are, links are followed, and nothing is looked at twice."""

from __future__ import annotations

import contextlib
import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.images import Fetched, fetch
from tests.support.inside import runner
from tests.support.layers import add_layers, image, layer_gets, packed, tar
from tests.support.pushing import fresh, load, plan, push
from topcoat.bases.base import FoundBase
from topcoat.bases.registry_bases import RegistryBases
from topcoat.errors import InvalidImage, PathConflict
from topcoat.images.tag import IDENTITY_LABEL
from topcoat.oci.digest import sha256_digest
from topcoat.specs import Workspace
from topcoat.state import cache_dir
from topcoat.testing.registry import FakeRegistry

_USR_MERGED = ("dir usr", "dir usr/bin", "dir usr/lib", "link bin -> usr/bin", "link lib -> usr/lib", "dir etc")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspaces.write(tmp_path / "w", {"train.py": "pass\n", "pkg/mod.py": "pass\n"})


def _build(workspace: Workspace, base: str, fake: FakeRegistry, layers: int = 1, **options: Any) -> Fetched:
    return fetch(fake, push(workspace, base, f"{fake.host}/app", **options).image, skip=layers)


def _parents(fetched: Fetched, layers: int = 1) -> list[str]:
    """Return the directories that come before the code, as ``name mode uid:gid``."""
    collected = []
    for member in fetched.code(layers)[0]:
        if member.name.endswith(("train.py", "pkg")):
            break
        collected.append(f"{member.name} {member.mode:o} {member.uid}:{member.gid}")
    return collected


@pytest.mark.parametrize(
    ("lines", "working_dir", "parents"),
    [
        (["dir app"], "/app", ["app 755 0:0"]),
        (["dir home", "dir home/me 0700 1000:1001"], "/home/me", ["home 755 0:0", "home/me 700 1000:1001"]),
        (["dir home/me 0700 1000:1001"], "/home/me/x", ["home 755 0:0", "home/me 700 1000:1001", "home/me/x 755 0:0"]),
        (["dir tmp 1777"], "/tmp/run", ["tmp 1777 0:0", "tmp/run 755 0:0"]),
        (["dir srv 2775 0:50"], "/srv", ["srv 2775 0:50"]),
        (["dir data 0711 5:6", "link app -> /data"], "/app", ["data 711 5:6"]),
        (["dir a", "dir a/b 0700", "link a/to -> b", "link app -> a/to"], "/app/", ["a 755 0:0", "a/b 700 0:0"]),
        ([*_USR_MERGED], "/lib/code", ["usr 755 0:0", "usr/lib 755 0:0", "usr/lib/code 755 0:0"]),
        (["link app -> not/there"], "/app", ["not 755 0:0", "not/there 755 0:0"]),
        (["link app -> /"], "/app", []),
        (["dir etc"], "", []),
    ],
)
def test_the_way_there_is_left_as_the_base_has_it(
    fake: FakeRegistry, workspace: Workspace, lines: list[str], working_dir: str, parents: list[str]
) -> None:
    base = add_layers(fake, packed(*lines), WorkingDir=working_dir, User="1000:1000")
    fetched = _build(workspace, base, fake)
    assert _parents(fetched) == parents
    settings = fetched.config["config"]
    # The code is called by the name that the base gives it, wherever that leads.
    assert settings["WorkingDir"] == ("/" + working_dir.strip("/"))
    assert f"WORKSPACE_DIR={settings['WorkingDir']}" in settings["Env"]
    assert settings["Labels"]["dev.topcoat.target"] == "/" + (parents[-1].split()[0] if parents else "")
    assert settings["User"] == "1000:1000"
    code = [member for member in fetched.code(1)[0] if member.name.endswith(("train.py", "pkg", "mod.py"))]
    assert {(member.uid, member.gid) for member in code} == {(0, 0)}


def test_a_directory_is_as_the_layers_make_it_together(fake: FakeRegistry, workspace: Workspace) -> None:
    lower = packed("dir app 0700 1:1", "dir gone 0700 1:1", "dir swapped 0700 1:1", "dir opaque 0700 1:1")
    upper = packed("file app/f", "file .wh.gone", "link swapped -> app", "file opaque/.wh..wh..opq", "file opaque/f")
    base = add_layers(fake, lower, upper, WorkingDir="/app")
    for directory, parents in (
        ("/app", ["app 700 1:1"]),
        ("/gone/x", ["gone 755 0:0", "gone/x 755 0:0"]),
        ("/swapped", ["app 700 1:1"]),
        ("/opaque", ["opaque 700 1:1"]),
    ):
        assert _parents(_build(workspace, base, fake, 2, workspace_dir=directory), 2) == parents


def test_new_directories_belong_to_whom_the_code_belongs_to(fake: FakeRegistry, workspace: Workspace) -> None:
    base = add_layers(fake, packed("dir srv 0711 5:6"), WorkingDir="/srv/new/code")
    assert _parents(_build(workspace, base, fake, chown="1000:100")) == [
        "srv 711 5:6",
        "srv/new 755 1000:100",
        "srv/new/code 755 1000:100",
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["file app"], "/app of the base image is a file"),
        (["file f", "link app -> f/x"], "/f of the base image is a file"),
        (["link app -> loop", "link loop -> /app"], "too many links"),
    ],
)
def test_a_target_that_cannot_be_a_directory_is_an_error(
    fake: FakeRegistry, workspace: Workspace, lines: list[str], problem: str
) -> None:
    with pytest.raises(InvalidImage, match=problem):
        _build(workspace, add_layers(fake, packed(*lines), WorkingDir="/app"), fake)


class TestCollisions:
    @pytest.mark.parametrize(
        ("there", "problem"),
        [
            ("link app/pkg -> /usr", "cannot copy to non-directory: /app/pkg is a link to /usr"),
            ("file app/pkg", "cannot copy to non-directory: /app/pkg is a file"),
            ("dir app/train.py", "cannot replace the directory /app/train.py"),
        ],
    )
    def test_what_a_build_refuses_is_refused(
        self, fake: FakeRegistry, workspace: Workspace, there: str, problem: str
    ) -> None:
        base = add_layers(fake, packed("dir app", there), WorkingDir="/app")
        for _ in range(2):  # the second time from memory
            with pytest.raises(PathConflict, match=problem):
                _build(workspace, base, fake)
        assert [request.method for request in fake.requests if request.method not in ("GET", "HEAD")] == []

    @pytest.mark.parametrize("there", ["link app/train.py -> /usr", "file app/train.py", "dir app/pkg 0700"])
    def test_what_a_build_replaces_or_merges_is_not(self, fake: FakeRegistry, workspace: Workspace, there: str) -> None:
        _build(workspace, add_layers(fake, packed("dir app", there), WorkingDir="/app"), fake)

    def test_a_path_that_a_layer_deletes_is_not_a_collision(self, fake: FakeRegistry, workspace: Workspace) -> None:
        base = add_layers(fake, packed("dir app", "file app/pkg"), packed("file app/.wh.pkg"), WorkingDir="/app")
        _build(workspace, base, fake, 2)


class TestTheRoot:
    """A base without a working directory: the links at its top are its programs' way."""

    def test_links_there_are_not_replaced(self, fake: FakeRegistry, tmp_path: Path) -> None:
        base = add_layers(fake, packed(*_USR_MERGED))
        with pytest.raises(PathConflict, match="/bin is a link to usr/bin in the base image") as raised:
            _build(workspaces.write(tmp_path / "w", {"bin/tool": ""}), base, fake)
        assert raised.value.hint
        assert "workspace_dir" in raised.value.hint

    def test_directories_there_are_merged(self, fake: FakeRegistry, tmp_path: Path) -> None:
        base = add_layers(fake, packed(*_USR_MERGED))
        fetched = _build(workspaces.write(tmp_path / "w", {"usr/bin/tool": "", "new/f": ""}), base, fake)
        assert fetched.config["config"]["WorkingDir"] == "/"
        assert [member.name for member in fetched.code(1)[0]] == ["new", "new/f", "usr", "usr/bin", "usr/bin/tool"]

    def test_a_file_takes_the_place_of_a_link_and_not_of_a_directory(self, fake: FakeRegistry, tmp_path: Path) -> None:
        base = add_layers(fake, packed(*_USR_MERGED))
        _build(workspaces.write(tmp_path / "w", {"bin": "", "f": ""}), base, fake)
        with pytest.raises(PathConflict, match="cannot replace the directory /usr"):
            _build(workspaces.write(tmp_path / "w2", {"usr": "", "f": ""}), base, fake)

    @pytest.mark.parametrize("limit", [0, 1])
    def test_the_limit_does_not_hold_and_that_is_said_once(
        self, fake: FakeRegistry, workspace: Workspace, notices: list[str], limit: int
    ) -> None:
        layer = gzip.compress(tar(*_USR_MERGED, f"file noise = {random.Random(1).randbytes(2_000_000).hex()}"))
        base = add_layers(fake, layer)
        for _ in range(2):
            _build(workspace, base, fake, base_scan_limit=limit)
        assert layer_gets(fake, layer) == [1]
        lines = [line for line in notices if "workspace_dir" in line]
        assert len(lines) == 1
        assert "reading up to 2 MB" in lines[0]

    def test_a_new_directory_is_looked_for_and_an_edit_is_not(
        self, fake: FakeRegistry, workspace: Workspace, tmp_path: Path
    ) -> None:
        layer = packed(*_USR_MERGED)
        base = add_layers(fake, layer)
        _build(workspace, base, fake)
        workspaces.edit(workspace, "pkg/mod.py")
        (tmp_path / "w/pkg/sub").mkdir()
        _build(workspace, base, fake)
        assert layer_gets(fake, layer) == [1]
        (tmp_path / "w/lib").mkdir()
        with pytest.raises(PathConflict, match="/lib"):
            _build(workspace, base, fake)

    def test_a_layer_that_cannot_be_read_is_an_error(
        self, fake: FakeRegistry, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = add_layers(fake, packed(*_USR_MERGED))
        planned = plan(workspace, base, f"{fake.host}/app", workspace_dir="/app").planned.images[0].base
        foreign = planned.manifest.layers[0]._replace(media_type="application/vnd.example.encrypted")
        config = planned.config._replace(document={**planned.config.document, "rootfs": {"diff_ids": ["sha256:f"]}})
        changed = planned._replace(manifest=planned.manifest._replace(layers=(foreign,)), config=config)
        monkeypatch.setattr(RegistryBases, "find", lambda *_: FoundBase(changed, lambda: changed))
        with pytest.raises(InvalidImage, match="cannot be read, so its /pkg may be a link") as raised:
            plan(workspace, base, f"{fake.host}/app")
        assert raised.value.hint


class TestTheLimit:
    _LINES = ("dir app 0700 5:6", "dir app/data")

    def _base(self, fake: FakeRegistry) -> tuple[str, bytes, bytes]:
        upper = gzip.compress(tar(f"file noise = {random.Random(2).randbytes(1_500_000).hex()}"))
        lower = packed(*self._LINES)
        return add_layers(fake, lower, upper, WorkingDir="/app/data"), lower, upper

    def test_what_lies_beyond_it_is_taken_for_roots_and_said(
        self, fake: FakeRegistry, workspace: Workspace, notices: list[str]
    ) -> None:
        base, lower, upper = self._base(fake)
        tags = []
        for _ in range(2):
            notices.clear()
            delivered = push(workspace, base, f"{fake.host}/app", base_scan_limit=1)
            lines = [line for line in notices if "base_scan_limit" in line]
            assert len(lines) == 1
            assert "/app, /app/data of" in lines[0]
            assert "0755" in lines[0]
            tags.append(delivered.image)
        assert tags[0] == tags[1]
        assert layer_gets(fake, lower, upper) == [0, 1]
        assumed = fetch(fake, tags[0], skip=2)
        assert _parents(assumed, 2) == ["app 755 0:0", "app/data 755 0:0"]

        built = _build(workspace, base, fake, 2, base_scan_limit=2)
        assert _parents(built, 2) == ["app 700 5:6", "app/data 755 0:0"]
        assert built.digest != assumed.digest

    def test_zero_looks_at_nothing_and_says_nothing(
        self, fake: FakeRegistry, workspace: Workspace, notices: list[str]
    ) -> None:
        base, lower, upper = self._base(fake)
        image = push(workspace, base, f"{fake.host}/app", base_scan_limit=0).image
        assert layer_gets(fake, lower, upper) == [0, 0]
        assert [line for line in notices if "base_scan" in line] == []
        assert _parents(fetch(fake, image, skip=2), 2) == ["app 755 0:0", "app/data 755 0:0"]


class TestMemory:
    def test_a_base_is_looked_at_once(self, fake: FakeRegistry, workspace: Workspace) -> None:
        lower, upper = packed("dir app 0700 5:6"), packed("dir other")
        base = add_layers(fake, lower, upper, WorkingDir="/app")
        plan(workspace, base, f"{fake.host}/app")
        assert layer_gets(fake, lower, upper) == [1, 1]
        workspaces.edit(workspace, "train.py")
        push(workspace, base, f"{fake.host}/app")
        push(workspace, base, f"{fake.host}/app")
        push(workspace, base, f"{fake.host}/other")
        # Mounting a layer is no download.
        assert layer_gets(fake, lower, upper) == [1, 1]

    def test_a_base_by_digest_needs_no_request(self, fake: FakeRegistry, workspace: Workspace) -> None:
        name = add_layers(fake, packed("dir app"), WorkingDir="/app").removesuffix(":1")
        base = f"{name}@{fake.repositories['base'].tags['1']}"
        first = plan(workspace, base, f"{fake.host}/app")
        fake.requests.clear()
        assert plan(workspace, base, f"{fake.host}/app").image == first.image
        assert fake.requests == []

    def test_what_is_remembered_may_be_lost_or_damaged(self, fake: FakeRegistry, workspace: Workspace) -> None:
        layer = packed("dir app 0700 5:6", "file app/f")
        base = add_layers(fake, layer, WorkingDir="/app")
        first = plan(workspace, base, f"{fake.host}/app")
        for file in cache_dir("trees").iterdir():
            file.write_bytes(b"damaged")
        assert plan(workspace, base, f"{fake.host}/app").image == first.image
        for file in cache_dir("trees").iterdir():
            file.unlink()
        assert plan(workspace, base, f"{fake.host}/app").image == first.image
        assert layer_gets(fake, layer) == [3]

    def test_a_base_that_moves_is_looked_at_anew(self, fake: FakeRegistry, workspace: Workspace) -> None:
        base = add_layers(fake, packed("dir app 0700 5:6"), WorkingDir="/app")
        assert _parents(_build(workspace, base, fake)) == ["app 700 5:6"]
        add_layers(fake, packed("dir app 0711 7:8"), WorkingDir="/app")
        assert _parents(_build(workspace, base, fake)) == ["app 711 7:8"]

    def test_what_the_parents_are_decides_the_tag(self, fake: FakeRegistry, workspace: Workspace) -> None:
        tags = set()
        for lines in (["dir app"], ["dir app 0700"], ["dir app 0755 1:0"], ["link app -> /new"], ["link app -> /"]):
            base = add_layers(fake, packed(*lines), WorkingDir="/app")
            tags.add(plan(workspace, base, f"{fake.host}/app").image)
        assert len(tags) == 5


def test_each_platform_of_an_index_has_directories_of_its_own(fake: FakeRegistry, workspace: Workspace) -> None:
    entries = []
    for platform, mode in (("linux/amd64", "0700"), ("linux/arm64", "0711"), ("linux/s390x", "0700")):
        data = tar(f"dir app {mode}", f"file of = {platform}")
        config = {"config": {"WorkingDir": "/app"}, "rootfs": {"type": "layers", "diff_ids": [sha256_digest(data)]}}
        entries.append(fake.add_image("base", layers=[gzip.compress(data)], config=config, platform=platform))
    fake.add_index("base", "1", entries)
    planned = plan(workspace, f"{fake.host}/base:1", f"{fake.host}/app", platform="all").planned
    modes = {
        str(each_image.base.config.platform): [parent.mode for parent in each_image.pack.parents]
        for each_image in planned.images
    }
    assert modes == {"linux/amd64": [0o700], "linux/arm64": [0o711], "linux/s390x": [0o700]}


def test_of_a_base_in_a_registry_no_more_is_read_than_it_takes(
    registry: Registry, workspace: Workspace, tmp_path: Path
) -> None:
    noise = random.Random(3).randbytes(3 << 20).hex()
    base = image(tmp_path, tar(f"file noise = {noise}"), tar("dir srv", "dir srv/app 2775 7:8")).push(
        registry, registry.unique("base"), "1", config={"WorkingDir": "/srv/app"}
    )
    with registry.recording() as log:
        delivered = push(workspace, base, base.name)
    assert log.received < 50_000
    assert _parents(fetch(registry, delivered.image, skip=2), 2) == ["srv 755 0:0", "srv/app 2775 7:8"]
    blobs = [exchange for exchange in log if exchange.method == "GET" and "/blobs/" in exchange.path]
    # The config, and the layer on top.
    assert len(blobs) == 2

    workspaces.edit(workspace, "train.py")
    with registry.recording() as log:
        push(workspace, base, base.name)
    assert log.count("GET") == 0


_ODD = (
    "dir home",
    "dir home/user 0700 1000:1000",
    "dir home/user/kept 0750 1000:7",
    "dir tmp 1777",
    "dir srv 2775 0:50",
    "dir data",
    "dir data/code 0711 1000:50",
    "link app -> /data/up",
    "link data/up -> ./code",
)
_PLACES = {
    "/home/user": ["/home", "/home/user", "/home/user/kept"],
    "/tmp/code": ["/tmp"],
    "/srv/new/code": ["/srv"],
    "/app": ["/data", "/data/code", "/data/up", "/app"],
}


@pytest.fixture(scope="module")
def odd_image(busybox_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return image(tmp_path_factory.mktemp("odd"), tar(*_ODD), below=busybox_image, User="1000:1000")


def _stat(engine: Docker | Containerd, name: str, paths: list[str]) -> list[str]:
    output = runner(engine)(name, ["stat", "-c", "%n %F %a %u %g", *paths])
    return [line.strip() for line in output.splitlines() if line.strip()]


def _check_place(engine: Docker | Containerd, base: str, built: str, place: str) -> None:
    before = _stat(engine, base, _PLACES[place])
    assert len(before) == len(_PLACES[place])
    assert _stat(engine, built, _PLACES[place]) == before
    (train,) = _stat(engine, built, [f"{place}/train.py"])
    assert train == f"{place}/train.py regular file 644 0 0"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *[("docker20", place) for place in _PLACES],
        *[(name, "/home/user") for name in ("docker_today", "docker_today_classic", "podman", "containerd")],
    ],
)
def test_containers_see_the_directories_of_the_base_as_they_were(
    request: pytest.FixtureRequest, name: str, registry: Registry, odd_image: Image, workspace: Workspace, place: str
) -> None:
    engine: Docker | Containerd = request.getfixturevalue(name)
    base = odd_image.push(registry, registry.unique("odd"), "1", config={"WorkingDir": place})
    _check_place(engine, base.reference, push(workspace, base, fresh(registry)).image, place)


@pytest.mark.parametrize("place", ["/home/user", "/app"])
@pytest.mark.parametrize("name", ["docker20", "docker_today", "docker_today_classic", "podman"])
def test_so_do_those_of_an_image_that_only_the_engine_has(
    request: pytest.FixtureRequest, name: str, odd_image: Image, workspace: Workspace, place: str
) -> None:
    engine: Docker = request.getfixturevalue(name)
    base = odd_image.load(engine, "localhost/odd:1")
    with contextlib.closing(docker.DockerClient(base_url=engine.host, version="auto", timeout=100)) as client:
        built = load(client, workspace, base, workspace_dir=place)
        before = {str(container["Id"]) for container in client.api.containers(all=True)}
        _check_place(engine, base, built.image, place)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a container is made for what is known")

        client.api.create_container_from_config = refuse
        workspaces.edit(workspace, "train.py")
        assert load(client, workspace, base, workspace_dir=place).image != built.image
        assert {str(container["Id"]) for container in client.api.containers(all=True)} <= before


@pytest.mark.parametrize("name", ["docker20", "docker_today", "podman"])
def test_an_engine_and_a_registry_give_one_answer(
    request: pytest.FixtureRequest, name: str, registry: Registry, odd_image: Image, workspace: Workspace
) -> None:
    engine: Docker = request.getfixturevalue(name)
    base = odd_image.push(registry, registry.unique("odd"), "1", config={"WorkingDir": "/app"})
    engine.run("pull", base.reference)
    with contextlib.closing(docker.DockerClient(base_url=engine.host, version="auto", timeout=100)) as client:
        (local,) = plan(workspace, base, client=client).planned.images
    (remote,) = plan(workspace, base, fresh(registry)).planned.images
    assert (bool(local.base.engine_id), bool(remote.base.engine_id)) == (True, False)
    assert local.base.config.identity == remote.base.config.identity
    assert local.pack.parents == remote.pack.parents
    # Their layers are compressed differently, so they are two images.
    ours, theirs = ({**image.changes.labels, IDENTITY_LABEL: ""} for image in (local, remote))
    assert ours == theirs
    assert local.changes._replace(labels={}) == remote.changes._replace(labels={})


@pytest.mark.parametrize("name", ["docker20", "docker_today"])
def test_a_base_that_only_an_engine_has_is_looked_at_there_for_a_registry_too(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    registry: Registry,
    odd_image: Image,
    workspace: Workspace,
) -> None:
    engine: Docker = request.getfixturevalue(name)
    engine.use(monkeypatch)
    odd_image.load(engine, "localhost/odd:1")
    base = engine.run("image", "inspect", "-f", "{{.Id}}", "localhost/odd:1").strip()
    (planned,) = plan(workspace, base, fresh(registry), workspace_dir="/app/x").planned.images
    assert [(parent.path, parent.mode, *parent.owner) for parent in planned.pack.parents] == [
        (b"data", 0o755, 0, 0),
        (b"data/code", 0o711, 1000, 50),
        (b"data/code/x", 0o755, 0, 0),
    ]


@pytest.mark.parametrize("name", ["docker_today", "podman"])
def test_links_at_the_top_of_an_image_in_an_engine_are_not_replaced(
    request: pytest.FixtureRequest,
    name: str,
    odd_image: Image,
    workspace: Workspace,
    notices: list[str],
    tmp_path: Path,
) -> None:
    engine: Docker = request.getfixturevalue(name)
    base = odd_image.load(engine, "localhost/odd:1")
    with contextlib.closing(docker.DockerClient(base_url=engine.host, version="auto", timeout=100)) as client:
        (tmp_path / "w/srv").mkdir()
        plan(workspace, base, client=client, workspace_dir="/", base_scan_limit=0)
        (tmp_path / "w/app").mkdir()
        with pytest.raises(PathConflict, match="cannot copy to non-directory: /app is a link"):
            plan(workspace, base, client=client, workspace_dir="/")
    assert [notice for notice in notices if "no .torchxignore" not in notice] == []
