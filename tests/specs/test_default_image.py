from __future__ import annotations

import pytest

from topcoat.specs.default_image import DEFAULT_IMAGE, check_image, default_image


def test_the_default_image_is_the_environment_variable_or_a_plain_python_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOPCOAT_IMAGE", raising=False)
    assert default_image() == DEFAULT_IMAGE
    monkeypatch.setenv("TOPCOAT_IMAGE", "")
    assert default_image() == DEFAULT_IMAGE
    monkeypatch.setenv("TOPCOAT_IMAGE", "repo/x:1")
    assert default_image() == "repo/x:1"


def test_the_default_image_is_announced_and_a_chosen_one_is_not(caplog: pytest.LogCaptureFixture) -> None:
    check_image("repo/x:1")
    assert caplog.text == ""
    check_image(DEFAULT_IMAGE)
    assert f"no image given: using {DEFAULT_IMAGE}" in caplog.text
