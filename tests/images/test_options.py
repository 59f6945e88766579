"""The run options of image workspaces, read and refused."""

from __future__ import annotations

from typing import Any

import pytest
from topcoat.images.build import ImageOptions

from topcoat.errors import InvalidReference, InvalidRunConfigException, TopcoatError
from topcoat.images.options import build_args, image_options, image_opts, image_repository
from topcoat.specs import CfgVal


def test_the_defaults_of_the_run_options_are_those_of_the_build() -> None:
    assert image_options(image_opts().resolve({})) == image_options({}) == ImageOptions()


def test_every_option_is_read() -> None:
    cfg: dict[str, CfgVal] = {
        "platform": "linux/arm64",
        "workspace_dir": "/w",
        "chown": "1:2",
        "modes": "exact",
        "mtime": "preserve",
        "pythonpath": False,
        "hot": False,
        "compression": "zstd",
        "base_scan_limit": 7,
    }
    read = ImageOptions("linux/arm64", "/w", "1:2", "exact", "preserve", False, False, "zstd", 7)
    assert image_options(cfg) == read
    assert set(cfg) | {"image_repo", "quiet", "build_args", "rebuild"} == {name for name, _ in image_opts()}


def test_torchxs_options_have_torchxs_defaults() -> None:
    options = dict(image_opts())
    assert (options["image_repo"].default, options["quiet"].default) == (None, False)


@pytest.mark.parametrize(("key", "value"), [("modes", "0644"), ("mtime", "now"), ("compression", "none")])
def test_a_value_that_is_no_choice_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=f"invalid {key} '{value}'") as raised:
        image_options({key: value})
    choices = {"modes": "portable or exact", "mtime": "content or preserve", "compression": "gzip or zstd"}
    assert raised.value.hint == f"choose {choices[key]}"


@pytest.mark.parametrize("value", [-1, "many"])
def test_a_limit_that_is_no_number_of_megabytes_is_refused(value: CfgVal) -> None:
    with pytest.raises(InvalidRunConfigException, match="base_scan_limit") as raised:
        image_options({"base_scan_limit": value})
    assert raised.value.hint


def test_no_limit_is_a_limit_of_its_own() -> None:
    assert image_options({"base_scan_limit": 0}).base_scan_limit == 0


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
    found = image_repository({"image_repo": text})
    assert found is not None
    assert f"{found.registry}/{found.repository}" == name


@pytest.mark.parametrize("cfg", [{}, {"image_repo": None}, {"image_repo": ""}])
def test_no_repository(cfg: dict[str, Any]) -> None:
    assert image_repository(cfg) is None


@pytest.mark.parametrize("text", ["127.0.0.1:5000/app:latest", "app:v1", f"h.io/app@sha256:{'a' * 64}"])
def test_a_repository_with_a_tag_or_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidRunConfigException, match="the tag is made from the content") as raised:
        image_repository({"image_repo": text})
    assert (raised.value.hint or "").startswith("image_repo=")
    assert ":v1" not in (raised.value.hint or "")


@pytest.mark.parametrize("text", ["Upper/App", "h.io/", "a b"])
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as raised:
        image_repository({"image_repo": text})
    assert raised.value.hint


def test_build_args_are_a_mapping() -> None:
    assert build_args({}) == {}
    assert build_args({"build_args": {"A": "b"}}) == {"A": "b"}
    with pytest.raises(TopcoatError, match="build_args"):
        build_args({"build_args": "A=b"})
