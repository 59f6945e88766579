"""Workspaces with a Dockerfile.torchx, built by real engines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.images import fetch
from topcoat.errors import DaemonError, TagMoved
from topcoat.images.options import image_options
from topcoat.notices import show_notices
from topcoat.oci.manifest import ACCEPT, MANIFEST_TYPES, parse
from topcoat.pipeline import plan_image
from topcoat.pipeline.plans import BuilderPlan
from topcoat.specs import Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

DOCKERFILE = """\
ARG IMAGE
FROM $IMAGE
ARG WORKSPACE
ARG GREETING
WORKDIR /code
COPY . .
RUN echo "$GREETING from $WORKSPACE" > /made
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    (directory / "train.py").write_text("print('trained')\n")
    (directory / "secret.txt").write_text("no\n")
    (directory / "Dockerfile.torchx").write_text(DOCKERFILE)
    (directory / ".torchxignore").write_text("secret.txt\n")
    return directory


def role(workspace: Path, image: str) -> Role:
    return Role("trainer", image, workspace=Workspace({str(workspace): ""}))


@pytest.fixture
def engine(any_docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
    any_docker.use(monkeypatch)
    return any_docker


def test_the_dockerfile_is_built_with_image_workspace_and_build_args(
    engine: Docker, busybox_image: Image, workspace: Path
) -> None:
    built = role(workspace, busybox_image.load(engine, "local/dockerfile:base"))
    mixin = DockerWorkspaceMixin()
    mixin.build_workspaces([built], {"build_args": {"GREETING": "hello"}, "quiet": True})
    assert built.image.startswith("sha256:")
    shown = engine.run("run", "--rm", "--network", "none", built.image, "sh", "-c", "cat /made; ls -A /code")
    assert shown.splitlines() == [f"hello from {workspace}", ".torchxignore", "Dockerfile.torchx", "train.py"]


def test_an_ignored_dockerfile_still_reaches_the_builder(engine: Docker, busybox_image: Image, workspace: Path) -> None:
    (workspace / ".torchxignore").write_text("Dockerfile.torchx\nsecret.txt\n")
    built = role(workspace, busybox_image.load(engine, "local/dockerfile:base"))
    DockerWorkspaceMixin().build_workspaces([built], {"quiet": True})
    assert "from" in engine.run("run", "--rm", "--network", "none", built.image, "cat", "/made")


def test_a_plan_builds_nothing_and_its_carrying_out_builds_once_and_pushes(
    engine: Docker, busybox_image: Image, workspace: Path, registry: Registry
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    repository = f"{registry.host}/{registry.unique('dockerfile')}"
    cfg = {"image_repo": repository, "quiet": True}
    planned = role(workspace, base)
    before = sorted(engine.run("images", "-q", "--no-trunc").split())
    plan = DockerWorkspaceMixin().plan_workspaces([planned], cfg)
    assert plan is not None
    assert planned.image.startswith(f"{repository}:")
    assert sorted(engine.run("images", "-q", "--no-trunc").split()) == before
    plan.carry_out()
    engine.run("pull", "-q", planned.image)
    # A plain image, with no attestation beside it: those say when it was built.
    response = registry.request(
        "GET",
        f"/v2/{repository.partition('/')[2]}/manifests/{planned.image.rpartition(':')[2]}",
        headers={"Accept": ACCEPT},
    )
    assert parse(response.body).media_type in MANIFEST_TYPES
    # The same again: the tag is there, and the engine is not asked to build.
    with registry.recording() as log:
        again = DockerWorkspaceMixin().plan_workspaces([role(workspace, base)], cfg)
        assert again is not None
        again.carry_out()
    assert [(exchange.method, exchange.status) for exchange in log] == [("HEAD", 200)]


def test_a_built_image_is_known_by_its_labels(
    engine: Docker,
    busybox_image: Image,
    workspace: Path,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    repository = f"{registry.host}/{registry.unique('dockerfile')}"
    plan = plan_image(Workspace({str(workspace): ""}), base, image_options({"image_repo": repository, "quiet": True}))
    assert isinstance(plan, BuilderPlan)
    first = plan.carry_out()
    assert fetch(registry, first.image).digest == first.digest
    assert plan.carry_out() == first
    # Another machine looks at the labels.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with registry.recording() as log:
        assert plan.carry_out() == first
    assert {exchange.method for exchange in log} == {"HEAD", "GET"}
    name, tag = repository.partition("/")[2], first.image.rpartition(":")[2]
    other = busybox_image.push(registry, name, tag)
    with pytest.raises(TagMoved, match=other.digest):
        plan.carry_out()
    rebuilt = plan._replace(cacheable=False).carry_out()
    assert fetch(registry, rebuilt.image).config["config"]["Labels"] == plan.recipe.labels


def test_a_local_name_that_was_moved_is_built_again(engine: Docker, busybox_image: Image, workspace: Path) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    plan = plan_image(Workspace({str(workspace): ""}), base, image_options({"quiet": True}))
    first = plan.carry_out()
    engine.run("tag", base, plan.image)
    assert plan.carry_out().image != engine.run("image", "inspect", "--format", "{{.Id}}", base).strip()
    assert "from" in engine.run("run", "--rm", "--network", "none", plan.image, "cat", "/made")
    assert first.image.startswith("sha256:")


def test_an_edit_of_the_dockerfile_an_argument_or_a_file_gives_another_tag(
    engine: Docker, busybox_image: Image, workspace: Path
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")

    def tag(**args: str) -> str:
        planned = role(workspace, base)
        DockerWorkspaceMixin().plan_workspaces([planned], {"build_args": args})
        return planned.image

    tags = [tag(), tag(GREETING="x")]
    (workspace / "train.py").write_text("print('again')\n")
    tags.append(tag())
    (workspace / "Dockerfile.torchx").write_text(DOCKERFILE + "ENV A=1\n")
    tags.append(tag())
    assert len(set(tags)) == 4
    assert tag() == tags[-1]


def test_the_path_of_the_workspace_changes_the_tag_only_if_the_dockerfile_declares_it(
    engine: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    monkeypatch.chdir(workspace.parent)

    def tags() -> set[str]:
        planned = [
            Role("trainer", base, workspace=Workspace({where: ""})) for where in (str(workspace), workspace.name)
        ]
        for layer in planned:
            DockerWorkspaceMixin().plan_workspaces([layer], {})
        return {layer.image for layer in planned}

    assert len(tags()) == 2
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN true\n")
    assert len(tags()) == 1


def test_rebuild_runs_everything_again(engine: Docker, busybox_image: Image, workspace: Path) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    (workspace / "Dockerfile.torchx").write_text(
        "ARG IMAGE\nFROM $IMAGE\nRUN cat /proc/sys/kernel/random/uuid > /when\n"
    )

    def when(**cfg: bool) -> str:
        built = role(workspace, base)
        DockerWorkspaceMixin().build_workspaces([built], {"quiet": True, **cfg})
        return str(engine.run("run", "--rm", "--network", "none", built.image, "cat", "/when"))

    first = when()
    assert when() == first
    assert when(rebuild=True) != first


def test_an_undeclared_build_argument_gives_a_notice(engine: Docker, busybox_image: Image, workspace: Path) -> None:
    collected: list[str] = []
    before = show_notices(collected.append)
    args = {"GREETINGS": "typo", "HTTP_PROXY": "http://127.0.0.1:1"}
    DockerWorkspaceMixin().plan_workspaces(
        [role(workspace, busybox_image.load(engine, "local/dockerfile:base"))], {"build_args": args}
    )
    show_notices(before)
    assert [line for line in collected if "ARG" in line] == [
        "Dockerfile.torchx has no ARG GREETINGS: the build argument may be unused"
    ]


def test_a_build_that_fails_says_why_with_its_whole_output(
    engine: Docker, busybox_image: Image, workspace: Path
) -> None:
    (workspace / "Dockerfile.torchx").write_text("ARG IMAGE\nFROM $IMAGE\nRUN echo what went wr''ong && exit 7\n")
    failing = role(workspace, busybox_image.load(engine, "local/dockerfile:base"))
    with pytest.raises(DaemonError, match="what went wrong") as caught:
        DockerWorkspaceMixin().build_workspaces([failing], {"quiet": True})
    assert "7" in caught.value.message


def test_without_a_command_line_the_classic_builder_of_the_engine_builds(
    engine: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert shutil.which("docker") is None
    built = role(workspace, base)
    DockerWorkspaceMixin().build_workspaces([built], {"build_args": {"GREETING": "classic"}, "quiet": True})
    monkeypatch.undo()
    assert "classic from" in engine.run("run", "--rm", "--network", "none", built.image, "cat", "/made")


def test_output_is_streamed_unless_quiet(
    engine: Docker, busybox_image: Image, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = busybox_image.load(engine, "local/dockerfile:base")
    DockerWorkspaceMixin().build_workspaces([role(workspace, base)], {"build_args": {"GREETING": "loud"}})
    assert "FROM" in capfd.readouterr().err
    cfg = {"build_args": {"GREETING": "quiet"}, "quiet": True}
    DockerWorkspaceMixin().build_workspaces([role(workspace, base)], cfg)
    assert "FROM" not in capfd.readouterr().err
