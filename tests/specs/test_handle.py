from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidHandle
from topcoat.specs import MalformedAppHandleException, make_app_handle, parse_app_handle

_names = st.text(st.characters(codec="utf-8", exclude_characters="/:", exclude_categories=["Z", "C"]))


@given(_names.filter(bool), _names, _names.filter(bool))
def test_parsing_a_handle_returns_its_parts(scheduler: str, session: str, app_id: str) -> None:
    assert tuple(parse_app_handle(make_app_handle(scheduler, session, app_id))) == (
        scheduler,
        session,
        app_id,
    )


def test_sessions_may_be_empty_and_ids_may_hold_colons() -> None:
    parsed = parse_app_handle("kubernetes:///default:job-1")
    assert (parsed.scheduler_backend, parsed.session_name, parsed.app_id) == (
        "kubernetes",
        "",
        "default:job-1",
    )


@pytest.mark.parametrize("text", ["", "app", "local://app", "://s/app", "local://s/", "local:/s/a", "local://s/a b"])
def test_a_malformed_handle_raises_the_error_of_both_names(text: str) -> None:
    with pytest.raises(InvalidHandle, match="scheduler://session/app_id"):
        parse_app_handle(text)
    assert MalformedAppHandleException is InvalidHandle
