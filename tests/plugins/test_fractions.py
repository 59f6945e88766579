from __future__ import annotations

import pytest

from topcoat.plugins import halve_mem_down_to, powers_of_two_gpus
from topcoat.specs import GiB, Resource


def test_gpus_are_halved_down_to_one() -> None:
    assert powers_of_two_gpus(Resource(1, 8, 1)) == {1.0: "8", 0.5: "4", 0.25: "2", 0.125: "1"}


@pytest.mark.parametrize("gpus", [0, -1, 6])
def test_gpus_must_be_a_power_of_two(gpus: int) -> None:
    with pytest.raises(ValueError, match=f"cannot halve {gpus} GPUs"):
        powers_of_two_gpus(Resource(1, gpus, 1))


def test_memory_is_halved_down_to_the_minimum() -> None:
    assert halve_mem_down_to(minGiB=16)(Resource(1, 0, 64 * GiB)) == {1.0: "64", 0.5: "32", 0.25: "16"}
    assert halve_mem_down_to(minGiB=3)(Resource(1, 0, 12 * GiB)) == {1.0: "12", 0.5: "6", 0.25: "3"}


@pytest.mark.parametrize(("mib", "minimum"), [(0, 1), (1000, 1), (12 * GiB, 2)])
def test_every_half_must_be_a_number_of_gib(mib: int, minimum: int) -> None:
    with pytest.raises(ValueError, match="cannot halve"):
        halve_mem_down_to(minGiB=minimum)(Resource(1, 0, mib))
