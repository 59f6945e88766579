from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from topcoat.cli.job_names import split_remote
from topcoat.runner import journal
from topcoat.specs import AppDef, Role, Workspace


def test_commands_without_a_job_mean_the_newest_of_this_workspace(
    cli: Cli, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = [cli("run", "--", "sh", "-c", f"echo {number}").out.strip() for number in range(2)]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    cli("run", "--", "echo", "elsewhere")
    monkeypatch.chdir(workspace / "pkg")
    done = cli("log")
    assert done.out == "1\n"
    assert done.err == f"topcoat: the newest job of this workspace: {handles[1]}\n"
    assert cli("status", "--json").json["handle"] == handles[1]
    assert cli("describe").code == cli("cancel").code == 0
    cli("delete", handles[1])
    assert cli("log").out == "0\n"


def test_a_workspace_without_jobs_is_one_error(cli: Cli, workspace: Path) -> None:
    for command in ("log", "status", "cancel", "describe"):
        done = cli(command)
        assert (done.code, done.error[0]) == (1, "no job was submitted from this workspace yet")
    done = cli("delete")
    assert (done.code, done.error[0]) == (2, "expected jobs, or --finished")


def test_a_part_of_a_name_that_one_job_has_is_enough(cli: Cli, workspace: Path) -> None:
    first = cli("run", "--name", "alpha", "--", "echo", "a").out.strip()
    second = cli("run", "--name", "beta", "--", "echo", "b").out.strip()
    assert cli("log", "alph").out == "a\n"
    assert cli("log", "bet/beta/0").out == "b\n"
    assert cli("log", second.rpartition("/")[2]).out == "b\n"
    several = cli("log", "local://topcoat"[-3:])
    assert (several.code, several.error[0].partition(":")[0]) == (2, "2 jobs match 'oat'")
    assert first.rpartition("/")[2] in several.error[0]
    missing = cli("log", "gamma")
    assert (missing.code, missing.error[0]) == (1, "no job matches 'gamma'")
    assert "topcoat list" in missing.error[1]
    assert cli("log", "").code == 2
    assert cli("log", "alph/alpha/x").error[0] == "invalid replica 'x' in 'alph/alpha/x'"


def test_a_job_that_is_gone_is_one_error(cli: Cli, workspace: Path) -> None:
    handle = cli("run", "--", "true").out.strip()
    cli("delete", handle)
    assert cli("log", handle).error[0] == f"unknown job {handle}" or "unknown" in cli("log", handle).err


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train:out/model.pt", ("train", "out/model.pt")),
        ("train/worker/0:.", ("train/worker/0", ".")),
        ("local://s/train-1/w/0:/abs:olute", ("local://s/train-1/w/0", "/abs:olute")),
        ("kubernetes://s/ns:train:out", ("kubernetes://s/ns:train", "out")),
        ("aws_batch://s/queue:id/w/0:out", ("aws_batch://s/queue:id/w/0", "out")),
        ("./a:b", None),
        ("/a:b", None),
        ("~/a:b", None),
        ("plain", None),
        ("dir/plain", None),
    ],
)
def test_a_path_in_a_job_has_a_colon(text: str, parts: tuple[str, str] | None) -> None:
    assert split_remote(text) == parts


def test_the_journal_survives_damage_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = AppDef("a", [Role("r", "i", workspace=Workspace({"/code": "", "memory://x": "m"}))])
    journal.record("local://s/a-1", app)
    path = tmp_path / "topcoat" / "submitted.jsonl"
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n{"handle": 3}\n[1]\n' + b"[" * 100_000 + b"\n")
    journal.record("slurm://s/7", app)
    assert [job.handle for job in journal.submitted()] == ["slurm://s/7", "local://s/a-1"]
    assert journal.submitted()[0].belongs_to("/code/below")
    assert not journal.submitted()[0].belongs_to("/code-2")
    journal.forget("slurm://s/7")
    assert [job.handle for job in journal.submitted()] == ["local://s/a-1"]
    monkeypatch.setattr(journal, "MAX_BYTES", 10_000)
    for number in range(100):
        journal.record(f"local://s/b-{number}", app)
    assert path.stat().st_size < 30_000
    assert journal.submitted()[0].handle == "local://s/b-99"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_read_only_state_directory_is_no_problem_for_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    journal.record("local://s/a", AppDef("a"))
    assert journal.submitted() == []
