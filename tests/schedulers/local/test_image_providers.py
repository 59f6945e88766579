from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from topcoat.errors import InvalidApp, UsageError
from topcoat.schedulers.local_scheduler import (
    CWDImageProvider,
    ImageProvider,
    LocalDirectoryImageProvider,
    LocalScheduler,
    LogIterator,
    Opts,
    create_scheduler,
)
from topcoat.specs import AppDef, CfgVal, Role, macros


class Unpacked(ImageProvider):
    """Pretend that an image was unpacked below /images."""

    def __init__(self, cfg: Mapping[str, CfgVal]) -> None:
        self.marked = bool(cfg["prepend_cwd"])

    def fetch(self, image: str) -> str:
        return f"/images/{image}"

    def fetch_role(self, role: Role) -> str:
        role.env["MARKED"] = str(self.marked)
        return super().fetch_role(role)


def _app(image: str) -> AppDef:
    return AppDef("a", [Role("r", image, entrypoint="bin/run", args=[macros.img_root])])


def test_a_provider_says_where_a_role_runs_and_what(tmp_path: Path) -> None:
    scheduler = LocalScheduler("s", Unpacked, cache_size=3, extra_paths=["/opt/first"])
    (param,) = scheduler.submit_dryrun(_app("x"), {"prepend_cwd": True}).request.role_params["r"]
    assert param.args == ["/images/x/bin/run", "/images/x"]
    assert param.cwd == os.getcwd()
    assert param.env["MARKED"] == "True"
    assert param.env["PATH"].split(os.pathsep)[:2] == [os.getcwd(), "/opt/first"]


def test_the_directory_provider_runs_in_the_directory_that_the_image_names(tmp_path: Path) -> None:
    scheduler = create_scheduler("s", image_provider_class=LocalDirectoryImageProvider, other_argument=1)
    (param,) = scheduler.submit_dryrun(_app(str(tmp_path)), {}).request.role_params["r"]
    assert (param.args, param.cwd) == (["bin/run", str(tmp_path)], str(tmp_path))
    with pytest.raises(InvalidApp, match="invalid image '/nowhere': not a directory"):
        scheduler.submit_dryrun(_app("/nowhere"), {})


def test_the_default_provider_runs_in_the_current_directory() -> None:
    provider = CWDImageProvider({})
    role = Role("r", "any:1", entrypoint="x")
    assert (provider.fetch("any:1"), provider.get_cwd("any:1"), provider.get_entrypoint("/i", role)) == (
        os.getcwd(),
        os.getcwd(),
        "x",
    )


def test_a_cache_without_room_is_refused_as_in_torchx() -> None:
    with pytest.raises(UsageError, match="invalid cache_size 0"):
        LocalScheduler("s", cache_size=0)


def test_options_are_typed() -> None:
    opts = Opts(log_dir="/logs")
    assert (opts["log_dir"], opts["prepend_cwd"]) == ("/logs", False)


def test_a_log_iterator_returns_the_log_of_a_job_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    scheduler = create_scheduler("s")
    info = scheduler.submit_dryrun(AppDef("a", [Role("r", "", entrypoint="echo", args=["hi"])]), {})
    app_id = scheduler.schedule(info)
    (param,) = info.request.role_params["r"]
    assert "".join(LogIterator(app_id, str(param.combined), scheduler)) == "hi\n"
    assert "".join(LogIterator(app_id, str(param.combined), scheduler, should_tail=False)) == "hi\n"
