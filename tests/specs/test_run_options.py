from __future__ import annotations

import logging
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


def test_resolving_fills_in_defaults_and_keeps_unknown_options(opts: runopts) -> None:
    assert opts.resolve({"queue": "q", "mine": ["x"]}) == {
        "queue": "q",
        "cluster_id": 3,
        "priority": 0.5,
        "preemptible": False,
        "hosts": None,
        "env": None,
        "mine": ["x"],
    }


def test_an_explicit_none_beats_the_default(opts: runopts) -> None:
    assert opts.resolve({"queue": "q", "cluster_id": None})["cluster_id"] is None


@pytest.mark.parametrize("cfg", [{}, {"queue": None}])
def test_a_missing_required_option_is_named(opts: runopts, cfg: dict[str, CfgVal]) -> None:
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
def test_a_value_of_another_type_is_named(opts: runopts, key: str, value: CfgVal, type_name: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=f"'{key}' must be a {type_name}, not") as caught:
        opts.resolve({"queue": "q", key: value})
    assert caught.value.cfg_key == key


def test_names_answer_to_camel_case_and_come_out_as_declared(opts: runopts) -> None:
    assert opts.get("clusterId") is opts.get("cluster_id")
    resolved = opts.resolve({"queue": "q", "clusterId": 7})
    assert resolved["cluster_id"] == 7
    assert "clusterId" not in resolved
    assert opts.cfg_from_str("clusterId=7") == {"cluster_id": 7}
    with pytest.raises(InvalidRunConfigException, match="two spellings"):
        opts.resolve({"queue": "q", "clusterId": 7, "cluster_id": 8})


def test_text_becomes_typed_values_without_defaults(opts: runopts) -> None:
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


def test_an_unknown_option_in_text_is_logged_and_left_out(opts: runopts, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "topcoat.specs"):
        assert opts.cfg_from_str("nope=1,queue=q") == {"queue": "q"}
    assert "unknown run option 'nope', ignored" in caplog.text


def test_a_command_line_can_refuse_unknown_options(opts: runopts) -> None:
    opts.check_known("queue=q,clusterId=3")
    with pytest.raises(InvalidRunConfigException, match="unknown run option 'quue'") as caught:
        opts.check_known("quue=q")
    assert caught.value.hint == "did you mean queue?"
    with pytest.raises(InvalidRunConfigException) as caught:
        opts.check_known("zzz=q")
    assert caught.value.hint == "known options: cluster_id, env, hosts, preemptible, priority, queue"


def test_text_of_the_wrong_type_is_named(opts: runopts) -> None:
    with pytest.raises(InvalidRunConfigException, match=r"'cluster_id' must be a int: 'x' is not a whole number"):
        opts.cfg_from_str("cluster_id=x")


def test_json_becomes_values(opts: runopts) -> None:
    text = '{"queue": "q", "hosts": ["a", 1], "env": {"A": 1}, "priority": null, "nope": 1, "clusterId": 2}'
    assert opts.cfg_from_json_repr(text) == {
        "queue": "q",
        "hosts": ["a", "1"],
        "env": {"A": "1"},
        "priority": None,
        "cluster_id": 2,
    }
    for bad in ("{", "[1]"):
        with pytest.raises(InvalidRunConfigException, match=r"not (JSON|a JSON object)"):
            opts.cfg_from_json_repr(bad)


def test_merging_makes_a_new_object_and_the_right_side_wins(opts: runopts) -> None:
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
        (int, "x", False, "is not a int: 'x'"),
        (int, True, False, "is not a int: True"),
        (list[str], [1], False, r"is not a list\[str\]"),
        (set, None, False, "no run option can be a set"),
    ],
)
def test_a_wrong_declaration_is_an_error(type_: object, default: CfgVal, required: bool, message: str) -> None:
    with pytest.raises(InvalidRunConfigException, match=message):
        runopts().add("opt", type_=type_, help="", default=default, required=required)


def test_errors_are_also_the_classes_that_torchx_raises(opts: runopts) -> None:
    assert issubclass(InvalidRunConfigException, ValueError)
    assert issubclass(InvalidRunConfigException, TypeError)
    assert InvalidRunConfigException("reason", "key", {"key": "secret"}).message == "reason"


def test_text_for_people_has_usage_then_required_then_optional(opts: runopts) -> None:
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


def test_values_can_be_checked_alone() -> None:
    assert runopts.is_type(["a"], list[str])
    assert not runopts.is_type(True, int)
