from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest

_TESTS = """
import pytest

def test_plain(request):
    pass

def test_by_fixture(registry):
    assert False, "not deselected"

@pytest.mark.parametrize("name", ["registry", "home"])
def test_by_parameter(request, name):
    request.getfixturevalue(name)

@pytest.fixture(params=["docker20", "podman"])
def engine(request):
    return request.getfixturevalue(request.param)

def test_by_parameter_of_a_fixture(engine):
    assert False, "not deselected"

@pytest.mark.parametrize("name", ["registry"])
def test_of_a_word(request, name):
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory with these tests' conftest."""
    pytester.makeconftest(Path(conftest.__file__).read_text())
    return pytester


def test_tests_that_need_a_component_are_deselected_and_none_is_skipped(suite: pytest.Pytester) -> None:
    suite.makepyfile(_TESTS)
    result = suite.runpytest_inprocess("--no-components", "-p", "no:randomly")
    result.assert_outcomes(passed=3, deselected=4)


def test_a_component_that_is_only_asked_for_at_run_time_is_a_failure_and_not_started(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_hidden(request): request.getfixturevalue('docker20')")
    result = suite.runpytest_inprocess("--no-components", "-p", "no:randomly")
    result.assert_outcomes(failed=1)
    # Whichever is set up first, before the engine itself.
    result.stdout.re_match_lines(["--no-components, and the test gets (scratch|logs|docker20) while it runs: .*"])
