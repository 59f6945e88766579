"""Fixtures for all tests: real components, started when asked for, and the guard around the user's home."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester", "tests.components.guard", "tests.components.fixtures")

_COMPONENTS = "tests.components.fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-components", action="store_true", help="leave out every test that needs more than Python")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--no-components"):
        return
    needing = [item for item in items if _needs_component(item)]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in set(needing)]


def _needs_component(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    return any(chosen[-1].func.__module__ == _COMPONENTS for chosen in fixtures)
