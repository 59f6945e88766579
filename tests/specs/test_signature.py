from __future__ import annotations

from typing import Annotated, Any

import pytest

from topcoat.errors import InvalidComponent
from topcoat.specs import AppDef
from topcoat.specs.signature import component_help, component_signature


def train(epochs: int, *files: str, name: str = "t", rate: Annotated[float, "-lr"] = 0.1) -> AppDef:
    """Train a model.

    Args:
        epochs: how often
        files: what to read
    """
    return AppDef(name)


def _keywords(**x: str) -> AppDef: ...  # type: ignore[empty-body]
def _bad_type(x: set[str]) -> AppDef: ...  # type: ignore[empty-body]
def _unknown_type(x: Nowhere) -> AppDef: ...  # type: ignore[empty-body,name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_keywords, r"has \*\*x, which the command line cannot set"),
        (_bad_type, r"'x' .*: unsupported type set\[str\]: choose str"),
        (_unknown_type, "invalid type of the parameter 'x' .*: name 'Nowhere' is not defined"),
    ],
)
def test_unsupported_parameters_are_errors(function: Any, message: str) -> None:
    with pytest.raises(InvalidComponent, match=message):
        component_signature(function)


def test_help_shows_the_texts_of_the_docstring() -> None:
    assert component_help(train, "my.train").splitlines()[:8] == [
        "usage: topcoat run [...] my.train [--help] [--PARAMETER VALUE ...] [files ...]",
        "",
        "Train a model.",
        "",
        "  --epochs int",
        "        how often (required)",
        "  --name str",
        "        (default: 't')",
    ]
    assert "  -lr, --rate float\n" in component_help(train, "my.train")
    assert component_help(train, "my.train").endswith("  files ...\n        what to read\n")


def _untyped(x, n=3, f=0.5, b=False, o=None):  # type: ignore[no-untyped-def]
    return AppDef(f"{x!r} {n!r} {f!r} {b!r} {o!r}")


def test_a_parameter_without_a_type_has_the_type_of_its_default_or_is_text() -> None:
    types = [str(parameter.type) for parameter in component_signature(_untyped).parameters]
    assert types == ["str", "int", "float", "bool", "str"]
