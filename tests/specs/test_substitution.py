from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidApp
from topcoat.specs import BindMount, Role, Workspace, check_macros, macros

VALUES = macros.Values(img_root="/img", app_id="app-1", replica_id="2", rank0_env="HOST0")


def test_macros_in_args_env_and_nested_metadata_are_substituted_in_a_copy() -> None:
    role = Role(
        "trainer",
        "img",
        args=["--id", macros.app_id, f"{macros.img_root}/x-{macros.replica_id}"],
        env={"A": macros.app_id},
        metadata={"k": {"deep": [macros.app_id, {"x": macros.replica_id}, 3]}, "n": 1},
    )
    before = repr(role)
    applied = VALUES.apply(role)
    assert applied.args == ["--id", "app-1", "/img/x-2"]
    assert applied.env == {"A": "app-1"}
    assert applied.metadata == {"k": {"deep": ["app-1", {"x": "2"}, 3]}, "n": 1}
    assert repr(role) == before


def test_a_shell_reads_the_variable_that_rank0_env_names() -> None:
    assert VALUES.substitute(f"$${{{macros.rank0_env}:=localhost}}") == "${HOST0:=localhost}"


def test_other_dollar_signs_stay() -> None:
    assert VALUES.substitute("$HOME ${PATH} $ 5$") == "$HOME ${PATH} $ 5$"


@given(st.text().filter(lambda text: "$" not in text))
def test_text_without_a_dollar_sign_is_unchanged(text: str) -> None:
    assert VALUES.substitute(text) == text


def test_to_dict_returns_the_values_by_macro_name() -> None:
    assert VALUES.to_dict() == {
        "img_root": "/img",
        "app_id": "app-1",
        "replica_id": "2",
        "rank0_env": "HOST0",
        "base_img_root": "DEPRECATED",
    }


@pytest.mark.parametrize(
    ("role", "where"),
    [
        (Role(f"a{macros.app_id}", "img"), "name"),
        (Role("a", f"img:{macros.app_id}"), "image"),
        (Role("a", "img", entrypoint=f"{macros.img_root}/main.py"), "entrypoint"),
        (Role("a", "img", env={macros.replica_id: "x"}), "env names"),
        (Role("a", "img", port_map={macros.replica_id: 1}), "port_map"),
        (Role("a", "img", mounts=[BindMount(f"/d/{macros.app_id}", "/d")]), "mounts"),
        (Role("a", "img", workspace=Workspace({f"/d/{macros.app_id}": ""})), "workspace"),
    ],
)
def test_a_macro_in_a_field_without_macros_is_an_error(role: Role, where: str) -> None:
    with pytest.raises(InvalidApp, match=rf"the macro \$\{{\w+\}} in the {where} of role"):
        check_macros(role)


def test_macros_in_supported_fields_pass() -> None:
    check_macros(Role("a", "img", args=[macros.app_id], env={"A": macros.app_id}, metadata={"k": macros.app_id}))
