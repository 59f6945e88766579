from __future__ import annotations

import contextlib
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidRunConfigException
from topcoat.specs import CfgVal, get_type_name
from topcoat.specs.cfg import cast, is_type, split_items, split_pairs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("  ", {}),
        ("FOO=v1", {"FOO": "v1"}),
        ("FOO=v1,v2", {"FOO": "v1,v2"}),
        ("FOO=v1;v2", {"FOO": "v1;v2"}),
        ("FOO=v1,v2,BAR=v3", {"FOO": "v1,v2", "BAR": "v3"}),
        ("FOO=v1;v2,BAR=v3", {"FOO": "v1;v2", "BAR": "v3"}),
        ("FOO=v1;v2;BAR=v3", {"FOO": "v1;v2", "BAR": "v3"}),
        (" FOO = v1 , BAR = v2 ", {"FOO": "v1", "BAR": "v2"}),
        ("FOO=''", {"FOO": ""}),
        ('FOO="",BAR=1', {"FOO": "", "BAR": "1"}),
        ("FOO=\"a=b, c; d\",BAR='x,y=1'", {"FOO": "a=b, c; d", "BAR": "x,y=1"}),
        (r'FOO="say \"hi\", x=1"', {"FOO": 'say "hi", x=1'}),
        (r'FOO="C:\dir\",BAR=1', {"FOO": "C:\\dir\\", "BAR": "1"}),
        ("FOO=don't,BAR=can't", {"FOO": "don't", "BAR": "can't"}),
        ("FOO='a,b','c=d',BAR=1", {"FOO": "'a,b','c=d'", "BAR": "1"}),
        ('env=A:"x=1,y=2",B:3,q=z', {"env": 'A:"x=1,y=2",B:3', "q": "z"}),
        ("mail-user=me@x.org,a.b=1", {"mail-user": "me@x.org", "a.b": "1"}),
        ("FOO=a,b,", {"FOO": "a,b,"}),
        ("FOO=1,FOO=1", {"FOO": "1"}),
    ],
)
def test_pairs_are_split_at_the_last_separator_before_a_key(text: str, pairs: dict[str, str]) -> None:
    assert split_pairs(text) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FOO", "expected key=value"),
        ("FOO,BAR=1", "expected key=value"),
        ("=1", "expected key=value"),
        ("FOO=", "'FOO' has no value"),
        ("FOO=1,BAR=", "'BAR' has no value"),
        ("FOO=;BAR=1", "'FOO' has no value"),
        ("FOO=a=b", "'FOO' has an '=' after 'a'"),
        ("FOO=1 BAR=2", "'FOO' has an '=' after '1 BAR'"),
        ("FOO=1,x y=2", "'FOO' has an '=' after '1,x y'"),
        ("FOO=1,BAR=2,FOO=3", "'FOO' is given twice"),
    ],
)
def test_malformed_pairs_are_errors_that_name_the_option(text: str, message: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=message):
        split_pairs(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("build_args=LR=0.5", "build_args=LR:VALUE"), ("FOO=1 BAR=2", "FOO=KEY:VALUE"), ("FOO=a=s3cret", "FOO=a:VALUE")],
)
def test_the_hint_for_an_equals_sign_shows_how_a_map_is_written(text: str, shown: str) -> None:
    with pytest.raises(InvalidRunConfigException) as caught:
        split_pairs(text)
    assert f"write a map as {shown}, or quote" in str(caught.value.hint)
    assert "s3cret" not in f"{caught.value}{caught.value.hint}"


_keys = st.from_regex(r"[A-Za-z_][\w.-]{0,8}", fullmatch=True)
_plain = st.from_regex(r"[\w./:@ -]*[\w./@-]", fullmatch=True).map(str.strip).filter(bool)
_any_text = st.text(st.characters(codec="utf-8")).filter(lambda text: not text.endswith("\\"))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


@given(st.dictionaries(_keys, st.lists(_plain, min_size=1)), st.sampled_from(",;"), st.sampled_from(",;"))
def test_parsing_a_list_returns_its_items_for_each_separator(
    options: dict[str, list[str]], between_items: str, between_pairs: str
) -> None:
    text = between_pairs.join(f"{key}={between_items.join(items)}" for key, items in options.items())
    parsed = {key: split_items(value) for key, value in split_pairs(text).items()}
    assert parsed == options


@given(st.dictionaries(_keys, _any_text.filter(lambda text: '\\"' not in text)))
def test_parsing_quoted_values_returns_them_unchanged(options: dict[str, str]) -> None:
    text = ",".join(f"{key}={_quote(value)}" for key, value in options.items())
    assert split_pairs(text) == options


@given(st.lists(_any_text.filter(lambda text: '\\"' not in text), min_size=2))
def test_parsing_quoted_items_returns_them_unchanged(items: list[str]) -> None:
    assert split_items(",".join(map(_quote, items))) == items
    assert split_pairs("k=" + ";".join(map(_quote, items)) + ",l=1")["k"] == ";".join(map(_quote, items))


@given(st.text(alphabet="ab=,;:'\"\\ \n"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRunConfigException):
        assert all(key and "=" not in key for key in split_pairs(text))
    if not set(text) & set("'\""):
        plain = (item.strip() for item in text.replace(";", ",").split(","))
        assert split_items(text) == [item for item in plain if item]


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("foo", str, "foo"),
        ("42", int, 42),
        ("-1", int, -1),
        ("1.5", float, 1.5),
        ("3", float, 3.0),
        *((text, bool, True) for text in ("true", "True", "1", "yes", "ON")),
        *((text, bool, False) for text in ("false", "0", "no", "Off")),
        ("a,b;c", list[str], ["a", "b", "c"]),
        ("a,,b,", typing.List[str], ["a", "b"]),  # noqa: UP006
        ("a", list, ["a"]),
        ("", list[str], []),
        ('"a,b",c', list[str], ["a,b", "c"]),
        ("A:1,B:http://x:80", dict[str, str], {"A": "1", "B": "http://x:80"}),
        ("A:1;B:", typing.Dict[str, str], {"A": "1", "B": ""}),  # noqa: UP006
        ("A:'x,y',\"B:C\":2", dict[str, str], {"A": "x,y", "B:C": "2"}),
    ],
)
def test_text_is_parsed_as_each_type(text: str, type_: object, value: CfgVal) -> None:
    assert cast(text, type_) == value
    assert is_type(cast(text, type_), type_)


@pytest.mark.parametrize(
    ("text", "type_", "message"),
    [
        ("maybe", bool, "neither true/1/yes/on nor false/0/no/off"),
        ("", bool, "neither"),
        ("1.5", int, "'1.5' is not an integer"),
        ("x", float, "'x' is not a number"),
        ("A:x,y", dict[str, str], "'y' is not a k:v pair"),
        (":x", dict[str, str], "':x' is not a k:v pair"),
    ],
)
def test_text_of_the_wrong_type_is_a_value_error(text: str, type_: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cast(text, type_)


@pytest.mark.parametrize(
    ("value", "type_", "answer"),
    [
        ("a", str, True),
        (1, str, False),
        (1, int, True),
        (True, int, False),
        (True, float, False),
        (1, float, True),
        (1, bool, False),
        (True, bool, True),
        (["a"], list[str], True),
        ([1], list[str], False),
        ("a", list[str], False),
        ({"a": "b"}, dict[str, str], True),
        ({"a": 1}, dict[str, str], False),
        ({1: "a"}, dict[str, str], False),
    ],
)
def test_is_type_checks_items_and_a_bool_is_not_a_number(value: object, type_: object, answer: bool) -> None:
    assert is_type(value, type_) is answer


@pytest.mark.parametrize("type_", [list[int], set, object, None, str | None, dict[str, int]])
def test_unsupported_types_are_type_errors(type_: object) -> None:
    with pytest.raises(TypeError, match="unsupported type"):
        cast("x", type_)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (str, "str"),
        (list[str], "list[str]"),
        (typing.Dict[str, str], "dict[str, str]"),  # noqa: UP006
    ],
)
def test_type_names_are_spelled_as_in_python(type_: object, name: str) -> None:
    assert get_type_name(type_) == name
