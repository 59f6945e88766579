from __future__ import annotations

import typing

import pytest

from topcoat.errors import InvalidRunConfigException
from topcoat.specs import CfgVal, runopt, runopts


@pytest.fixture
def opts() -> runopts:
    opts = runopts()
    opts.add("queue", type_=str, required=True, help="where to wait")
    opts.add("cluster_id", type_=int, default=3, help="which cluster")
    opts.add("priority", type_=float, default=0.5, help="how urgent")
    opts.add("preemptible", type_=bool, default=False, help="may be stopped")
    opts.add("hosts", type_=typing.List[str], help="where to run")  # noqa: UP006
    opts.add("env", type_=dict[str, str], help="variables")
    return opts


def test_options_keep_their_order_and_metadata(opts: runopts) -> None:
    assert len(opts) == 6
    assert next(iter(opts)) == ("queue", runopt(None, str, True, "where to wait"))
    hosts, env = opts.get("hosts"), opts.get("env")
    assert hosts is not None
    assert env is not None
    assert (hosts.is_type_list_of_str, hosts.is_type_dict_of_str) == (True, False)
    assert (env.is_type_list_of_str, env.is_type_dict_of_str) == (False, True)
    assert opts.get("nope") is None


def test_resolving_fills_in_defaults_and_can_keep_unknown_options(opts: runopts) -> None:
    assert opts.resolve({"queue": "q", "mine": ["x"]}, ignore_unknown=True) == {
        "queue": "q",
        "cluster_id": 3,
        "priority": 0.5,
        "preemptible": False,
        "hosts": None,
        "env": None,
        "mine": ["x"],
    }


def test_an_explicit_none_overrides_the_default(opts: runopts) -> None:
    assert opts.resolve({"queue": "q", "cluster_id": None})["cluster_id"] is None


@pytest.mark.parametrize("cfg", [{}, {"queue": None}])
def test_the_error_names_a_missing_required_option(opts: runopts, cfg: dict[str, CfgVal]) -> None:
    with pytest.raises(InvalidRunConfigException, match="'queue' is required: where to wait") as caught:
        opts.resolve(cfg)
    assert caught.value.cfg_key == "queue"
    assert caught.value.hint == "add -cfg queue=..."


@pytest.mark.parametrize(
    ("key", "value", "type_name"),
    [
        ("queue", 1, "str"),
        ("cluster_id", "3", "int"),
        ("cluster_id", True, "int"),
        ("cluster_id", 1.5, "int"),
        ("priority", "high", "float"),
        ("preemptible", 1, "bool"),
        ("hosts", "a,b", r"list\[str\]"),
        ("hosts", [1], r"list\[str\]"),
        ("env", {"A": 1}, r"dict\[str, str\]"),
    ],
)
def test_the_error_names_a_value_of_the_wrong_type(opts: runopts, key: str, value: CfgVal, type_name: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=f"'{key}' must be a {type_name}, not") as caught:
        opts.resolve({"queue": "q", key: value})
    assert caught.value.cfg_key == key


def test_camel_case_names_resolve_to_the_declared_names(opts: runopts) -> None:
    assert opts.get("clusterId") is opts.get("cluster_id")
    resolved = opts.resolve({"queue": "q", "clusterId": 7})
    assert resolved["cluster_id"] == 7
    assert "clusterId" not in resolved
    assert opts.cfg_from_str("clusterId=7") == {"cluster_id": 7}
    with pytest.raises(InvalidRunConfigException, match="two spellings"):
        opts.resolve({"queue": "q", "clusterId": 7, "cluster_id": 8})


def test_text_is_parsed_into_typed_values_without_defaults(opts: runopts) -> None:
    text = "queue=q,cluster_id=4,priority=1,preemptible=yes,hosts=a;b,env=A:1,B:2"
    assert opts.cfg_from_str(text) == {
        "queue": "q",
        "cluster_id": 4,
        "priority": 1.0,
        "preemptible": True,
        "hosts": ["a", "b"],
        "env": {"A": "1", "B": "2"},
    }
    assert opts.cfg_from_str("") == {}


def test_no_text_gives_no_options(opts: runopts) -> None:
    assert opts.cfg_from_str(None) == {}


def test_an_unknown_option_is_an_error_with_the_nearest_name(opts: runopts) -> None:
    with pytest.raises(InvalidRunConfigException, match="unknown run option 'quue'") as caught:
        opts.cfg_from_str("quue=q")
    assert caught.value.hint == "did you mean queue?"
    with pytest.raises(InvalidRunConfigException) as caught:
        opts.resolve({"queue": "q", "zzz": 1})
    assert caught.value.hint == "known options: cluster_id, env, hosts, preemptible, priority, queue"
    with pytest.raises(InvalidRunConfigException, match="unknown run option 'nope'"):
        opts.cfg_from_json_repr('{"nope": 1}')


def test_a_missing_required_option_is_a_key_error_and_a_value_error_too(opts: runopts) -> None:
    for kind in (KeyError, ValueError, InvalidRunConfigException):
        with pytest.raises(kind):
            opts.resolve({})
    error = InvalidRunConfigException(invalid_reason="no", cfg_key="k", cfg={"k": "secret"})
    assert (str(error), error.cfg_key) == ("no", "k")


def test_an_empty_list_is_a_default_of_a_dict_option() -> None:
    opts = runopts()
    opts.add("env", type_=dict[str, str], default=[], help="h")
    assert opts.resolve({}) == {"env": {}}


def test_the_error_names_an_option_whose_text_has_the_wrong_type(opts: runopts) -> None:
    with pytest.raises(InvalidRunConfigException, match=r"'cluster_id' must be a int: 'x' is not an integer"):
        opts.cfg_from_str("cluster_id=x")


def test_a_json_object_is_parsed_into_values(opts: runopts) -> None:
    text = '{"queue": "q", "hosts": ["a", 1], "env": {"A": 1}, "priority": null, "nope": 1, "clusterId": 2}'
    assert opts.cfg_from_json_repr(text, ignore_unknown=True) == {
        "queue": "q",
        "hosts": ["a", "1"],
        "env": {"A": "1"},
        "priority": None,
        "cluster_id": 2,
    }
    for bad in ("{", "[1]"):
        with pytest.raises(InvalidRunConfigException, match=r"invalid JSON in|must be a JSON object, not a list"):
            opts.cfg_from_json_repr(bad)


def test_merging_returns_a_new_object_and_the_right_side_overrides(opts: runopts) -> None:
    other = runopts()
    other.add("queue", type_=str, default="main", help="another")
    merged = opts | other
    assert merged.resolve({})["queue"] == "main"
    assert len(merged) == len(opts)
    assert opts.get("queue") == runopt(None, str, True, "where to wait")
    opts.update(other)
    assert opts.get("queue") == runopt("main", str, False, "another")


@pytest.mark.parametrize(
    ("type_", "default", "required", "message"),
    [
        (str, "x", True, "is required, so it cannot have the default 'x'"),
        (int, "x", False, "invalid default 'x' of .*: expected int"),
        (int, True, False, "invalid default True of .*: expected int"),
        (list[str], [1], False, r"invalid default \[1\] of .*: expected list\[str\]"),
        (set, None, False, "unsupported type set"),
    ],
)
def test_an_invalid_declaration_is_an_error(type_: object, default: CfgVal, required: bool, message: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=message):
        runopts().add("opt", type_=type_, help="", default=default, required=required)


def test_errors_are_also_value_and_type_errors_as_in_torchx(opts: runopts) -> None:
    assert issubclass(InvalidRunConfigException, ValueError)
    assert issubclass(InvalidRunConfigException, TypeError)
    assert InvalidRunConfigException("reason", "key", {"key": "secret"}).message == "reason"


def test_printing_shows_usage_then_required_then_optional_options(opts: runopts) -> None:
    assert repr(opts).splitlines()[:8] == [
        "    usage:",
        "        queue=QUEUE,[cluster_id=CLUSTER_ID],[priority=PRIORITY],[preemptible=PREEMPTIBLE],"
        "[hosts=HOSTS],[env=ENV]",
        "",
        "    required arguments:",
        "        queue=QUEUE (str)",
        "            where to wait",
        "",
        "    optional arguments:",
    ]
    assert "        hosts=HOSTS (list[str], None)" in repr(opts)


def test_is_type_checks_a_single_value() -> None:
    assert runopts.is_type(["a"], list[str])
    assert not runopts.is_type(True, int)
