from __future__ import annotations

from typing import Annotated, Any, Dict, List, Optional, Union  # noqa: UP035

import pytest

from topcoat.specs.values import accepts, decode, parameter_type


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "a b", "a b"),
        (str, "None", "None"),
        (int, "-3", -3),
        (float, "1e-3", 0.001),
        (bool, "True", True),
        (bool, "off", False),
        (Optional[int], "3", 3),  # noqa: UP045
        (int | None, "3", 3),
        (None | int, "3", 3),
        (Union[str, None], "x", "x"),  # noqa: UP007
        (list[str], "a,b", ["a", "b"]),
        (List[int], "1, 2", [1, 2]),  # noqa: UP006
        (list, "a;b,c", ["a;b", "c"]),
        (list[str], '"a,b",c', ["a,b", "c"]),
        (list[str], "", []),
        (list[str] | None, "", None),
        (dict[str, str], "K=V,K2=V2", {"K": "V", "K2": "V2"}),
        (Dict[str, int], "K=1", {"K": 1}),  # noqa: UP006
        (dict, "K=a,b,L=c", {"K": "a,b", "L": "c"}),
        (dict[str, str] | None, "", None),
        (dict[str, list[str]], "K=a,b,L=c;d", {"K": ["a", "b"], "L": ["c", "d"]}),
        (Dict[str, List[int]], "K=1,2", {"K": [1, 2]}),  # noqa: UP006
        (Annotated[int, "-n", 7], "3", 3),
    ],
)
def test_text_is_parsed_as_the_parameter_s_type(annotation: Any, text: str, value: object) -> None:
    type_ = parameter_type(annotation)
    assert decode(text, type_) == value
    assert accepts(value, type_)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "x", "'x' is not an integer"),
        (float, "x", "'x' is not a number"),
        (bool, "maybe", "neither true"),
        (list[int], "1,x", "'x' is not an integer"),
        (dict[str, str], "K", "expected key=value"),
        (dict[str, int], "K=x", "'x' is not an integer"),
    ],
)
def test_invalid_text_is_a_value_error(annotation: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(text, parameter_type(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        set,
        object,
        int | str,
        int | str | None,
        list[list[str]],
        dict[str, dict[str, str]],
        dict[str, list[list[str]]],
        list[int | None],
        tuple[str, ...],
        Any,
    ],
)
def test_unsupported_annotations_are_type_errors(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"unsupported type .*: choose str, int, float, bool"):
        parameter_type(annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "accepted"),
    [
        (None, int, False),
        (None, int | None, True),
        (True, int, False),
        (1, bool, False),
        (1, float, True),
        (["a"], str, False),
        ([1], list[str], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "1"}, dict[str, int], False),
        ({}, list[str], False),
        ("a", list[str], False),
    ],
)
def test_python_values_are_accepted_if_they_have_the_type(value: object, annotation: Any, accepted: bool) -> None:
    assert accepts(value, parameter_type(annotation)) is accepted


def test_annotations_may_add_flags_and_types_have_names() -> None:
    assert parameter_type(Annotated[int | None, "-n", "--number"]).flags == ("-n", "--number")
    assert str(parameter_type(dict[str, int] | None)) == "dict[str, int] | None"
