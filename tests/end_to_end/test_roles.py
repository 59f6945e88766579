"""Applications of several roles, to a registry in memory and to a real one: how much is built and sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.components.daemons import Docker
from tests.components.images import Image
from tests.end_to_end.remote import RemoteScheduler, role, runner
from tests.end_to_end.servers import Server
from tests.support.images import stacked
from tests.support.workspaces import write
from topcoat.runner import get_runner
from topcoat.specs import AppDef, Workspace
from topcoat.workspace import pin_workspace_images

_IGNORE = {".torchxignore": ".git\n"}


def _files(server: Server, image: str) -> dict[str, bytes]:
    """Return the files of the workspace in *image*, without its ignore file, and their digests."""
    layers = server.image(image).layers[1:]
    files = stacked(layers, "/app")
    return {path.decode(): seen.content for path, seen in files.items() if seen.kind == "file"}


@pytest.fixture
def first(tmp_path: Path) -> Workspace:
    """A workspace."""
    return write(tmp_path / "first", {**_IGNORE, "train.py": "print('train')\n"})


@pytest.fixture
def second(tmp_path: Path) -> Workspace:
    """Another one."""
    return write(tmp_path / "second", {**_IGNORE, "serve.py": "print('serve')\n"})


class Roles:
    """What holds for any registry."""

    def test_two_images_and_two_workspaces_are_two_images_and_each_is_sent_once(
        self, server: Server, first: Workspace, second: Workspace
    ) -> None:
        bases, repo = [server.base("one"), server.base("two")], server.repository()
        app = AppDef("app", [role("trainer", bases[0], first), role("server", bases[1], second)])
        server.forget()
        run, scheduler = runner()
        with run:
            run.run(app, "remote", {"image_repo": repo})

        (request,) = scheduler.submitted
        assert set(_files(server, request.images["trainer"])) == {".torchxignore", "train.py"}
        assert set(_files(server, request.images["server"])) == {".torchxignore", "serve.py"}
        assert request.to_push == {}
        assert server.manifests() == 2
        # A layer of code and a config each; the layers of the bases are mounted from their repositories.
        assert server.uploads() == 4

    def test_the_same_again_sends_nothing(self, server: Server, first: Workspace, second: Workspace) -> None:
        bases, repo = [server.base("one"), server.base("two")], server.repository()
        app = AppDef("app", [role("trainer", bases[0], first), role("server", bases[1], second)])
        run, scheduler = runner()
        with run:
            run.run(app, "remote", {"image_repo": repo})
            server.forget()
            run.run(app, "remote", {"image_repo": repo})
        assert scheduler.submitted[0] == scheduler.submitted[1]
        assert server.writes() == []

    def test_many_roles_with_one_image_and_one_workspace_are_one_build_and_one_upload(
        self, server: Server, first: Workspace
    ) -> None:
        base, repo = server.base("one"), server.repository()
        app = AppDef("app", [role(f"worker{number}", base, Workspace(dict(first.projects))) for number in range(4)])
        server.forget()
        run, scheduler = runner()
        with run:
            info = run.dryrun(app, "remote", {"image_repo": repo})
            assert len(info._workspace_plan.lines()) == 1
            run.schedule(info)

        assert len(set(scheduler.submitted[0].images.values())) == 1
        assert server.manifests() == 1
        assert server.uploads() == 2

    def test_one_workspace_over_two_images_sends_its_layer_once(self, server: Server, first: Workspace) -> None:
        bases, repo = [server.base("one"), server.base("two")], server.repository()
        app = AppDef("app", [role("trainer", bases[0], first), role("server", bases[1], first)])
        server.forget()
        run, scheduler = runner()
        with run:
            run.run(app, "remote", {"image_repo": repo})
        assert server.manifests() == 2
        assert server.uploads() == 3
        images = scheduler.submitted[0].images
        assert server.image(images["trainer"]).layers[-1] == server.image(images["server"]).layers[-1]

    def test_the_hooks_of_one_call_share_one_cache_and_push_after_it(
        self, server: Server, first: Workspace, second: Workspace
    ) -> None:
        bases, repo = [server.base("one"), server.base("two")], server.repository()
        roles = [role("a", bases[0], first), role("b", bases[0], first), role("c", bases[1], second), role("d", "x:1")]
        scheduler = RemoteScheduler("session")
        server.forget()
        scheduler.build_workspaces(roles, {"image_repo": repo})
        assert server.writes() == [], "what is built is not pushed before push_images"
        assert all(each_role.image.startswith("sha256:") for each_role in roles[:3])
        assert roles[0].image == roles[1].image != roles[2].image

        to_push = scheduler.dryrun_push_images(AppDef("app", roles), {"image_repo": repo})
        assert len(to_push) == 2
        assert roles[3].image == "x:1"
        assert roles[0].image == roles[1].image == ":".join(to_push[next(iter(to_push))])
        scheduler.push_images(to_push)
        assert server.manifests() == 2
        assert server.uploads() == 4
        assert set(_files(server, roles[0].image)) == {".torchxignore", "train.py"}

    def test_images_that_were_built_ahead_are_pinned_and_pushed_once_for_many_applications(
        self, server: Server, first: Workspace, second: Workspace
    ) -> None:
        bases, repo = [server.base("one"), server.base("two")], server.repository()
        app = AppDef("app", [role("a", bases[0], first), role("b", bases[0], first), role("c", bases[1], second)])
        run, scheduler = runner()
        with run:
            server.forget()
            built = run.build_workspace(app, "remote", {"image_repo": repo})
            assert list(built) == [(bases[0], first), (bases[1], second)]
            assert server.writes() == []
            assert app.roles[0].workspace == first, "the application is not changed"

            # Other roles with these images and workspaces, however they are grouped.
            for name in ("x", "y", "z"):
                other = AppDef(name, [role("r", bases[1], second), role("s", bases[0], first), role("t", "other:1")])
                pin_workspace_images(other, built)
                assert [each_role.workspace for each_role in other.roles] == [None, None, None]
                run.run(other, "remote", {"image_repo": repo})

        assert server.manifests() == 2
        assert server.uploads() == 4
        images = [request.images for request in scheduler.submitted]
        assert images[0] == images[1] == images[2]
        assert images[0]["t"] == "other:1"
        assert set(_files(server, images[0]["r"])) == {".torchxignore", "serve.py"}

    def test_an_image_of_one_role_can_be_built_ahead(self, server: Server, first: Workspace) -> None:
        base, repo = server.base("one"), server.repository()
        run, _ = runner()
        with run:
            image = run.build_workspace(role("a", base, first), "remote", {"image_repo": repo})
            assert image is not None
            assert image.startswith("sha256:")
            assert run.build_workspace(role("a", base), "remote", {"image_repo": repo}) is None


def test_images_that_were_built_ahead_for_the_engine_run_without_their_workspace(
    docker20: Docker, busybox_image: Image, first: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker20.use(monkeypatch)
    base = busybox_image.load(docker20, "roles-base:1", config={"WorkingDir": "/app"})
    app = AppDef("pinned", [role("r", base, first, "cat train.py")])
    with get_runner("s") as run:
        built = run.build_workspace(app, "local_docker")
        assert built == {(base, first): docker20.run("inspect", "--format", "{{.Id}}", built[base, first])}
        shutil.rmtree(next(iter(first.projects)))
        pin_workspace_images(app, built)
        handle = run.run(app, "local_docker")
        run.wait(handle)
        assert list(run.log_lines(handle, "r")) == ["print('train')\n"]
        run.delete(handle)


class TestInMemory(Roles):
    @pytest.fixture
    def server(self, fake_server: Server) -> Server:
        return fake_server


class TestOnARealRegistry(Roles):
    @pytest.fixture
    def server(self, real_server: Server) -> Server:
        return real_server
