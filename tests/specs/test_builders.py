from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from topcoat.errors import InvalidComponent, UnknownResource
from topcoat.specs import AppDef, Role, materialize_appdef, resource


def train(
    epochs: int,
    *files: str,
    name: str = "t",
    j: str = "1x1",
    env: dict[str, str] | None = None,
    hosts: list[str] = [],  # noqa: B006
    debug: bool = False,
    rate: Annotated[float, "-lr"] = 0.1,
) -> AppDef:
    """Train a model.

    Args:
        epochs: how often
        files: what to read
        env: variables
    """
    return AppDef(
        name,
        [Role("r", "i")],
        {"seen": repr((epochs, files, j, env, hosts, debug, rate))},
    )


def seen(words: Sequence[str] | dict[str, Any], **more: Any) -> object:
    return eval(materialize_appdef(train, words, **more).metadata["seen"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "3"], (3, (), "1x1", None, [], False, 0.1)),
        (["--epochs=3", "-j", "2x4"], (3, (), "2x4", None, [], False, 0.1)),
        (["--epochs=3", "-j2x4"], (3, (), "2x4", None, [], False, 0.1)),
        (["--epochs=3", "-j=2x4"], (3, (), "2x4", None, [], False, 0.1)),
        (["--epochs=3", "--j", "2x4"], (3, (), "2x4", None, [], False, 0.1)),
        (["--epochs=3", "-lr", "1"], (3, (), "1x1", None, [], False, 1.0)),
        (["--epochs=3", "-lr=1"], (3, (), "1x1", None, [], False, 1.0)),
        (["--epochs=-3", "--env", "A=1,B=x y"], (-3, (), "1x1", {"A": "1", "B": "x y"}, [], False, 0.1)),
        (["--epochs", "-3", "--hosts", "a,b"], (-3, (), "1x1", None, ["a", "b"], False, 0.1)),
        (["--epochs=3", "--debug", "True", "x"], (3, ("x",), "1x1", None, [], True, 0.1)),
        (["--epochs=3", "x", "--debug", "y"], (3, ("x", "--debug", "y"), "1x1", None, [], False, 0.1)),
        (["--epochs=3", "--", "-j", "y"], (3, ("-j", "y"), "1x1", None, [], False, 0.1)),
        (["--epochs=3", "x", "--", "y"], (3, ("x", "--", "y"), "1x1", None, [], False, 0.1)),
        (["--epochs=3", "-"], (3, ("-",), "1x1", None, [], False, 0.1)),
        (["--epochs=3", "--env="], (3, (), "1x1", None, [], False, 0.1)),
    ],
)
def test_words_are_parsed_into_arguments(words: list[str], expected: object) -> None:
    assert seen(words) == expected


def test_a_mapping_is_converted_into_arguments() -> None:
    given = {"epochs": 3, "files": ["a"], "env": {"A": "1"}, "debug": "yes", "hosts": "a,b", "rate": 1}
    assert seen(given) == (3, ("a",), "1x1", {"A": "1"}, ["a", "b"], True, 1)


def test_words_override_config_and_config_overrides_defaults() -> None:
    defaults = {"epochs": "1", "j": "1x2", "env": "None", "files": "a 'b c'"}
    assert seen([], cmpnt_defaults=defaults) == (1, ("a", "b c"), "1x2", None, [], False, 0.1)
    config = {"epochs": 2, "j": "1x3"}
    assert seen(["-j=1x4"], cmpnt_defaults=defaults, config=config) == (
        2,
        ("a", "b c"),
        "1x4",
        None,
        [],
        False,
        0.1,
    )
    assert seen(["x"], cmpnt_defaults=defaults)[1] == ("x",)  # type: ignore[index]


def test_an_unknown_default_is_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "topcoat.specs"):
        assert seen(["--epochs=1"], cmpnt_defaults={"nope": "1"}) == (1, (), "1x1", None, [], False, 0.1)
    assert "has no parameter --nope, ignored" in caplog.text


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([], "needs --epochs", "--help"),
        (["--epochs"], "--epochs of the component train .* needs a value", None),
        (["--epochs=x"], "--epochs of .* must be a int: 'x' is not an integer", None),
        (["--epochs=1", "--epochs=2"], "is given twice", None),
        (["--epoch=1"], "has no parameter --epoch", "did you mean --epochs"),
        (["-z=1"], "has no parameter -z", "--epochs --name"),
        (["--epochs=1", "--env", "A=b=c"], "--env of .* must be a dict", "quote the value"),
        ({"epochs": None}, "'epochs' of .* must be a int, not None", None),
        ({"epochs": 1, "hosts": [1]}, r"must be a list\[str\], not \[1\]", None),
        ({"epoch": 1}, "has no parameter --epoch", "did you mean --epochs"),
    ],
)
def test_invalid_arguments_are_errors(words: Any, message: str, hint: str | None) -> None:
    with pytest.raises(InvalidComponent, match=message) as caught:
        materialize_appdef(train, words)
    assert hint is None or hint in str(caught.value.hint)


def test_positional_words_need_var_args() -> None:
    def plain(msg: str = "") -> AppDef:
        return AppDef(msg)

    with pytest.raises(InvalidComponent, match="takes flags only, not 'hello'"):
        materialize_appdef(plain, ["hello"])


def test_dashes_in_flags_match_underscores() -> None:
    def plain(num_replicas: int) -> AppDef:
        return AppDef(str(num_replicas))

    assert materialize_appdef(plain, ["--num-replicas", "4"]).name == "4"


def test_the_error_shows_the_exception_of_a_component_and_its_location() -> None:
    def broken() -> AppDef:
        raise ValueError("no such model")

    with pytest.raises(
        InvalidComponent, match=r"the component broken \(.*\) raised ValueError: no such model \(.*:\d+\)"
    ):
        materialize_appdef(broken, [])


def test_topcoat_errors_of_a_component_are_not_wrapped() -> None:
    def unlucky(h: str) -> AppDef:
        return AppDef("a", [Role("r", "i", resource=resource(h=h))])

    with pytest.raises(UnknownResource):
        materialize_appdef(unlucky, ["--h", "nope"])


def test_a_component_must_return_an_appdef() -> None:
    def wrong() -> AppDef:
        return "app"  # type: ignore[return-value]

    with pytest.raises(InvalidComponent, match="returned a str, not an AppDef"):
        materialize_appdef(wrong, [])
