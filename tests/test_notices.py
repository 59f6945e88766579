from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from topcoat.notices import notice, notices_once, show_notices
from topcoat.tasks import run_all


@pytest.fixture
def shown() -> Iterator[list[str]]:
    """The notices that were shown."""
    texts: list[str] = []
    previous = show_notices(texts.append)
    yield texts
    show_notices(previous)


def test_api_users_get_notices_as_warnings_of_the_topcoat_logger(caplog: pytest.LogCaptureFixture) -> None:
    notice("100% done")
    assert [(record.name, record.levelno, record.message) for record in caplog.records] == [
        ("topcoat", logging.WARNING, "100% done")
    ]


def test_each_text_is_shown_once_within_a_scope(shown: list[str]) -> None:
    with notices_once():
        for text in ("a", "b", "a"):
            notice(text)
    assert shown == ["a", "b"]


def test_a_notice_outside_of_a_scope_is_shown_each_time(shown: list[str]) -> None:
    notice("a")
    with notices_once():
        notice("a")
    notice("a")
    with notices_once():
        notice("a")
    assert shown == ["a"] * 4


def test_an_inner_scope_shares_the_texts_of_the_outer_one(shown: list[str]) -> None:
    with notices_once():
        notice("outer")
        for _ in range(2):
            with notices_once():
                notice("outer")
                notice("inner")
        notice("inner")
    assert shown == ["outer", "inner"]


def test_a_scope_that_an_exception_leaves_is_closed(shown: list[str]) -> None:
    def fail() -> None:
        with notices_once():
            notice("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    notice("a")
    assert shown == ["a", "a"]


def test_threads_share_the_scope(shown: list[str]) -> None:
    with notices_once():
        run_all([lambda: notice("a")] * 50)
    assert shown == ["a"]
