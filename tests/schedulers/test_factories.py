from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.schedulers.fake import FakeScheduler
from topcoat import schedulers
from topcoat.errors import SchedulerError, UnknownScheduler
from topcoat.schedulers import (
    BUILT_IN,
    GROUPS,
    get_default_scheduler_name,
    get_scheduler_factories,
    unknown_scheduler,
)


def install(
    site: Path, monkeypatch: pytest.MonkeyPatch, name: str, *entries: tuple[str, str, str], code: str = ""
) -> None:
    """Install a package *name* with entry points (group, name, value) and the module ``NAME_mod``."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{key} = {value}\n" for group, key, value in entries))
    (site / f"{name}_mod.py").write_text(code or "from tests.schedulers.fake import FakeScheduler as create\n")
    monkeypatch.syspath_prepend(str(site))


def test_local_is_the_default() -> None:
    assert get_default_scheduler_name() == "local"


def test_the_built_in_schedulers_are_found_and_made() -> None:
    factories = get_scheduler_factories()
    assert list(factories) == [*BUILT_IN]
    for name, factory in factories.items():
        made = factory("session", unknown_argument=1)
        assert (made.backend, made.session_name) == (name, "session")


def test_listing_the_schedulers_imports_none_of_them() -> None:
    code = (
        "import sys; from topcoat.schedulers import get_scheduler_factories as f; f();"
        "print([m for m in sys.modules if m.startswith('topcoat.schedulers.')])"
    )
    root = str(Path(schedulers.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    )
    assert done.stdout.strip() == "['topcoat.schedulers.factories']"


THEIRS, OURS = GROUPS


@pytest.mark.parametrize("group", GROUPS)
def test_packages_add_schedulers_and_hide_none(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "added", (group, "fancy", "added_mod:create"))
    factories = get_scheduler_factories()
    assert list(factories) == [*BUILT_IN, "fancy"]
    assert isinstance(factories["fancy"]("s"), FakeScheduler)
    assert list(get_scheduler_factories(skip_defaults=True)) == ["fancy"]
    assert get_default_scheduler_name() == "local"


def test_a_package_replaces_the_built_in_scheduler_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "better", (THEIRS, "local_docker", "better_mod:create"))
    factories = get_scheduler_factories()
    assert isinstance(factories["local_docker"]("s"), FakeScheduler)
    assert len(factories) == len(BUILT_IN)


def test_topcoats_group_overrides_torchxs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "1", monkeypatch, "theirs", (THEIRS, "fancy", "missing_module:create"))
    install(tmp_path / "2", monkeypatch, "ours", (OURS, "fancy", "ours_mod:create"))
    assert isinstance(get_scheduler_factories()["fancy"]("s"), FakeScheduler)


def test_topcoats_own_entries_in_torchxs_group_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "self", (THEIRS, "unknown", "topcoat.plugins.torchx:create_slurm"))
    assert "unknown" not in get_scheduler_factories()


@pytest.mark.parametrize("value", ["nowhere:create", "broken_mod:create", "broken_mod:missing"])
def test_a_broken_package_is_an_error_only_when_it_is_used(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "create = 1 / 0\n" if value == "broken_mod:create" else "x = 1\n"
    install(tmp_path, monkeypatch, "broken", (OURS, "bad", value), code=code)
    monkeypatch.delitem(sys.modules, "broken_mod", raising=False)
    factories = get_scheduler_factories()
    factories["local_cwd"]("s")
    with pytest.raises(SchedulerError, match="'bad' of broken cannot be loaded") as caught:
        factories["bad"]("s")
    assert caught.value.hint
    monkeypatch.delitem(sys.modules, "broken_mod", raising=False)


def test_an_object_that_is_not_a_scheduler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "alien", (OURS, "odd", "alien_mod:create"), code="create = lambda name: object()\n")
    with pytest.raises(SchedulerError, match=r"'odd' of alien is a builtins\.object"):
        get_scheduler_factories()["odd"]("s")


def test_an_unknown_scheduler_is_an_error_with_suggestions() -> None:
    factories = get_scheduler_factories()
    near = unknown_scheduler("local_dokcer", factories)
    assert isinstance(near, UnknownScheduler)
    assert "local_docker" in str(near.hint)
    far = unknown_scheduler("xyz", factories)
    assert isinstance(far, UnknownScheduler)
    assert far.hint == f"available schedulers: {', '.join(BUILT_IN)}"
