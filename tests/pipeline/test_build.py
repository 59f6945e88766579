"""The pipeline, end to end: what is in the workspace is in the container, on every engine, from every registry."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Containerd, Docker
from tests.components.host import Tool
from tests.components.images import NATIVE, Flavour, Image
from tests.components.registries import Registry
from tests.support import workspaces
from tests.support.bases import pushed
from tests.support.images import fetch, names
from tests.support.inside import Inside, expected, look
from tests.support.pushing import fresh, plan, push
from topcoat.destinations.registry import RegistryDelivery, RegistryDestination
from topcoat.errors import ImageError, NoSuchPlatform, WorkspaceChanged
from topcoat.notices import show_notices
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Modes, ScanOptions, scan
from topcoat.scan.snapshot import Snapshot
from topcoat.specs import Workspace
from topcoat.testing.registry import FakeRegistry

_ENGINES = ["docker20", "docker_today", "docker_today_classic", "podman", "containerd"]
_looked: dict[tuple[str, str], Inside] = {}


@pytest.fixture(params=_ENGINES)
def engine(request: pytest.FixtureRequest) -> Docker | Containerd:
    """Each engine in turn."""
    running: Docker | Containerd = request.getfixturevalue(request.param)
    return running


def _snapshot(workspace: Workspace, modes: Modes = "portable") -> Snapshot:
    return scan(workspace, ScanOptions(IMAGE_IGNORE_FILES, modes)).snapshot


def _base_inside(engine: Docker | Containerd, reference: str) -> Inside:
    key = (str(engine), reference)
    if key not in _looked:
        _looked[key] = look(engine, reference, "/")
    return _looked[key]


@pytest.mark.parametrize(("server", "flavour"), [("registry", "docker"), ("registry3", "oci")])
def test_a_container_sees_the_workspace_and_the_untouched_base(
    engine: Docker | Containerd,
    server: str,
    flavour: Flavour,
    request: pytest.FixtureRequest,
    python_image: Image,
    tmp_path: Path,
) -> None:
    registry: Registry = request.getfixturevalue(server)
    base = pushed(registry, python_image, flavour=flavour)
    workspace = workspaces.odd(tmp_path / "w")
    before = _base_inside(engine, base.reference)

    image = push(workspace, base, fresh(registry)).image
    after = look(engine, image, "/")

    assert after.below("/app") == {**before.below("/app"), **expected(_snapshot(workspace))}
    assert after.outside("/app") == before.outside("/app")
    assert after.files[b"/app"][:4] == ("dir", 0o755, 0, 0)
    assert after.cwd == after.env["WORKSPACE_DIR"] == after.env["PYTHONPATH"] == "/app"
    assert after.env["LANG"] == before.env["LANG"]


def test_modes_owner_and_directory_can_be_chosen(
    engine: Docker | Containerd, registry: Registry, python_image: Image, tmp_path: Path
) -> None:
    base = pushed(registry, python_image)
    workspace = workspaces.odd(tmp_path / "w")
    before = _base_inside(engine, base.reference)

    chosen: dict[str, Any] = {"modes": "exact", "chown": "1000:2000", "workspace_dir": "/srv/me/code/"}
    after = look(engine, push(workspace, base, fresh(registry), **chosen).image, "/")

    assert after.below("/srv/me/code") == expected(_snapshot(workspace, "exact"), 1000, 2000)
    assert after.below("/srv/me/code")[b"modes"].mode == 0o2750
    new = {path: seen for path, seen in after.outside("/srv/me/code").items() if path not in before.files}
    made = dict.fromkeys([b"/srv", b"/srv/me"], ("dir", 0o755, 1000, 2000))
    assert {path: seen[:4] for path, seen in new.items()} == made
    assert after.files[b"/srv/me/code"][:4] == ("dir", 0o755, 1000, 2000)
    assert after.cwd == after.env["WORKSPACE_DIR"] == "/srv/me/code"


@pytest.mark.parametrize(("server", "flavour"), [("registry", "docker"), ("registry3", "oci")])
def test_the_image_is_valid_to_other_tools(
    server: str,
    flavour: Flavour,
    request: pytest.FixtureRequest,
    python_image: Image,
    skopeo: Tool,
    crane: Tool,
    tmp_path: Path,
) -> None:
    registry: Registry = request.getfixturevalue(server)
    base = pushed(registry, python_image, flavour=flavour)
    workspace = workspaces.odd(tmp_path / "w")

    delivered = push(workspace, base, fresh(registry))

    inspected = json.loads(skopeo("inspect", f"docker://{delivered.image}"))
    assert inspected["Digest"] == delivered.digest == crane("digest", delivered.image)
    assert inspected["Labels"]["dev.topcoat.snapshot"] == _snapshot(workspace).digest
    assert "PASS" in crane.call("validate", "--remote", delivered.image).stdout
    manifest = fetch(registry, delivered.image, skip=3).manifest
    assert manifest["mediaType"] == base.images[NATIVE].media_type
    assert len({layer["mediaType"] for layer in manifest["layers"]}) == 1


def test_the_bases_settings_stay(registry: Registry, python_image: Image, tmp_path: Path) -> None:
    settings = {
        "User": "1000:1000",
        "Entrypoint": ["/bin/env"],
        "Cmd": ["python3", "-V"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"team": "vision"},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Env": ["PATH=/usr/bin:/bin", "EMPTY=", "EQUALS=a=b", "PYTHONPATH=/opt/lib"],
        "WorkingDir": "/code",
    }
    base = pushed(registry, python_image, config=settings)
    workspace = workspaces.write(tmp_path / "w", {"src/pkg/__init__.py": "", "train.py": "pass\n"})

    fetched = fetch(registry, push(workspace, base, fresh(registry)).image, skip=3)

    config = fetched.config["config"]
    assert {key: config[key] for key in settings if key not in ("Env", "Labels")} == {
        key: value for key, value in settings.items() if key not in ("Env", "Labels")
    }
    assert config["Env"] == [
        "PATH=/usr/bin:/bin",
        "EMPTY=",
        "EQUALS=a=b",
        "PYTHONPATH=/code:/code/src:/opt/lib",
        "WORKSPACE_DIR=/code",
    ]
    layers = fetched.config["rootfs"]["diff_ids"][3:]
    assert config["Labels"] == {
        "team": "vision",
        "dev.topcoat.snapshot": _snapshot(workspace).digest,
        "dev.topcoat.base": config["Labels"]["dev.topcoat.base"],
        "dev.topcoat.identity": config["Labels"]["dev.topcoat.identity"],
        "dev.topcoat.target": "/code",
        "dev.topcoat.layers": ",".join(layers),
    }
    steps = [step for step in fetched.config["history"] if not step.get("empty_layer")]
    assert len(steps) == len(fetched.config["rootfs"]["diff_ids"])


def test_pythonpath_can_be_left_alone(registry: Registry, busybox_image: Image, tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    image = push(workspace, pushed(registry, busybox_image), fresh(registry), pythonpath=False).image
    assert fetch(registry, image, skip=1).config["config"]["Env"] == ["PATH=/bin", "WORKSPACE_DIR=/"]


def test_equal_content_gives_equal_images_on_any_machine(
    registry: Registry, busybox_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pushed(registry, busybox_image, config={"WorkingDir": "/w"})
    content = {f"d{number % 7}/f{number}.py": f"print({number})\n" * 3000 for number in range(100)}
    first = workspaces.write(tmp_path / "one", content)
    here = fetch(registry, push(first, base, fresh(registry)).image, skip=1)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    before = os.umask(0o077)
    try:
        second = workspaces.write(tmp_path / "two", dict(reversed(content.items())))
    finally:
        os.umask(before)
    for number, path in enumerate(sorted((tmp_path / "two").rglob("*"))):
        os.utime(path, (number, 10**9 + number))
    second_result = push(second, base, fresh(registry))

    assert second_result.image.rpartition(":")[2] == push(first, base, fresh(registry)).image.rpartition(":")[2]
    assert fetch(registry, second_result.image, skip=1) == here
    assert len(here.layers) > 3
    # Dates between 1980 and 2000, and not the files' own.
    assert all(315_532_800 <= member.mtime < 946_684_800 for layer in here.code(1) for member in layer)


def test_only_what_decides_the_image_decides_its_tag(registry: Registry, busybox_image: Image, tmp_path: Path) -> None:
    base = pushed(registry, busybox_image, config={"WorkingDir": "/w"})
    root = tmp_path / "w"
    workspace = workspaces.write(root, {"a.py": "pass\n", "b/c": "c"})
    repository = fresh(registry)

    def tag(base: str = base.reference, **options: Any) -> str:
        return plan(workspace, base, repository, **options).planned.tag

    before = tag()
    os.utime(root / "a.py", (1, 1))
    (root / "a.py").chmod(0o600)
    assert {tag(), tag(hot=False), tag(workspace_dir="/w/"), tag(chown="0:0"), tag(base.by_digest)} == {before}

    tags = [
        before,
        tag(workspace_dir="/v"),
        tag(chown="1"),
        tag(modes="exact"),
        tag(mtime="preserve"),
        tag(pythonpath=False),
        tag(pushed(registry, busybox_image, config={"WorkingDir": "/w", "User": "1"}).reference),
    ]
    os.utime(root / "a.py", (2, 2))
    tags += [tag(mtime="preserve")]
    for change in (
        lambda: (root / "a.py").chmod(0o755),
        lambda: (root / "a.py").write_text("PASS\n"),
        lambda: (root / "b/c").rename(root / "b/d"),
        (root / "b/e").mkdir,
        lambda: (root / "link").symlink_to("a.py"),
    ):
        change()
        tags.append(tag())
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("flavour", ["docker", "oci"])
def test_an_index_gives_the_image_of_one_platform(
    registry: Registry, busybox_image: Image, flavour: Flavour, tmp_path: Path
) -> None:
    platforms = ("linux/arm64/v8", "linux/amd64", "linux/s390x")
    base = pushed(registry, busybox_image, flavour=flavour, platforms=platforms)
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    repository = fresh(registry)

    chosen = {
        platform: fetch(registry, push(workspace, base, repository, platform=platform).image, skip=1)
        for platform in ("", "linux/arm64", "linux/s390x")
    }

    platforms_of_images = {wanted: (one.config["os"], one.config["architecture"]) for wanted, one in chosen.items()}
    assert platforms_of_images == {
        "": ("linux", "amd64"),
        "linux/arm64": ("linux", "arm64"),
        "linux/s390x": ("linux", "s390x"),
    }
    assert chosen["linux/arm64"].config["variant"] == "v8"
    assert len({image.manifest["layers"][-1]["digest"] for image in chosen.values()}) == 1
    with pytest.raises(NoSuchPlatform, match="linux/riscv64") as raised:
        push(workspace, base, repository, platform="linux/riscv64")
    assert raised.value.hint


def test_a_deleted_file_is_in_no_layer_and_no_container(
    docker_today: Docker, registry: Registry, python_image: Image, tmp_path: Path
) -> None:
    base, repository = pushed(registry, python_image), fresh(registry)
    workspace = workspaces.write(tmp_path / "w", {"keep.py": "keep", "secret.key": "secret", "d/other": "other"})
    push(workspace, base, repository)
    workspaces.edit(workspace, "secret.key", new=b"SECRET")
    push(workspace, base, repository)

    (tmp_path / "w/secret.key").unlink()
    image = push(workspace, base, repository).image

    assert look(docker_today, image, "/app").below("/app") == expected(_snapshot(workspace))
    held = set.union(*(names(tar) for tar in fetch(registry, image, skip=3).layers[3:]))
    assert "app/keep.py" in held
    assert "app/secret.key" not in held


def _change_before_packing(monkeypatch: pytest.MonkeyPatch, path: Path, times: int, *, delete: bool = False) -> None:
    """Write to *path*, or delete it, between scan and packing, *times* times."""
    begin, remaining = RegistryDestination.begin, iter(range(times))

    def begin_and_change(self: RegistryDestination, *args: Any) -> RegistryDelivery:
        delivery = begin(self, *args)
        version = next(remaining, None)
        if version is not None:
            path.unlink() if delete else path.write_text(f"version {version}\n")
        return delivery

    monkeypatch.setattr(RegistryDestination, "begin", begin_and_change)


@pytest.mark.parametrize("delete", [False, True])
def test_a_file_that_changes_before_it_is_packed_is_read_again(
    registry: Registry, busybox_image: Image, tmp_path: Path, delete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pushed(registry, busybox_image, config={"WorkingDir": "/w"})
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n", "b.py": "pass\n"})
    _change_before_packing(monkeypatch, tmp_path / "w/a.py", 1, delete=delete)

    image = push(workspace, base, fresh(registry)).image

    layer = fetch(registry, image, skip=1).layers[-1]
    assert ("w/a.py" in names(layer)) != delete
    assert fetch(registry, image, skip=1).config["config"]["Labels"]["dev.topcoat.snapshot"] == (
        _snapshot(workspace).digest
    )


def test_a_file_that_changes_at_every_attempt_is_an_error(
    registry: Registry, busybox_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    base = pushed(registry, busybox_image)
    _change_before_packing(monkeypatch, tmp_path / "w/a.py", 99)
    with pytest.raises(WorkspaceChanged, match=r"a\.py changed") as raised:
        push(workspace, base, fresh(registry))
    assert raised.value.hint


def test_a_build_that_starts_over_repeats_no_notice(
    registry: Registry, busybox_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    notices: list[str] = []
    previous = show_notices(notices.append)
    try:
        _change_before_packing(monkeypatch, tmp_path / "w/a.py", 1)
        push(workspace, pushed(registry, busybox_image), fresh(registry))
    finally:
        show_notices(previous)
    assert len(notices) == 1
    assert "topcoat init" in notices[0]


def test_a_plan_writes_nothing(registry: Registry, busybox_image: Image, tmp_path: Path) -> None:
    base, repository = pushed(registry, busybox_image), fresh(registry)
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})

    with registry.recording() as log:
        planned = plan(workspace, base, repository)
    assert {exchange.method for exchange in log} <= {"GET", "HEAD"}

    assert planned.carry_out().image == planned.image == f"{repository}:{planned.planned.tag}"


@pytest.mark.parametrize("written", ["/srv//my/./code/", "srv/my/code", "/srv/my/x/../code"])
def test_a_working_directory_written_oddly_is_one_path_in_the_layers(
    registry: Registry, busybox_image: Image, tmp_path: Path, written: str
) -> None:
    base = pushed(registry, busybox_image, config={"WorkingDir": written})
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    fetched = fetch(registry, push(workspace, base, fresh(registry)).image, skip=1)
    assert [member.name for member in fetched.code(1)[0]] == ["srv", "srv/my", "srv/my/code", "srv/my/code/a.py"]
    assert fetched.config["config"]["WorkingDir"] == "/srv/my/code"


def test_a_base_with_as_many_layers_as_engines_stack_is_refused(tmp_path: Path) -> None:
    workspace = workspaces.write(tmp_path / "w", {"a.py": "pass\n"})
    with FakeRegistry() as fake:
        for layers in (124, 125):
            fake.add_image("base", str(layers), layers=[bytes(512 * (2 + number)) for number in range(layers)])
        allowed = push(workspace, f"{fake.host}/base:124", f"{fake.host}/app")
        assert len(fetch(fake, allowed.image, skip=124).layers) == 125
        with pytest.raises(ImageError, match="base image has 125 layers") as raised:
            push(workspace, f"{fake.host}/base:125", f"{fake.host}/app")
        assert raised.value.hint


def test_an_empty_workspace_is_an_image_too(
    docker20: Docker, registry: Registry, python_image: Image, tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    base = pushed(registry, python_image)
    image = push(Workspace({str(tmp_path / "w"): ""}), base, fresh(registry)).image
    seen = look(docker20, image, "/app")
    assert (seen.below("/app"), seen.cwd) == ({}, "/app")
    assert seen.env["WORKSPACE_DIR"] == "/app"
