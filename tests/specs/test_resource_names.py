from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from topcoat.errors import UnknownResource
from topcoat.specs import Resource, get_named_resources, named_resources, resource
from topcoat.specs.resource_names import NamedResources


def test_each_lookup_returns_a_new_object() -> None:
    named_resources["aws_p5.48xlarge"].capabilities.clear()
    resource(h="NULL").cpu = 3
    assert named_resources["aws_p5.48xlarge"].capabilities
    assert resource(h="NULL").cpu == -1


def test_a_resource_has_torchx_defaults_and_a_name_overrides_sizes() -> None:
    assert resource() == Resource(cpu=2, gpu=0, memMB=1024)
    assert resource(cpu=4, gpu=1, memMB=5) == Resource(cpu=4, gpu=1, memMB=5)
    assert resource(cpu=4, h="cpu.small") == Resource(cpu=1, gpu=0, memMB=2048)
    assert get_named_resources("cpu.small") == resource(h="cpu.small")


def test_the_error_for_an_unknown_name_suggests_similar_names() -> None:
    with pytest.raises(UnknownResource, match=r"unknown named resource 'gpu\.smal'") as caught:
        resource(h="gpu.smal")
    assert "gpu.small" in str(caught.value.hint)
    with pytest.raises(KeyError):
        named_resources["@@@"]
    assert "@@@" not in named_resources


class _OtherResource:
    cpu, gpu, memMB, capabilities = 3, 1, 7, {"c": 1}  # noqa: N815


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> NamedResources:
    # The shared mapping reads entry points once: here, before they are replaced.
    assert len(named_resources)

    def entry_points(*, group: str) -> list[EntryPoint]:
        values = {
            "torchx.named_resources": {"gpu.small": "of_torchx", "theirs": "of_torchx"},
            "topcoat.named_resources": {"gpu.small": "ours", "broken": "fails"},
        }[group]
        return [EntryPoint(name, f"{__name__}:{value}", group) for name, value in values.items()]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    for name, function in (("ours", _ours), ("of_torchx", _OtherResource), ("fails", _fails)):
        monkeypatch.setitem(globals(), name, function)
    monkeypatch.setitem(__import__("sys").modules, __name__, _Here())
    return NamedResources()


class _Here:
    def __getattr__(self, name: str) -> object:
        return globals()[name]


def _ours() -> Resource:
    return Resource(cpu=9, gpu=9, memMB=9)


def _fails() -> Resource:
    raise RuntimeError("no quota")


def test_entry_points_add_and_replace_resources_and_keep_the_others(plugged: NamedResources) -> None:
    assert plugged["gpu.small"] == _ours()
    assert plugged["theirs"] == Resource(cpu=3, gpu=1, memMB=7, capabilities={"c": 1})
    assert plugged["gpu.medium"] == resource(h="gpu.medium")
    assert len(plugged) == len(list(plugged)) == len(named_resources) + 2


def test_the_error_names_a_failing_entry_point_and_its_exception(plugged: NamedResources) -> None:
    with pytest.raises(UnknownResource, match=r"'broken' \(.*:fails\) failed: RuntimeError: no quota"):
        plugged["broken"]
