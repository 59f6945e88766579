"""The run options of image workspaces: parsed, and refused before any file is read or host asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidReference, InvalidRunConfigException
from topcoat.images.options import ImageOptions, image_options, image_opts
from topcoat.oci.reference import Reference
from topcoat.pack.tar import Ownership
from topcoat.runner import Runner
from topcoat.schedulers.api import Scheduler
from topcoat.specs import AppDef, CfgVal, Role, Workspace
from topcoat.workspace.docker_workspace import DockerWorkspaceMixin
from topcoat.workspace.hooks import RunsFrom


def test_the_defaults_of_the_run_options_are_those_of_a_build() -> None:
    assert image_options(image_opts().resolve({})) == image_options({}) == ImageOptions()


def test_every_option_is_parsed() -> None:
    cfg: dict[str, CfgVal] = {
        "image_repo": "registry.example.com/team/app",
        "platform": "linux/aarch64",
        "workspace_dir": "/w/./x/",
        "chown": "1:2",
        "modes": "exact",
        "mtime": "preserve",
        "pythonpath": False,
        "hot": False,
        "compression": "zstd",
        "base_scan_limit": 7,
        "build_args": {"A": "b"},
        "rebuild": True,
        "verify": True,
        "create_repository": True,
        "quiet": True,
    }
    repository = Reference.parse("registry.example.com/team/app")
    expected = ImageOptions(
        repository,
        "linux/arm64",
        "/w/x",
        Ownership(1, 2),
        "exact",
        "preserve",
        pythonpath=False,
        hot=False,
        compression="zstd",
        base_scan_limit=7,
        build_args={"A": "b"},
        rebuild=True,
        verify=True,
        create_repository=True,
        quiet=True,
    )
    assert image_options(cfg) == expected
    assert set(cfg) == {name for name, _ in image_opts()}


def test_torchxs_options_have_torchxs_defaults() -> None:
    options = dict(image_opts())
    assert (options["image_repo"].default, options["quiet"].default) == (None, False)


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("5", (5, 5)),
        ("1000:100", (1000, 100)),
        ("2097152:0", (2_097_152, 0)),
        ("4294967294:4294967294", (2**32 - 2, 2**32 - 2)),
    ],
)
def test_chown_takes_numbers(text: str, owner: tuple[int, int]) -> None:
    assert image_options({"chown": text}).owner == Ownership(*owner)


INVALID: list[tuple[str, Any]] = [
    *[("chown", text) for text in ("me", "1:", ":1", "1:me", "-1", "1:2:3", "0x1", "٣", "4294967295", "99999999999")],
    *[("workspace_dir", text) for text in ("app", "/app/../etc", "../x")],
    *[("platform", text) for text in ("linux", "linux/amd64/v1/x", "linux//")],
    *[("base_scan_limit", value) for value in (-1, "many", True, 1.5)],
    ("modes", "0644"),
    ("mtime", "now"),
    ("compression", "none"),
    ("build_args", "A=b"),
    *[("image_repo", text) for text in ("127.0.0.1:5000", "localhost:5000", "localhost", "reg.corp", "reg:5000")],
    ("image_repo", "127.0.0.1:5000/app:latest"),
    ("image_repo", f"h.io/app@sha256:{'a' * 64}"),
]


@pytest.mark.parametrize(("key", "value"), INVALID)
def test_an_invalid_value_is_an_error_that_names_the_option_and_a_way_out(key: str, value: Any) -> None:
    with pytest.raises(InvalidRunConfigException, match=f"invalid {key} ") as raised:
        image_options({key: value})
    assert raised.value.hint
    assert raised.value.cfg_key == key


class _Jobs(DockerWorkspaceMixin, Scheduler[dict[str, CfgVal]]):
    """A scheduler for jobs elsewhere, which submits nothing."""

    runs_from = RunsFrom.REGISTRY

    def _submit_dryrun(self, app: Any, cfg: Any) -> Any:
        raise AssertionError("not reached")

    schedule = describe = list = _cancel_existing = _submit_dryrun  # type: ignore[assignment]


@pytest.mark.parametrize(("key", "value"), [*INVALID, ("image_repo", None)])
def test_an_invalid_value_is_an_error_before_any_file_is_read_or_host_contacted(
    key: str, value: Any, tmp_path: Path
) -> None:
    # Neither the workspace nor the registry exists.
    role = Role("r", "127.0.0.1:9/base", entrypoint="true", workspace=Workspace({str(tmp_path / "missing"): ""}))
    cfg = {"image_repo": "127.0.0.1:9/app", key: value}
    runner = Runner("s", {"jobs": lambda session_name, **_: _Jobs("jobs", session_name)})
    with pytest.raises(InvalidRunConfigException) as raised:
        runner.dryrun(AppDef("app", [role]), "jobs", cfg)
    assert key in str(raised.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("registry.example.com/team/app", "registry.example.com/team/app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app"),
        ("localhost:5000/a/b", "localhost:5000/a/b"),
        ("me/app", "docker.io/me/app"),
    ],
)
def test_a_repository_is_named_without_a_tag(text: str, name: str) -> None:
    repository = image_options({"image_repo": text}).repository
    assert repository is not None
    assert f"{repository.registry}/{repository.repository}" == name


@pytest.mark.parametrize("cfg", [{}, {"image_repo": None}, {"image_repo": ""}])
def test_without_image_repo_there_is_no_repository(cfg: dict[str, Any]) -> None:
    assert image_options(cfg).repository is None


def test_the_hint_for_a_repository_with_a_tag_names_it_without() -> None:
    with pytest.raises(InvalidRunConfigException) as raised:
        image_options({"image_repo": "team/app:v1"})
    assert raised.value.hint == "image_repo=docker.io/team/app"


@pytest.mark.parametrize("text", ["Upper/App", "h.io/", "a b"])
def test_an_invalid_repository_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as raised:
        image_options({"image_repo": text})
    assert raised.value.hint
