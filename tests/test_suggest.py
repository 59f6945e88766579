from __future__ import annotations

from topcoat.suggest import did_you_mean


def test_similar_choices_are_suggested_the_most_similar_first() -> None:
    assert did_you_mean("stats", ["status", "start", "run"]) == "did you mean status or start?"


def test_without_a_similar_choice_the_hint_is_the_other_text() -> None:
    assert did_you_mean("zzz", ["status"]) == ""
    assert did_you_mean("zzz", ["status"], otherwise="known: status") == "known: status"


def test_a_prefix_is_shown_and_not_compared() -> None:
    assert did_you_mean("chwn", ["chown", "chmod"], prefix="--") == "did you mean --chown?"
