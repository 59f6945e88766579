"""What ``--chmod`` makes of a mode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.dockerfile.modes import mode_change, octal_mode


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("644", 0o777, 0o644),
        ("0", 0o777, 0),
        ("04755", 0o600, 0o4755),
        ("u+x", 0o644, 0o744),
        ("+x", 0o644, 0o755),
        ("a-w", 0o666, 0o444),
        ("go=", 0o777, 0o700),
        ("go-rwx,u+x", 0o666, 0o700),
        ("u=rw,go=r", 0o777, 0o644),
        ("=r", 0o4777, 0o444),
        ("g=u", 0o740, 0o770),
        ("o=g-w", 0o670, 0o675),
        ("u=g", 0o074, 0o774),
        ("g-u", 0o750, 0o700),
        ("u+s", 0o755, 0o4755),
        ("g+s", 0o755, 0o2755),
        ("o+s", 0o755, 0o755),
        ("+t", 0o755, 0o1755),
        ("u-s", 0o6755, 0o2755),
        ("u=r=w", 0o777, 0o277),
        ("u+r-w", 0o200, 0o400),
        ("a+X", 0o644, 0o644),
        ("a+X", 0o744, 0o755),
        ("a=rX", 0o744, 0o555),
        ("-X", 0o755, 0o644),
    ],
)
def test_a_mode_becomes(text: str, before: int, after: int) -> None:
    assert oct(mode_change(text)(before, False)) == oct(after)


def test_a_conditional_x_counts_directories_as_executable() -> None:
    assert mode_change("a=rX")(0o600, True) == 0o555


@pytest.mark.parametrize("text", ["8", "0o755", "10000", "rwx", "u", "u+x,", ",u+x", "u=z", "-1", "u+x q", ""])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="chmod"):
        mode_change(text)


def test_only_octal_numbers_are_numbers() -> None:
    assert octal_mode("0750") == 0o750
    assert octal_mode("u+x") is None


@given(st.integers(0, 0o7777))
def test_every_number_is_the_mode_itself(mode: int) -> None:
    assert mode_change(f"{mode:o}")(0o123, False) == mode


@given(st.integers(0, 0o7777), st.sampled_from("ugo"), st.sets(st.sampled_from("rwx")))
def test_bits_that_are_set_are_cleared_by_the_opposite(mode: int, who: str, bits: set[str]) -> None:
    letters = "".join(sorted(bits))
    shift = {"u": 6, "g": 3, "o": 0}[who]
    mask = sum({"r": 4, "w": 2, "x": 1}[letter] for letter in bits) << shift
    assert mode_change(f"{who}+{letters}")(mode, False) == mode | mask
    assert mode_change(f"{who}+{letters},{who}-{letters}")(mode, False) == mode & ~mask
