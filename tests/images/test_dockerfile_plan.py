"""Dockerfiles that take no builder: in a registry without any engine, in an engine, and as jobs."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.components.registries import Registry
from tests.support.fake_bases import add_base
from tests.support.images import Fetched, fetch, names
from tests.support.layers import add_layers, packed
from tests.support.notices import recorded_notices
from tests.support.pushing import fresh, push
from topcoat.errors import DaemonUnavailable, ImageNotFound, InvalidDockerfile, InvalidImage, WorkspaceError
from topcoat.runner import Runner
from topcoat.specs import AppDef, AppState, Role, Workspace
from topcoat.testing.registry import FakeRegistry
from topcoat.testing.trees import Link, build_tree
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

DOCKERFILE = """\
ARG IMAGE
FROM $IMAGE
ARG GREETING=hello
ENV GREETING=$GREETING
WORKDIR /code
COPY --chown=1000:1000 . .
COPY --chmod=0750 run.sh /usr/local/bin/run
USER 1000
ENTRYPOINT ["/usr/local/bin/run"]
CMD ["one"]
"""
QUIET: dict[str, Any] = {"quiet": True}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    files = {
        ".torchxignore": "Dockerfile.torchx\n",
        "Dockerfile.torchx": DOCKERFILE,
        "run.sh": '#!/bin/sh\necho "$GREETING $1 from $(pwd) as $(id -u)"\ncat train.py\n',
        "train.py": "print(1)\n",
    }
    build_tree(directory, files)
    return directory


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no engine and no program that could build."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def role(workspace: Path, image: str) -> Role:
    return Role("trainer", image, workspace=Workspace({str(workspace): ""}))


def pushed(workspace: Path, base: str, repository: str, **cfg: Any) -> str:
    """Push what the Dockerfile comes to; return its name."""
    planned = role(workspace, base)
    plans = DockerWorkspaceMixin().plan_workspaces([planned], {"image_repo": repository, **QUIET, **cfg})
    assert plans is not None
    plans.carry_out()
    return planned.image


def dockerfile(workspace: Path, text: str) -> None:
    (workspace / "Dockerfile.torchx").write_text(text)


def settings(image: Fetched) -> dict[str, Any]:
    settings_found: dict[str, Any] = image.config["config"]
    return settings_found


@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_needed_and_the_image_is_as_the_dockerfile_says(fake: FakeRegistry, workspace: Path) -> None:
    base = add_base(fake)
    fetched = fetch(fake, pushed(workspace, base, f"{fake.host}/app", build_args={"GREETING": "hi"}))
    assert settings(fetched) | {"Labels": {}} == {
        "WorkingDir": "/code",
        "Env": ["PATH=/bin", "GREETING=hi"],
        "User": "1000",
        "Entrypoint": ["/usr/local/bin/run"],
        "Cmd": ["one"],
        "ArgsEscaped": True,
        "Labels": {},
    }
    assert set(settings(fetched)["Labels"]) == {
        f"dev.topcoat.{key}" for key in ("snapshot", "base", "target", "layers", "identity")
    }
    (members,) = fetched.code(1)
    assert [(member.name, oct(member.mode), member.uid) for member in members] == [
        ("code", "0o755", 0),
        ("code/.torchxignore", "0o644", 1000),
        ("code/run.sh", "0o644", 1000),
        ("code/train.py", "0o644", 1000),
        ("usr", "0o750", 0),
        ("usr/local", "0o750", 0),
        ("usr/local/bin", "0o750", 0),
        ("usr/local/bin/run", "0o750", 0),
    ]


@pytest.mark.usefixtures("no_engine")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_only_the_images_that_the_dockerfile_uses_are_looked_up(fake: FakeRegistry, workspace: Path) -> None:
    base = add_base(fake)
    dockerfile(workspace, f"FROM nowhere.invalid/tests\nRUN pytest\nFROM {base}\nCOPY train.py .\n")
    fetched = fetch(fake, pushed(workspace, "nowhere.invalid/unused:1", f"{fake.host}/app"))
    assert names(fetched.layers[-1]) == {"app", "app/train.py"}
    dockerfile(workspace, "ARG IMAGE\nFROM $IMAGE\n")
    with pytest.raises(ImageNotFound, match="missing"):
        pushed(workspace, f"{fake.host}/missing:1", f"{fake.host}/app")
    gc.collect()  # the docker package leaves a socket behind where it cannot connect


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("found", [{}, Link("nowhere"), Link(".")])
def test_a_dockerfile_that_is_no_file_is_to_be_renamed_or_removed(
    fake: FakeRegistry, tmp_path: Path, found: dict[str, Any] | Link
) -> None:
    build_tree(tmp_path, {".torchxignore": "Dockerfile.torchx\n", "Dockerfile.torchx": found})
    with pytest.raises(WorkspaceError, match=r"Dockerfile\.torchx") as caught:
        pushed(tmp_path, add_base(fake), f"{fake.host}/app")
    assert caught.value.hint == (
        "make it a readable file, or rename or remove it: ignore rules do not hide Dockerfile.torchx"
    )


@pytest.mark.usefixtures("no_engine")
def test_a_dockerfile_without_files_changes_settings_alone(fake: FakeRegistry, workspace: Path) -> None:
    base = add_base(fake)
    dockerfile(workspace, "ARG IMAGE\nFROM $IMAGE\nMAINTAINER Me\nENV A=1\nLABEL dev.topcoat.base=mine b=2\n")
    fetched = fetch(fake, pushed(workspace, base, f"{fake.host}/app"))
    assert len(fetched.layers) == 1
    assert (fetched.config["author"], settings(fetched)["Env"], settings(fetched)["WorkingDir"]) == (
        "Me",
        ["PATH=/bin", "A=1"],
        "/app",
    )
    labels = settings(fetched)["Labels"]
    assert labels["b"] == "2"
    assert labels["dev.topcoat.base"].startswith("sha256:")


@pytest.mark.usefixtures("no_engine")
def test_what_decides_the_image_decides_its_tag(fake: FakeRegistry, workspace: Path) -> None:
    base, repository = add_base(fake), f"{fake.host}/app"

    def tag(**cfg: Any) -> str:
        planned = role(workspace, base)
        DockerWorkspaceMixin().plan_workspaces([planned], {"image_repo": repository, **QUIET, **cfg})
        return planned.image

    tags = [tag(), tag(build_args={"GREETING": "x"}), tag(mtime="preserve")]
    (workspace / "train.py").write_text("print(2)\n")
    tags.append(tag())
    dockerfile(workspace, DOCKERFILE.replace("1000:1000", "1000"))
    assert tag() == tags[-1], "another way to say the same"
    dockerfile(workspace, DOCKERFILE.replace("1000:1000", "1000:1001"))
    tags.append(tag())
    add_base(fake, working_dir="/other")
    tags.append(tag())
    assert len(set(tags)) == 6
    assert tag(rebuild=True) == tags[-1]


@pytest.mark.usefixtures("no_engine")
def test_the_same_again_sends_nothing(fake: FakeRegistry, workspace: Path) -> None:
    base = add_base(fake)
    first = pushed(workspace, base, f"{fake.host}/app")
    before = len(fake.requests)
    assert pushed(workspace, base, f"{fake.host}/app") == first
    assert [(request.method, request.path.partition("/manifests/")[0]) for request in fake.requests[before:]] == [
        ("HEAD", "/v2/base"),
        ("HEAD", "/v2/app"),
    ]


@pytest.mark.usefixtures("no_engine")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_without_a_builder_the_error_names_the_line_that_needs_one(fake: FakeRegistry, workspace: Path) -> None:
    base = add_base(fake)
    for line, said in (("RUN true", "RUN"), ("COPY --from=other /x /y", "--from"), ("COPY --chown=me . .", "me")):
        dockerfile(workspace, f"ARG IMAGE\nFROM $IMAGE\n\n{line}\n")
        with pytest.raises(DaemonUnavailable, match=f"Dockerfile.torchx:4: .*{said}"):
            pushed(workspace, base, f"{fake.host}/app")
    gc.collect()  # the docker package leaves a socket behind where it cannot connect


@pytest.mark.usefixtures("no_engine")
def test_a_mistake_is_ours_to_say(fake: FakeRegistry, workspace: Path) -> None:
    dockerfile(workspace, "ARG IMAGE\nFROM $IMAGE\nCOPY trian.py .\n")
    with pytest.raises(InvalidDockerfile, match=r"Dockerfile\.torchx:3: /trian\.py not found"):
        pushed(workspace, add_base(fake), f"{fake.host}/app")


@pytest.mark.usefixtures("no_engine")
def test_the_hooks_build_ahead_and_push_later(fake: FakeRegistry, workspace: Path) -> None:
    built, app = role(workspace, add_base(fake)), f"{fake.host}/app"
    mixin, cfg = DockerWorkspaceMixin(), {"image_repo": app, **QUIET}
    mixin.build_workspaces([built], cfg)
    assert built.image.startswith("sha256:")
    images = mixin.dryrun_push_images(AppDef("a", [built]), cfg)
    mixin.push_images(images)
    assert settings(fetch(fake, built.image))["User"] == "1000"


@pytest.mark.usefixtures("no_engine")
def test_a_plan_names_its_dockerfile(fake: FakeRegistry, workspace: Path) -> None:
    plans = DockerWorkspaceMixin().plan_workspaces(
        [role(workspace, add_base(fake))], {"image_repo": f"{fake.host}/app", **QUIET}
    )
    assert plans is not None
    (line,) = plans.lines()
    assert line.endswith(f"{workspace} evaluated from Dockerfile.torchx, over {fake.host}/base:1")


def test_what_was_pushed_without_an_engine_runs_in_every_engine(
    any_docker: Docker, registry: Registry, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = busybox_image.push(registry, registry.unique("base"), "1", config={"WorkingDir": "/app"}).reference
    with monkeypatch.context() as nothing:
        nothing.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        nothing.setenv("PATH", "/nonexistent")
        image = pushed(workspace, base, fresh(registry))
    any_docker.run("pull", "-q", image)
    # The program is root's alone, and the user is not root.
    printed = any_docker.run("run", "--rm", "--network", "none", "--user", "0", image, "two")
    assert printed.splitlines() == ["hello two from /code as 0", "print(1)"]
    shown = any_docker.run(
        "run", "--rm", "--network", "none", "--entrypoint", "stat", image, "-c", "%n %a %u", "train.py"
    )
    assert shown == "train.py 644 1000"
    (inspected,) = json.loads(any_docker.run("image", "inspect", image))
    output = inspected["Config"]
    assert (output["User"], output["WorkingDir"], output["Cmd"]) == ("1000", "/code", ["one"])
    assert output["Entrypoint"] == ["/usr/local/bin/run"]
    assert "GREETING=hello" in output["Env"]


def test_an_edit_sends_a_hot_layer_and_a_config(registry: Registry, busybox_image: Image, workspace: Path) -> None:
    base = busybox_image.push(registry, registry.unique("base"), "1").reference
    repository = f"{registry.host}/{base.partition('/')[2].partition(':')[0]}"
    for number in range(300):
        (workspace / f"module{number}.py").write_text(f"print({number})\n" * 400)
    first = fetch(registry, pushed(workspace, base, repository))
    (workspace / "module7.py").write_text("print('edited')\n")
    with registry.recording() as log:
        image = pushed(workspace, base, repository)
    assert log.sent < 6000
    fetched = fetch(registry, image)
    assert [layer["digest"] for layer in fetched.manifest["layers"][:-1]] == [
        layer["digest"] for layer in first.manifest["layers"]
    ]
    (code,) = [member for member in fetched.code(len(first.layers))[0] if member.isreg()]
    assert (code.name, code.uid) == ("code/module7.py", 1000)


def test_a_job_of_local_docker_runs_the_image(
    any_docker: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    base = busybox_image.load(any_docker, "local/carried-out:base")
    app = AppDef("app", [Role("r", base, entrypoint="sh", args=["-c", "cat train.py; id -u; pwd; echo $GREETING"])])
    with Runner("s") as runner:
        for text in ("print(1)", "print('edited')"):
            (workspace / "train.py").write_text(f"{text}\n")
            cfg = {**QUIET, "image_entrypoint": "replace"}
            handle = runner.run(app, "local_docker", cfg, workspace=str(workspace))
            status = runner.wait(handle)
            assert status is not None
            assert status.state is AppState.SUCCEEDED
            assert [line.rstrip() for line in runner.log_lines(handle, "r")] == [text, "1000", "/code", "hello"]
            runner.delete(handle)


def test_an_engine_is_asked_what_the_base_has(
    any_docker: Docker, busybox_image: Image, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    base = busybox_image.load(any_docker, "local/carried-out:base")
    dockerfile(workspace, "ARG IMAGE\nFROM $IMAGE\nCOPY train.py /tmp/new/\nCOPY train.py /bin/sh/x\n")
    with pytest.raises(InvalidDockerfile, match=r"Dockerfile\.torchx:4: /bin/sh cannot be a directory"):
        DockerWorkspaceMixin().build_workspaces([role(workspace, base)], QUIET)
    dockerfile(workspace, "ARG IMAGE\nFROM $IMAGE\nCOPY train.py /tmp/new/\n")
    built = role(workspace, base)
    DockerWorkspaceMixin().build_workspaces([built], QUIET)
    shown = any_docker.run("run", "--rm", "--network", "none", built.image, "stat", "-c", "%a", "/tmp", "/tmp/new")
    before = any_docker.run("run", "--rm", "--network", "none", base, "stat", "-c", "%a", "/tmp")
    assert shown.split() == [before.strip(), "755"]


class TestClosedDirectory:
    """``WORKDIR /root`` with mode 0700 and ``USER 1000``."""

    NOTICE = "the image's USER 1000 cannot enter /root, which belongs to 0:0 with mode 0700"

    @pytest.fixture
    def fake(self) -> Iterator[FakeRegistry]:
        with FakeRegistry() as fake:
            add_layers(fake, packed("dir root 0700"), WorkingDir="/root", User="1000")
            yield fake

    @pytest.mark.parametrize("dockerfile", ["", "FROM {base}\nCOPY . .\n", "FROM {base}\nUSER 0\nUSER 1000\n"])
    def test_it_is_announced_before_the_job_fails(self, fake: FakeRegistry, tmp_path: Path, dockerfile: str) -> None:
        base = f"{fake.host}/base:1"
        build_tree(tmp_path / "w", {".torchxignore": "", "train.py": ""})
        if dockerfile:
            (tmp_path / "w/Dockerfile.torchx").write_text(dockerfile.format(base=base))
        with recorded_notices() as notices:
            push(Workspace({str(tmp_path / "w"): ""}), base, f"{fake.host}/app")
        assert [self.NOTICE in text for text in notices] == [True]

    def test_nothing_is_announced_for_another_directory(self, fake: FakeRegistry, tmp_path: Path) -> None:
        build_tree(tmp_path / "w", {".torchxignore": "", "train.py": ""})
        with recorded_notices() as notices:
            workspace = Workspace({str(tmp_path / "w"): ""})
            push(workspace, f"{fake.host}/base:1", f"{fake.host}/app", workspace_dir="/app")
        assert notices == []


@pytest.mark.parametrize("dockerfile", ["", "FROM {base}\nCOPY . .\n"])
def test_a_working_directory_with_a_lone_surrogate_is_a_clear_error(tmp_path: Path, dockerfile: str) -> None:
    with FakeRegistry() as fake:
        add_layers(fake, packed("dir app"), WorkingDir="/a\ud800")
        base = f"{fake.host}/base:1"
        build_tree(tmp_path / "w", {".torchxignore": "", "train.py": ""})
        if dockerfile:
            (tmp_path / "w/Dockerfile.torchx").write_text(dockerfile.format(base=base))
        workspace = Workspace({str(tmp_path / "w"): ""})
        with pytest.raises(InvalidImage, match=r"WorkingDir .* is not valid Unicode"):
            push(workspace, base, f"{fake.host}/app")
        if not dockerfile:
            push(workspace, base, f"{fake.host}/app", workspace_dir="/app")
