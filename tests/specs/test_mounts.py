from __future__ import annotations

import os

import pytest

from topcoat.errors import InvalidMount
from topcoat.specs import BindMount, DeviceMount, VolumeMount, parse_mounts


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        ([], []),
        (["type=bind", "src=/a", "dst=/b"], [BindMount("/a", "/b")]),
        (["type=bind", "source=/a", "target=/b", "read_only"], [BindMount("/a", "/b", read_only=True)]),
        (["type=bind", "src=/a", "destination=/b", "readonly=false"], [BindMount("/a", "/b")]),
        (["type=volume", "src=v", "dst=/b", "readonly=true"], [VolumeMount("v", "/b", read_only=True)]),
        (["type=device", "src=/dev/a"], [DeviceMount("/dev/a", "/dev/a", "rwm")]),
        (["type=device", "src=/dev/a", "dst=/dev/b", "perm=rw"], [DeviceMount("/dev/a", "/dev/b", "rw")]),
        (
            ["type=bind", "src=/a", "dst=/b", "type=volume", "src=v", "dst=/c"],
            [BindMount("/a", "/b"), VolumeMount("v", "/c")],
        ),
        (["type=bind,src=/a,dst=/b,readonly", "type=bind", "src=/c,d", "dst=/e"],
         [BindMount("/a", "/b", read_only=True), BindMount("/c,d", "/e")]),
    ],
)  # fmt: skip
def test_mounts_are_parsed_with_docker_s_option_names(opts: list[str], expected: list[object]) -> None:
    assert parse_mounts(opts) == expected


def test_the_home_directory_is_expanded_in_a_bind_mount_only() -> None:
    assert parse_mounts(["type=bind", "src=~/d", "dst=/d"]) == [BindMount(os.path.expanduser("~/d"), "/d")]
    assert parse_mounts(["type=volume", "src=~v", "dst=/d"]) == [VolumeMount("~v", "/d")]


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["src=/a"], "must begin with type="),
        (["type=bind", "nope=1"], "unknown mount option 'nope'"),
        (["type=nfs", "src=/a", "dst=/b"], "invalid mount type 'nfs' in type=nfs,src=/a,dst=/b"),
        (["type=bind", "dst=/b"], "has no src"),
        (["type=bind", "src=/a"], "has no dst"),
        (["type=bind", "src=/a", "dst=/b", "perm=r"], "invalid option 'perm' for a bind mount"),
        (["type=bind", "src=/a", "dst=/b", "readonly=maybe"], "invalid readonly 'maybe'"),
        (["type=device", "src=/a", "perm=rx"], "invalid perm 'rx'"),
        (["type=device", "src=/a", "perm="], "invalid perm ''"),
    ],
)
def test_malformed_mounts_are_errors_that_show_the_grammar(opts: list[str], message: str) -> None:
    with pytest.raises(InvalidMount, match=message) as caught:
        parse_mounts(opts)
    assert "type=bind,src=" in str(caught.value.hint)
