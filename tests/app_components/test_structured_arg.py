from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.components.structured_arg import JobShape, StructuredJArgument, StructuredNameArgument
from topcoat.errors import InvalidComponent

_counts = st.integers(1, 10_000)


@given(_counts, _counts, _counts)
def test_parsing_the_text_of_a_shape_returns_the_shape(low: int, more: int, processes: int) -> None:
    shape = JobShape(low, low + more, processes)
    assert JobShape.parse(f"{shape}x{processes}") == shape


@given(st.text(alphabet="0123x:-. "))
def test_any_text_is_an_error_or_a_job_with_nodes_and_processes(text: str) -> None:
    try:
        shape = JobShape.parse(text)
    except InvalidComponent:
        return
    assert 1 <= shape.min_nodes <= shape.nodes
    assert shape.processes >= 1


def test_arguments_are_printed_in_the_form_that_is_parsed() -> None:
    assert str(StructuredJArgument.parse_from("gpu.xlarge", "2")) == "2x8"
    assert str(StructuredNameArgument.parse_from("e/", script="a/b.py")) == "e/b"


@pytest.mark.parametrize(("m", "script"), [(None, None), ("a", "b"), ("", "")])
def test_a_name_needs_exactly_one_of_script_and_module(m: str | None, script: str | None) -> None:
    with pytest.raises(InvalidComponent):
        StructuredNameArgument.parse_from("a/b", m=m, script=script)
