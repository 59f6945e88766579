from __future__ import annotations

import copy
import dataclasses
import enum
from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidOverlay
from topcoat.specs import Role
from topcoat.specs.overlays import (
    DEL,
    JOIN,
    PUT,
    OverlaySpec,
    apply_overlay,
    get_overlay,
    load_overlay,
    parse_overlay,
    set_overlay,
    validate_overlay,
)


def applied(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    result, kept = copy.deepcopy(base), copy.deepcopy(overlay)
    apply_overlay(result, overlay)
    assert overlay == kept, "an overlay is applied to several roles"
    return result


def role() -> Role:
    return Role("trainer", "image")


def test_dicts_merge_lists_append_and_tuples_and_values_replace() -> None:
    base = {"spec": {"a": 1, "items": [1]}, "other": [1], "value": 1}
    overlay = {"spec": {"b": 2, "items": [2]}, "other": (2,), "value": "x", "new": ({"n": (1, 2)},)}
    assert applied(base, overlay) == {
        "spec": {"a": 1, "b": 2, "items": [1, 2]},
        "other": [2],
        "value": "x",
        "new": [{"n": [1, 2]}],
    }


def test_operators_replace_join_and_remove() -> None:
    base = {"containers": [{"name": "main", "image": "a", "cpu": 1}], "keep": {"x": 1}, "gone": 1}
    overlay = {
        JOIN("containers", on="name"): [{"name": "main", "image": "b"}, {"name": "side"}],
        PUT("keep"): {"y": 2},
        DEL("gone"): None,
        DEL("absent"): None,
    }
    assert applied(base, overlay) == {
        "containers": [{"name": "main", "image": "b", "cpu": 1}, {"name": "side"}],
        "keep": {"y": 2},
    }


def test_an_operator_works_in_an_object_that_the_base_does_not_have() -> None:
    assert applied({}, {"affinity": {PUT("nodeAffinity"): {"a": 1}, DEL("x"): None}}) == {
        "affinity": {"nodeAffinity": {"a": 1}}
    }


def test_none_sets_a_field_to_null() -> None:
    assert applied({"a": {"b": 1}, "c": 1}, {"c": None}) == {"a": {"b": 1}, "c": None}


@pytest.mark.parametrize(
    ("base", "overlay"),
    [
        ({"a": [1]}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": [1]}),
        ({"a": {"b": 1}}, {"a": "text"}),
        ({"a": {"b": 1}}, {"a": (1,)}),
        ({"a": 1}, {"a": {"b": 1}}),
        ({"a": [1]}, {JOIN("a", on="name"): [{"name": "x"}]}),
        ({"a": {}}, {JOIN("a", on="name"): [{"name": "x"}]}),
        ({}, {JOIN("a", on="name"): {"name": "x"}}),
        ({}, {"__join__:a": []}),
        ({}, {1: 2}),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    with pytest.raises(InvalidOverlay):
        apply_overlay(base, overlay)


def test_overlays_of_a_role_accumulate_with_their_operators() -> None:
    trainer = role()
    set_overlay(trainer, "kubernetes", "V1Pod", {"spec": {"a": [1], JOIN("c", on="name"): [{"name": "x", "v": 1}]}})
    set_overlay(trainer, "kubernetes", "V1Pod", {"spec": {"a": [2], JOIN("c", on="name"): [{"name": "x", "w": 2}]}})
    set_overlay(trainer, "kubernetes", "V1Pod", {"spec": {"t": (1,), DEL("d"): None}})
    overlay = get_overlay(trainer, "kubernetes", "V1Pod")
    base = {"spec": {"c": [{"name": "x", "v": 0}], "t": [0], "d": 1}}
    assert applied(base, overlay) == {"spec": {"a": [1, 2], "c": [{"name": "x", "v": 1, "w": 2}], "t": [1]}}
    assert get_overlay(trainer, "kubernetes", "Other") == {}
    assert get_overlay(trainer, "mast", "V1Pod") == {}


def test_a_dataclass_is_an_overlay_of_its_fields() -> None:
    class Priority(enum.IntEnum):
        HIGH = 7

    @dataclasses.dataclass
    class Options:
        priority: Priority = Priority.HIGH
        queue: str | None = None

    trainer = role()
    set_overlay(trainer, "scheduler", "Options", Options())
    assert get_overlay(trainer, "scheduler", "Options") == {"priority": 7}
    for wrong in (Options, "text", {"x": object()}):
        with pytest.raises(InvalidOverlay):
            set_overlay(trainer, "scheduler", "Options", wrong)


@pytest.mark.parametrize(
    "flat", [{"spec": {"a": 1}}, {"spec": {"a": 1}, "metadata": {"labels": {}}}, {"spec": {"a": 1}, "x": 1}]
)
def test_metadata_may_be_the_overlay_itself(flat: dict[str, Any]) -> None:
    trainer = role()
    trainer.metadata["kubernetes"] = flat
    assert get_overlay(trainer, "kubernetes", "V1Pod") == flat
    assert get_overlay(trainer, "kubernetes", "V1Pod", flat_fallback=False) == {}


def test_metadata_of_other_kinds_is_not_an_overlay() -> None:
    trainer = role()
    trainer.metadata["kubernetes"] = {"TaskA": {"a": 1}, "TaskB": {"b": 1}}
    assert get_overlay(trainer, "kubernetes", "V1Pod") == {}
    assert get_overlay(trainer, "kubernetes", "TaskA") == {"a": 1}


def test_metadata_may_name_a_yaml_or_json_file(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("spec:\n  volumes: !!python/tuple\n    - {name: v, emptyDir: {}}\n")
    (tmp_path / "pod.json").write_text('{"V1Pod": {"spec": {"a": 1}}}')
    trainer = role()
    trainer.metadata["kubernetes"] = f"file://{tmp_path}/pod.yaml"
    overlay = get_overlay(trainer, "kubernetes", "V1Pod")
    assert applied({"spec": {"volumes": [1]}}, overlay) == {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    trainer.metadata["kubernetes"] = str(tmp_path / "pod.json")
    assert get_overlay(trainer, "kubernetes", "V1Pod") == {"spec": {"a": 1}}


@pytest.mark.parametrize("text", ["- a", "text", "{a: [", "!!python/object:os.system {}", "a: !!int x", "[" * 5000])
def test_a_file_that_is_no_overlay_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pod.yaml").write_text(text)
    with pytest.raises(InvalidOverlay, match=r"pod\.yaml"):
        load_overlay(str(tmp_path / "pod.yaml"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOverlay, match="cannot read"):
        load_overlay(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidOverlay, match="cannot read"):
        load_overlay("nothing://x/y.yaml")


def test_fields_that_a_role_has_itself_are_refused() -> None:
    spec = OverlaySpec("kubernetes", "V1Pod", blocklist=("command", "env"))
    trainer = role()
    spec.set(trainer, {"spec": {"a": 1}})
    assert spec.get(trainer) == {"spec": {"a": 1}}
    with pytest.raises(InvalidOverlay, match=r"V1Pod\.env"):
        spec.set(trainer, {PUT("env"): {}})
    with pytest.raises(InvalidOverlay, match="misplaced keys: a"):
        validate_overlay({DEL("a"): None}, forbidden_keys={"a"}, suggestion="put it there")


def test_parse_overlay_reads_operators_as_keys() -> None:
    assert parse_overlay("{__put__:spec: {a: !!python/tuple [1]}}", "it") == {PUT("spec"): {"a": (1,)}}


@pytest.mark.parametrize("text", ["hush: *hush\n", "hush: hush: hush\n", "{hush", "!hush x\n", "\thush", "hush\0"])
def test_no_line_of_an_overlay_is_in_an_error(tmp_path: Path, text: str) -> None:
    # The configuration file of a pull request may name any file of the machine.
    (tmp_path / "overlay").write_text(text)
    with pytest.raises(InvalidOverlay, match=r"is not valid YAML: \w+Error( in line 1)?$") as caught:
        load_overlay(str(tmp_path / "overlay"))
    assert "hush" not in str(caught.value)
