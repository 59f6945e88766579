"""Fixtures for all tests: real components, started when asked for, and the guard around the user's home."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ("pytester", "tests.components.guard", "tests.components.fixtures")

_COMPONENTS = "tests.components.fixtures"

# Other processes share the machine: a slow example is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the locale ``xx_XX``, whose encoding is ISO-8859-1; empty if it cannot be made here."""
    directory = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        command = ["localedef", "-c", "-i", "POSIX", "-f", "ISO-8859-1", str(directory / "xx_XX")]
        subprocess.run(command, capture_output=True, check=False)
    return directory


@pytest.fixture(params=["ASCII", "ISO-8859-1"])
def odd_locale(request: pytest.FixtureRequest, locales: Path) -> dict[str, str]:
    """The variables of a locale that is not UTF-8."""
    if request.param == "ASCII":
        return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if not any(locales.iterdir()):
        pytest.skip("localedef cannot make a locale here")
    return {"LC_ALL": "xx_XX", "LOCPATH": str(locales), "PYTHONUTF8": "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-components", action="store_true", help="leave out every test that needs more than Python")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--no-components"):
        return
    needing = {item for item in items if isinstance(item, pytest.Function) and _needs_component(item)}
    if needing:
        config.hook.pytest_deselected(items=[item for item in items if item in needing])
        items[:] = [item for item in items if item not in needing]


def _needs_component(item: pytest.Function) -> bool:
    """Tell whether *item* names a component: as a fixture, or as a parameter for ``request.getfixturevalue``."""
    definitions = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
    if any(map(_is_component, definitions)):
        return True
    functions = [item.function, *(definition.func for definition in definitions)]
    if not any("getfixturevalue" in function.__code__.co_names for function in functions):
        return False
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    find = item.session._fixturemanager.getfixturedefs
    named = [find(param, item) for param in params if isinstance(param, str)]
    return any(found and _is_component(found[-1]) for found in named)


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--no-components") and _is_component(fixturedef):
        pytest.fail(
            f"--no-components, and the test gets {fixturedef.argname} while it runs: name it in a parameter",
            pytrace=False,
        )


def _is_component(definition: pytest.FixtureDef[Any]) -> bool:
    return definition.func.__module__ == _COMPONENTS
