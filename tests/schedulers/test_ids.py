from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from topcoat.schedulers.ids import app_id_for, dns_label, make_unique, random_id

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def test_a_unique_name_keeps_the_name_and_adds_a_random_end() -> None:
    first, second = make_unique("train"), make_unique("train")
    assert first != second
    assert re.fullmatch(r"train-[b-z][b-z0-9]{13}", first)


def test_the_length_of_the_random_end_can_be_chosen() -> None:
    assert re.fullmatch(r"train-[b-z][b-z0-9]{3}", make_unique("train", 4))


def test_random_ids_begin_with_a_letter_and_spell_nothing() -> None:
    ids = {random_id(8) for _ in range(500)}
    assert len(ids) == 500
    assert all(re.fullmatch(r"[b-z][b-z0-9]{7}", image_id) and not set(image_id) & set("aeiou") for image_id in ids)


@given(st.text())
def test_an_app_id_is_one_safe_component_of_paths_and_handles(name: str) -> None:
    app_id = app_id_for(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", app_id)
    assert len(app_id) < 120


def test_an_app_id_begins_with_the_name_in_safe_characters() -> None:
    assert app_id_for("exp/run 1").startswith("exp-run-1-")


@given(st.text(), st.integers(min_value=12, max_value=63))
def test_an_id_is_a_dns_label(text: str, limit: int) -> None:
    label = dns_label(text, limit)
    assert LABEL.fullmatch(label)
    assert len(label) <= limit


def test_long_texts_that_differ_at_their_end_have_different_labels() -> None:
    assert dns_label("a" * 80 + "1") != dns_label("a" * 80 + "2")
