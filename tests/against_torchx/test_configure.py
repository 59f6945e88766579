"""``.torchxconfig`` as TorchX's own ``configure`` writes it, read by topcoat; and the other way round."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.components.peers import TorchX
from topcoat.cli.main import main
from topcoat.runner.config import CONFIG_FILE, apply, configure
from topcoat.schedulers import get_scheduler_factories
from topcoat.specs import CfgVal

_NAMES = """
import json
from torchx.schedulers import get_scheduler_factories
print(json.dumps(list(get_scheduler_factories())))
"""

_LOAD = """
import json, sys
from torchx.runner import config
answers = {}
for name in json.load(sys.stdin):
    answers[name] = {}
    with open(".torchxconfig") as file:
        config.load(name, file, answers[name])
print(json.dumps(answers))
"""


def _shared(torchx: TorchX, directory: Path) -> list[str]:
    """Return the schedulers that both have and whose options TorchX can list without an optional dependency."""
    theirs: list[str] = torchx.ask(_NAMES, None, directory)
    return [name for name in theirs if name in get_scheduler_factories()]


def _configure(torchx: TorchX, directory: Path, schedulers: list[str]) -> Path:
    torchx.run("configure", "--all", "--schedulers", ",".join(schedulers), cwd=directory)
    return directory / CONFIG_FILE


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_topcoat_and_torchx_have_the_same_local_schedulers(any_torchx: TorchX, directory: Path) -> None:
    assert {"local_cwd", "local_docker"} <= set(_shared(any_torchx, directory))


def test_each_value_that_torchx_writes_is_read_as_torchx_reads_it(
    any_torchx: TorchX, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedulers = _shared(any_torchx, directory)
    file = _configure(any_torchx, directory, schedulers)
    # Required options are placeholders that neither takes.
    file.write_text(file.read_text().replace("= #FIXME:(str)", "= filled in, was"))
    theirs = any_torchx.ask(_LOAD, schedulers, directory)

    for name in schedulers:
        ours: dict[str, CfgVal] = {}
        with caplog.at_level(logging.WARNING):
            apply(name, ours)
        assert ours == theirs[name]
        assert len(ours) >= 3
    assert not caplog.records, "every run option of TorchX is one of topcoat's"


def test_the_command_line_follows_what_torchx_wrote(
    any_torchx: TorchX, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _configure(any_torchx, directory, ["local_cwd", "local_docker"])
    text = file.read_text()
    assert "log_dir = None" in text
    text = text.replace("log_dir = None", f"log_dir = {directory}/logs").replace("env = None", "env = A:1;B:2", 2)
    file.write_text(text.replace("copy_env = A:1;B:2", "copy_env = HO?E"))

    assert main(["run", "-s", "local_cwd", "--name", "hello", "--", "echo", "from the job"]) == 0
    handle, _, _ = capfd.readouterr().out.partition("\n")
    app_id = handle.rpartition("/")[2]
    (stdout,) = (directory / "logs").glob(f"*/{app_id}/hello/0/stdout.log")
    assert stdout.read_text() == "from the job\n"

    command = ["run", "-s", "local_docker", "--workspace", "", "--dryrun", "--image", "busybox", "--", "true"]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert "A: '1'" in shown or "'A': '1'" in shown
    assert "HOME" in shown


def test_the_command_line_overrides_the_file(
    torchx_newest: TorchX, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _configure(torchx_newest, directory, ["local_cwd"])
    file.write_text(file.read_text().replace("log_dir = None", f"log_dir = {directory}/file"))
    assert main(["run", "-s", "local_cwd", "-cfg", f"log_dir={directory}/line", "--", "true"]) == 0
    capfd.readouterr()
    assert (directory / "line").is_dir()
    assert not (directory / "file").exists()


def test_torchx_reads_what_topcoat_writes(any_torchx: TorchX, directory: Path) -> None:
    schedulers = ["local_cwd", "local_docker"]
    configure(schedulers=schedulers, required_only=False)
    theirs = any_torchx.ask(_LOAD, schedulers, directory)
    for name in schedulers:
        ours: dict[str, CfgVal] = {}
        apply(name, ours)
        assert theirs[name].items() <= ours.items()
        assert len(theirs[name]) >= 3
