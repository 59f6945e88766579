"""What goes wrong on the way gives one error that says what, where and what to do, and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.fake_bases import add_base
from topcoat.testing.registry import FakeRegistry


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def _jobs(home: Path) -> set[str]:
    return {path.name for path in (home / ".local" / "state").glob("topcoat/jobs/*")}


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("build", "--image", "HOST/base:1", "--image-repo", "HOST/app"),
        ("run", "--", "true"),
        ("run", "--dryrun", "--", "true"),
    ],
)
def test_a_missing_workspace_is_an_error_before_anything_is_written(
    topcoat: Cli, workspace: Path, home: Path, fake_registry: FakeRegistry, words: tuple[str, ...]
) -> None:
    before = _files(workspace)
    words = tuple(word.replace("HOST", fake_registry.host) for word in words)
    done = topcoat(words[0], "--workspace", "no/such", *words[1:])
    assert (done.code, done.out) == (1, "")
    assert done.error[0] == f"workspace {workspace}/no/such does not exist"
    assert "--workspace" in done.error[1]
    assert _files(workspace) == before
    assert _jobs(home) == set()
    assert list(fake_registry.repositories) == ["base"]


@pytest.mark.parametrize("words", [("ls",), ("run", "--", "true")])
def test_a_malformed_ignore_file(topcoat: Cli, workspace: Path, home: Path, words: tuple[str, ...]) -> None:
    (workspace / ".torchxignore").write_text("ok\n[a-\n")
    done = topcoat(*words)
    assert (done.code, done.out) == (1, "")
    assert f"{workspace}/.torchxignore" in done.error[0]
    assert "2" in done.error[0]
    assert "[a-" in done.error[0]
    assert _jobs(home) == set()


def test_a_home_directory_is_refused_as_a_workspace(topcoat: Cli, home: Path) -> None:
    done = topcoat("run", "--", "true", cwd=home)
    assert (done.code, done.out) == (2, "")
    assert done.error[0].startswith(f"{home} is a home directory")
    assert _jobs(home) == set()


def test_a_state_directory_that_cannot_be_written(
    topcoat: Cli, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    done = topcoat("run", "--", "true")
    assert (done.code, done.out) == (1, "")
    assert done.error[0].startswith(f"cannot write to {tmp_path}/file/topcoat")
    assert "XDG_STATE_HOME" in done.error[1]


def test_a_missing_program_is_named(topcoat: Cli, workspace: Path) -> None:
    done = topcoat("run", "--", "no-such-program")
    assert done.code == 1
    assert "no-such-program" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("build", "--image", "base:1"),
        ("run", "-s", "local_docker", "--image", "base:1", "--", "true"),
        ("list", "-s", "local_docker"),
    ],
)
def test_a_missing_engine_is_an_error_with_its_address(
    topcoat: Cli, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    done = topcoat(*words)
    assert (done.code, done.out) == (1, "")
    assert done.error[0] == f"cannot connect to the container engine at unix://{tmp_path}/no.sock: socket not found"
    assert "DOCKER_HOST" in done.error[1]


def test_a_registry_that_is_down(topcoat: Cli, workspace: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        done = topcoat("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app")
    assert (done.code, done.out) == (1, "")
    assert host in done.error[0]
    assert done.error[1]


def test_a_wrong_password_is_an_error_that_does_not_show_it(topcoat: Cli, workspace: Path, home: Path) -> None:
    for auth in ("basic", "bearer"):
        with FakeRegistry(auth=auth) as registry:
            add_base(registry)
            secret = base64.b64encode(b"tester:not-the-password").decode()
            (home / ".docker").mkdir(exist_ok=True)
            (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
            done = topcoat("build", "--image", f"{registry.host}/base:1", "--image-repo", f"{registry.host}/app")
            assert (done.code, done.out) == (1, "")
            assert registry.host in done.error[0]
            assert "docker login" in done.error[1]
            assert "not-the-password" not in done.err
            assert secret not in done.err
            assert "app" not in registry.repositories


def test_a_missing_base_image_is_named(topcoat: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    done = topcoat("build", "--image", f"{host}/nothing:1", "--image-repo", f"{host}/app")
    assert (done.code, done.out) == (1, "")
    assert f"{host}/nothing:1" in done.error[0]
    assert fake_registry.uploads == {}


def test_a_push_that_fails_leaves_no_upload_open(topcoat: Cli, workspace: Path, fake_registry: FakeRegistry) -> None:
    host = fake_registry.host
    fake_registry.fail(403, times=10, method="PUT", path="/manifests/")
    done = topcoat("build", "--image", f"{host}/base:1", "--image-repo", f"{host}/app")
    assert (done.code, done.out) == (1, "")
    assert host in done.error[0]
    assert fake_registry.repositories["app"].tags == {}
    assert fake_registry.uploads == {}


def test_a_component_that_raises(topcoat: Cli, workspace: Path) -> None:
    (workspace / "jobs.py").write_text("def job() -> 'AppDef':\n    raise ValueError('not today')\n")
    done = topcoat("run", "jobs.py:job")
    assert (done.code, done.out) == (2, "")
    assert "raised ValueError: not today" in done.error[0]
    assert "jobs.py:2" in done.error[0]


def test_a_component_file_that_cannot_be_loaded(topcoat: Cli, workspace: Path) -> None:
    (workspace / "jobs.py").write_text("def job(:\n")
    done = topcoat("run", "jobs.py:job")
    assert (done.code, done.out) == (2, "")
    assert "jobs.py:1" in done.error[0]


def test_a_role_without_an_image_is_refused_before_the_engine_is_contacted(topcoat: Cli, workspace: Path) -> None:
    (workspace / "jobs.py").write_text(
        "from topcoat.specs import AppDef, Role\n\n\n"
        "def job() -> AppDef:\n    return AppDef('job', [Role('r', '', entrypoint='true')])\n"
    )
    done = topcoat("run", "-s", "local_docker", "--workspace", "", "jobs.py:job")
    assert (done.code, done.out) == (2, "")
    assert "has no image" in done.error[0]
    assert "--image" in done.error[1]


def test_an_empty_repository_is_not_taken_for_the_local_engine(topcoat: Cli) -> None:
    done = topcoat("build", "--image", "base", "--image-repo", "")
    assert (done.code, done.out) == (2, "")
    assert done.error[0] == "--image-repo is empty"


@pytest.mark.parametrize("words", [("ls",), ("run", "--", "true")])
def test_a_current_directory_that_was_removed_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m topcoat {" ".join(words)}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "current directory no longer exists" in done.stderr
    assert "bug" not in done.stderr
