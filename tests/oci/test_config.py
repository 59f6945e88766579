"""Image configs: what is read of them, and that one image has one identity wherever it is read from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from topcoat.errors import InvalidImage
from topcoat.oci.config import ImageConfig
from topcoat.oci.platform import Platform

IDS = ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
REGISTRY: dict[str, Any] = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "created": "2024-05-01T00:00:00Z",
    "config": {
        "Env": ["PATH=/usr/bin:/bin", "A=1", "EMPTY=", "EQUALS=a=b"],
        "Entrypoint": ["python3"],
        "WorkingDir": "/app/",
        "Labels": {"b": "2", "a": "1"},
        "ExposedPorts": {"80/tcp": {}},
        "User": "1000",
    },
    "rootfs": {"type": "layers", "diff_ids": IDS},
    "history": [{"created_by": "ADD rootfs"}, {"created_by": "ENV A=1", "empty_layer": True}, {"created_by": "RUN x"}],
    "moby.buildkit.cache.v0": "unknown to us",
}


def config(document: object) -> ImageConfig:
    return ImageConfig.parse(json.dumps(document).encode())


def changed(**settings: object) -> ImageConfig:
    return config({**REGISTRY, "config": {**REGISTRY["config"], **settings}})


def test_the_settings_of_an_image_are_read() -> None:
    parsed = config(REGISTRY)
    assert parsed.platform == Platform("linux", "arm64", "v8")
    assert parsed.diff_ids == tuple(IDS)
    assert parsed.working_dir == "/app"
    assert list(parsed.env.items()) == [("PATH", "/usr/bin:/bin"), ("A", "1"), ("EMPTY", ""), ("EQUALS", "a=b")]
    assert parsed.settings["User"] == "1000"
    assert parsed.document == REGISTRY


@pytest.mark.parametrize("document", [{"rootfs": {"diff_ids": []}}, {"rootfs": {"diff_ids": []}, "config": None}])
def test_missing_settings_are_empty(document: object) -> None:
    parsed = config(document)
    assert (parsed.diff_ids, parsed.settings, parsed.env, parsed.working_dir) == ((), {}, {}, "/")
    assert str(parsed.platform) == "unknown/unknown"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", "/"), (None, "/"), ("/", "/"), ("//", "/"), ("app", "/app"), ("/app", "/app"), ("/a/b/", "/a/b")],
)
def test_the_working_directory_is_absolute(value: object, expected: str) -> None:
    assert changed(WorkingDir=value).working_dir == expected


def test_null_settings_are_empty() -> None:
    changed_config = changed(Env=None, Labels=None, Entrypoint=None)
    assert changed_config.env == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", r"has no rootfs\.diff_ids"),
        (b'{"rootfs": []}', r"has no rootfs\.diff_ids"),
        (b'{"rootfs": {"diff_ids": "sha256:1"}}', r"has no rootfs\.diff_ids"),
        (b'{"rootfs": {"diff_ids": [1]}}', r"has no rootfs\.diff_ids"),
    ],
)
def test_an_invalid_config_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        ImageConfig.parse(data)


def daemon_like(document: dict[str, Any]) -> dict[str, Any]:
    """Return what an engine's ``inspect`` makes of a config: every key there is, most of them null; no history."""
    nothing = {
        "Hostname": "",
        "Domainname": "",
        "AttachStdin": False,
        "Tty": False,
        "Cmd": None,
        "Entrypoint": None,
        "Env": None,
        "Healthcheck": None,
        "Image": "sha256:" + "9" * 64,
        "Labels": None,
        "OnBuild": None,
        "Shell": None,
        "User": "",
        "Volumes": None,
        "WorkingDir": "",
    }
    kept = {key: document[key] for key in ("architecture", "os", "variant", "rootfs", "created")}
    return {**kept, "config": {**nothing, **document["config"]}}


def test_an_image_has_one_identity_in_a_registry_and_in_an_engine() -> None:
    parsed = config(REGISTRY)
    assert config(daemon_like(REGISTRY)).identity == parsed.identity
    assert changed(Cmd=[], OnBuild=[], Volumes={}, Tty=False, ArgsEscaped=True).identity == parsed.identity
    assert config({**REGISTRY, "created": "2030-01-01T00:00:00Z", "docker_version": "27"}).identity == parsed.identity
    assert config({**REGISTRY, "variant": ""}).identity == parsed.identity
    assert changed(WorkingDir="/app").identity == parsed.identity
    assert changed(Labels={"a": "1", "b": "2"}).identity == parsed.identity


@pytest.mark.parametrize(
    "other",
    [
        changed(Env=["A=1", "PATH=/usr/bin:/bin", "EMPTY=", "EQUALS=a=b"]),
        changed(Env=[]),
        changed(Entrypoint=["python"]),
        changed(Cmd=["x"]),
        changed(WorkingDir="/"),
        changed(User="0"),
        changed(Labels={"a": "1"}),
        changed(Healthcheck={"Test": ["NONE"]}),
        changed(StopSignal="SIGINT"),
        config({**REGISTRY, "os": "windows"}),
        config({**REGISTRY, "variant": "v9"}),
        config({**REGISTRY, "rootfs": {"type": "layers", "diff_ids": IDS[::-1]}}),
        config({**REGISTRY, "rootfs": {"type": "layers", "diff_ids": IDS[:1]}}),
    ],
)
def test_another_platform_layer_or_setting_is_another_identity(other: ImageConfig) -> None:
    assert other.identity != config(REGISTRY).identity


def test_an_identity_never_changes() -> None:
    assert config(REGISTRY).identity == config(REGISTRY).identity
    assert config(REGISTRY).identity.startswith("sha256:")
