"""The run options of the scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.kubernetes.options import (
    Opts,
    check_options,
    is_label_key,
    is_label_value,
    parse_tolerations,
    read_affinity,
    read_overlay,
)
from topcoat.schedulers.kubernetes.scheduler import create_scheduler


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"namespace": "Team"}, "namespace 'Team'"),
        ({"namespace": "x" * 64}, "namespace"),
        ({"gang": "all"}, "gang 'all'"),
        ({"image_pull_policy": "always"}, "image_pull_policy 'always'"),
        ({"service_account": "a/b"}, "service_account 'a/b'"),
        ({"priority_class": "A"}, "priority_class 'A'"),
        ({"queue": "a b"}, "queue 'a b'"),
        ({"image_pull_secrets": ["ok", "NO"]}, "image_pull_secrets 'NO'"),
        ({"ttl_seconds_after_finished": -1}, "ttl_seconds_after_finished -1"),
        ({"active_deadline_seconds": 0}, "active_deadline_seconds 0"),
        ({"reserved_millicpu": -1}, "reserved_millicpu -1"),
        ({"reserved_memmb": 2**31}, "reserved_memmb"),
        ({"efa_device_count": -1}, "efa_device_count -1"),
        ({"pull_patience": -1}, "pull_patience -1"),
        ({"labels": {"a b": "x"}}, "labels 'a b'"),
        ({"labels": {"a": "b c"}}, "labels 'a: b c'"),
        ({"node_selector": {"a": "-b"}}, "node_selector"),
        ({"annotations": {"/a": "x"}}, "annotations '/a'"),
        ({"annotations": {"a": "x" * 200_000}}, "annotations are larger"),
        ({"tolerations": ["a:Never"]}, "tolerations 'a:Never'"),
        ({"tolerations": ["a=b c"]}, "tolerations"),
        ({"gang": "kueue"}, "needs a queue"),
        ({"gang": "podgroup", "queue": "q"}, "has no effect"),
        ({"gang": "none", "queue": "q"}, "has no effect"),
    ],
)
def test_an_invalid_option_is_named_with_its_value(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRunConfigException) as raised:
        check_options(Opts(**options))
    assert text in str(raised.value)
    assert raised.value.cfg_key in (*options, "queue")


def test_an_invalid_entrypoint_option_is_refused() -> None:
    with pytest.raises(InvalidRunConfigException, match="image_entrypoint 'x'"):
        check_options(Opts.from_cfg({"image_entrypoint": "x"}))


def test_tolerations_are_written_as_taints_are() -> None:
    assert parse_tolerations(Opts(tolerations=["a", "a=b", "a=b:NoSchedule", "a:NoExecute", ":NoExecute", "a="])) == [
        {"key": "a", "operator": "Exists"},
        {"key": "a", "operator": "Equal", "value": "b"},
        {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},
        {"key": "a", "operator": "Exists", "effect": "NoExecute"},
        {"operator": "Exists", "effect": "NoExecute"},
        {"key": "a", "operator": "Equal", "value": ""},
    ]


def test_an_overlay_is_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("spec: {hostNetwork: true}\n")
    expected = {"spec": {"hostNetwork": True}}
    for text in (str(tmp_path / "pod.yaml"), f"file://{tmp_path}/pod.yaml", "{spec: {hostNetwork: true}}"):
        assert read_overlay(Opts(pod_overlay=text)) == expected
    assert read_overlay(Opts(pod_overlay='{"spec": {"hostNetwork": true}}')) == expected
    assert read_overlay(Opts()) == {}
    assert read_affinity(Opts(affinity="nodeAffinity: {}")) == {"nodeAffinity": {}}


@pytest.mark.parametrize("text", ["none.yaml", "{spec: [}", "{a", "a: b\n- c"])
def test_an_overlay_that_cannot_be_read_names_the_option(text: str) -> None:
    with pytest.raises(InvalidRunConfigException) as raised:
        read_overlay(Opts(pod_overlay=text))
    assert raised.value.cfg_key == "pod_overlay"
    assert "pod_overlay=FILE.yaml" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("key", "valid"),
    [("a", True), ("a.b/c_d", True), ("a/b/c", False), ("", False), ("a/", False), ("A.b/c", False), ("x" * 64, False)],
)
def test_label_keys(key: str, valid: bool) -> None:
    assert is_label_key(key) is valid


@pytest.mark.parametrize(
    ("value", "valid"), [("", True), ("A-b_c.9", True), ("-a", False), ("a" * 64, False), ("ü", False)]
)
def test_label_values(value: str, valid: bool) -> None:
    assert is_label_value(value) is valid


def test_the_options_have_torchxs_names_and_defaults() -> None:
    opts = {name: opt.default for name, opt in create_scheduler("s").run_opts()}
    assert opts["reserved_millicpu"] == 100
    assert opts["reserved_memmb"] == 1024
    for name in ("queue", "service_account", "priority_class", "efa_device_count", "image_repo"):
        assert opts[name] is None
    assert all(opt.help for _, opt in create_scheduler("s").run_opts())
