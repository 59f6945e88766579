from __future__ import annotations

from topcoat.specs.similar import did_you_mean


def test_similar_names_are_suggested_most_similar_first() -> None:
    assert did_you_mean("quue", iter(["hosts", "queues", "queue"])) == "did you mean queue or queues?"


def test_without_a_similar_name_the_hint_is_empty() -> None:
    assert did_you_mean("quue", ["hosts"]) == ""
    assert did_you_mean("ech", ["utils.echo"]) == ""
    assert did_you_mean("ech", ["utils.echo"], cutoff=0.4) == "did you mean utils.echo?"
