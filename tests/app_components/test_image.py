from __future__ import annotations

import pytest

from topcoat.components.image import default_image


def test_the_default_image_is_the_environment_variable_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOPCOAT_IMAGE", raising=False)
    assert default_image() == ""
    monkeypatch.setenv("TOPCOAT_IMAGE", "repo/x:1")
    assert default_image() == "repo/x:1"
