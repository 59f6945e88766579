from __future__ import annotations

from topcoat.specs.docstring import parse_docstring


def test_a_google_docstring_has_a_description_and_parameters() -> None:
    def function() -> None:
        """Train a model.

        On several nodes: as many as you like.

        Args:
            first: one line
            second (int): a text that
                goes on: in a second line
                and a third
            *rest: words

        Returns:
            other: not a parameter
        """

    assert parse_docstring(function) == (
        "Train a model.\n\nOn several nodes: as many as you like.",
        {"first": "one line", "second": "a text that goes on: in a second line and a third", "rest": "words"},
    )


def test_fields_are_understood_as_well() -> None:
    def function() -> None:
        """Train.

        :param first: one
            and more
        :param int second: two
        :return: nothing
        """

    assert parse_docstring(function) == ("Train.", {"first": "one and more", "second": "two"})


def test_no_docstring_says_nothing() -> None:
    def function() -> None: ...

    assert parse_docstring(function) == ("", {})


def test_text_after_the_parameters_belongs_to_none_of_them() -> None:
    def function() -> None:
        """Run.

        Args:
            a: one

        Raises:
            b: never
        Example:
            c: d
        """

    assert parse_docstring(function) == ("Run.", {"a": "one"})
