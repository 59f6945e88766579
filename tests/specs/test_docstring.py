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


def test_param_fields_are_read() -> None:
    def function() -> None:
        """Train.

        :param first: one
            and more
        :param int second: two
        :return: nothing
        """

    assert parse_docstring(function) == ("Train.", {"first": "one and more", "second": "two"})


def test_without_a_docstring_description_and_parameters_are_empty() -> None:
    def function() -> None: ...

    assert parse_docstring(function) == ("", {})


def test_text_after_the_parameters_is_not_part_of_a_parameter() -> None:
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


def test_the_last_text_of_a_parameter_counts() -> None:
    def component() -> None:
        """Summary.

        Args:
            x: first
                and more
            y: other

            x: last
        """

    assert parse_docstring(component).parameters == {"x": "last", "y": "other"}
