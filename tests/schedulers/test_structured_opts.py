from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.api import StructuredOpts
from topcoat.specs import runopt


@dataclass
class ClusterOpts(StructuredOpts):
    """Options of a cluster."""

    context: str = "here"
    """Which cluster."""

    name_space: str | None = None


@dataclass
class Opts(StructuredOpts):
    queue_name: str
    """Where to wait.

    At least one.
    """

    retries: int = 3
    'With "quotes" in it.'

    mail_user: str | None = field(default=None, metadata={"cfg_key": "mail-user", "help": "whom to tell"})

    hosts: list[str] = field(default_factory=list)
    env: dict[str, str] | None = None
    k8s: ClusterOpts = field(default_factory=ClusterOpts)

    _private: int = 0


def test_fields_become_options_with_types_defaults_and_help() -> None:
    assert dict(Opts.as_runopts()) == {
        "queue_name": runopt(None, str, True, "Where to wait.\n\nAt least one."),
        "retries": runopt(3, int, False, 'With "quotes" in it.'),
        "mail-user": runopt(None, str, False, "whom to tell"),
        "hosts": runopt([], list[str], False, "hosts"),
        "env": runopt(None, dict[str, str], False, "env"),
        "k8s.context": runopt("here", str, False, "Which cluster."),
        "k8s.name_space": runopt(None, str, False, "name_space"),
    }


def test_help_is_inherited_and_overridden() -> None:
    @dataclass
    class More(Opts):
        retries: int = 5
        """Overridden."""
        extra: float = 0.5
        """Indented, for it stands in a function."""

    docs = More.get_docstrings()
    assert docs["queue_name"].startswith("Where")
    assert docs["retries"] == "Overridden."
    assert docs["extra"].startswith("Indented")


def test_a_class_without_source_has_no_help_but_options() -> None:
    namespace: dict[str, object] = {"dataclass": dataclass, "StructuredOpts": StructuredOpts}
    exec("@dataclass\nclass Made(StructuredOpts):\n    size: int = 1\n    '''Lost.'''\n", namespace)
    made = namespace["Made"]
    assert isinstance(made, type)
    assert issubclass(made, StructuredOpts)
    assert dict(made.as_runopts()) == {"size": runopt(1, int, False, "size")}


def test_options_are_accepted_under_each_spelling() -> None:
    for cfg in ({"queue_name": "q", "mail-user": "me"}, {"queueName": "q", "mail_user": "me"}):
        opts = Opts.from_cfg(cfg)
        assert (opts.queue_name, opts.mail_user, opts.retries) == ("q", "me", 3)


def test_two_spellings_with_two_values_are_an_error_and_with_one_are_not() -> None:
    assert Opts.from_cfg({"queue_name": "q", "queueName": "q"}).queue_name == "q"
    with pytest.raises(InvalidRunConfigException, match="queue_name and queueName") as caught:
        Opts.from_cfg({"queue_name": "q", "queueName": "r"})
    assert caught.value.cfg_key == "queue_name"


def test_a_group_is_made_of_dotted_options() -> None:
    opts = Opts.from_cfg({"queue_name": "q", "k8s.context": "there", "k8s.nameSpace": "n"})
    assert opts.k8s == ClusterOpts("there", "n")


def test_an_instance_is_a_mapping_of_all_options_also_undeclared_ones() -> None:
    opts = Opts.from_cfg({"queue_name": "q", "image_repo": "r/x"})
    assert dict(opts) == {
        "queue_name": "q",
        "retries": 3,
        "mail-user": None,
        "hosts": [],
        "env": None,
        "k8s.context": "here",
        "k8s.name_space": None,
        "image_repo": "r/x",
    }
    assert len(opts) == 8
    assert opts["k8s.nameSpace"] is None
    assert opts["mail_user"] is None
    assert "from_cfg" not in opts
    assert "_private" not in opts
    assert opts.get("nope") is None


def test_from_cfg_keeps_every_option() -> None:
    cfg = {"queue_name": "q", "retries": 1, "mail-user": "m", "hosts": ["a"], "env": {"A": "1"}, "x": True}
    assert {**cfg, "k8s.context": "here", "k8s.name_space": None} == dict(Opts.from_cfg(cfg))


def test_two_sets_of_options_merge_into_a_dict() -> None:
    assert ClusterOpts("a") | ClusterOpts("b", "n") == {"context": "b", "name_space": "n"}


def test_a_required_group_is_checked_itself() -> None:
    @dataclass
    class Inner(StructuredOpts):
        needed: str

    @dataclass
    class Outer(StructuredOpts):
        # The annotation must be found in the module, so the class is put there.
        inner: Inner

    globals()["Inner"] = Inner
    try:
        opts = dict(Outer.as_runopts())
        assert opts["inner.needed"].is_required
        with pytest.raises(TypeError, match="needed"):
            Outer.from_cfg({})
    finally:
        del globals()["Inner"]


def test_a_group_that_is_defined_in_the_same_function_is_found() -> None:
    @dataclass
    class Inner(StructuredOpts):
        size: int = 3
        """how large"""

    @dataclass
    class Outer(StructuredOpts):
        inner: Inner = field(default_factory=Inner)

    assert [(key, opt.help) for key, opt in Outer.as_runopts()] == [("inner.size", "how large")]
    assert Outer.from_cfg({"inner.size": 4}).inner == Inner(4)
