from __future__ import annotations

import sys
from pathlib import Path

import pytest

from topcoat.components.finder import get_component
from topcoat.components.source import component_file
from topcoat.errors import InvalidComponent

MODULE = '''"""Ours."""

from __future__ import annotations

import os
import shlex
from .shared import PREFIX
from topcoat.specs import AppDef, Role

try:
    import fast_json as json
except ImportError:
    import json

# How many replicas.
COUNT = 2
UNUSED = os.sep


def other() -> AppDef:
    return AppDef("other")


def decorated(function):
    return function


def name_of(words: "Words") -> str:
    from .shared import SUFFIX

    return PREFIX + json.dumps(list(words)) + SUFFIX


class Words(tuple):
    pass


@decorated
def mine(*words: str) -> AppDef:
    """Run it; not like other()."""
    return AppDef(name_of(Words(words)), [Role("r", "i", entrypoint="e", num_replicas=COUNT)])
'''


def test_a_component_brings_what_it_uses_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    package = tmp_path / "source_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shared.py").write_text("PREFIX, SUFFIX = 'a', 'z'\n")
    (package / "jobs.py").write_text(MODULE)
    text = component_file(get_component(f"{package}/jobs.py:mine").fn)
    for unused in ("UNUSED", "def other", "import os", "import shlex", "Ours"):
        assert unused not in text
    assert "# How many replicas.\nCOUNT = 2\n" in text
    (tmp_path / "copied.py").write_text(text)
    app = get_component(f"{tmp_path}/copied.py:mine").fn("x")
    assert (app.name, app.roles[0].num_replicas) == ('a["x"]z', 2)


def test_a_component_without_source_text_is_an_error() -> None:
    namespace: dict[str, object] = {}
    exec("def made(): ...", namespace)
    for function in (namespace["made"], len):
        with pytest.raises(InvalidComponent, match=r"source text of (made|len) is not available"):
            component_file(function)  # type: ignore[arg-type]
