from __future__ import annotations

from topcoat.specs import NULL_RESOURCE, Resource


def test_a_resource_has_torchx_fields_and_defaults() -> None:
    assert repr(Resource(cpu=4, gpu=1, memMB=8192)) == (
        "Resource(cpu=4, gpu=1, memMB=8192, capabilities={}, devices={}, tags={})"
    )
    assert (NULL_RESOURCE.cpu, NULL_RESOURCE.gpu, NULL_RESOURCE.memMB) == (-1, -1, -1)


def test_copy_adds_capabilities_and_shares_nothing() -> None:
    original = Resource(1, 2, 3, capabilities={"a": 1, "b": 2}, devices={"d": 1}, tags={"t": 1})
    copied = Resource.copy(original, b=5, c=6)
    assert copied.capabilities == {"a": 1, "b": 5, "c": 6}
    copied.devices["e"] = 2
    copied.tags["u"] = 2
    assert original == Resource(1, 2, 3, capabilities={"a": 1, "b": 2}, devices={"d": 1}, tags={"t": 1})


def test_tags_hold_the_name_and_whether_it_is_fractional() -> None:
    plain = Resource(1, 0, 1)
    assert plain.get_resource_name() is None
    assert not plain.is_fractional()
    tags: dict[str, object] = {
        "torchx/named_resources.name": "gpu_2",
        "torchx/named_resources.is_fractional": True,
    }
    slice_ = Resource(1, 0, 1, tags=tags)
    assert slice_.get_resource_name() == "gpu_2"
    assert slice_.is_fractional()
