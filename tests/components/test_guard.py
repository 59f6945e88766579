from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.components import host


def test_the_home_directory_is_fresh_and_empty(home: Path) -> None:
    assert Path.home() == home
    assert list(home.iterdir()) == []
    assert home != Path(host.ENVIRON["HOME"])


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"])
def test_user_directories_are_in_the_new_home(home: Path, name: str) -> None:
    assert Path(os.environ[name]).is_relative_to(home)


def test_settings_of_the_user_are_not_seen(pytester: pytest.Pytester) -> None:
    settings = {
        "AWS_PROFILE": "x",
        "DOCKER_HOST": "unix:///x",
        "HTTPS_PROXY": "http://x",
        "no_proxy": "x",
        "TORCHXCONFIG": "x",
        "TOPCOAT_CACHE": "x",
    }
    pytester.makeconftest("pytest_plugins = ['tests.components.guard']")
    pytester.makepyfile(f"import os\ndef test_gone(): assert not set(os.environ) & set({list(settings)!r})")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        result = pytester.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(passed=1)
