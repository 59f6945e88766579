"""What is said of a job when Slurm's commands know several jobs of its id, or do not respond."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from topcoat.errors import SchedulerError
from topcoat.schedulers.ids import app_id_for
from topcoat.schedulers.local.app_json import role_to_dict
from topcoat.schedulers.slurm import observe
from topcoat.schedulers.slurm.client import SlurmClient
from topcoat.schedulers.slurm.parse import FIELD, ROW
from topcoat.schedulers.slurm.site import CommandResult, LocalSite, no_program, program_of
from topcoat.specs import AppState, Role

UNKNOWN = CommandResult(1, "", "slurm_load_jobs error: Invalid job id specified")
DOWN = CommandResult(1, "", "sacct: error: Problem talking to the database: Connection refused")
DISABLED = CommandResult(1, "", "Slurm accounting storage is disabled")
MISSING = no_program("sacct")


class Commands(LocalSite):
    """A site whose programs of Slurm give fixed answers."""

    def __init__(self, **answers: CommandResult | SchedulerError) -> None:
        self.answers = answers
        self.commands: list[Sequence[str]] = []

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        answer = self.answers.get(program_of(command))
        if answer is None:
            return super().run(command, stdin=stdin, timeout_s=timeout_s)
        self.commands.append(command)
        if isinstance(answer, SchedulerError):
            raise answer
        return answer


def accounting(*rows: tuple[str, str, int, str]) -> CommandResult:
    """Return what sacct prints for rows of an id, a state, a time of submission and a directory."""
    lines = [
        FIELD.join((job, state, "0:0", "0:0", str(time), str(time), str(time), "n1", "root", directory, "job"))
        for job, state, time, directory in rows
    ]
    return CommandResult(0, "\n".join(lines), "")


def queue(*rows: tuple[str, str, int, str]) -> CommandResult:
    """Return what squeue prints for rows of an id, a state, a time of submission and a directory."""
    lines = [
        FIELD.join((job, state, "None", "n1", str(time), "root", directory, "job"))
        for job, state, time, directory in rows
    ]
    return CommandResult(0, "".join(line + ROW for line in lines), "")


def write_job(home: Path, run: str, code: str = "") -> str:
    """Write the directory of a job that has run, and return its facts directory."""
    facts = home / ".topcoat" / "jobs" / app_id_for("job") / ".topcoat"
    (facts / "exit").mkdir(parents=True)
    (facts / "job.json").write_text(json.dumps({"roles": [role_to_dict(Role("job", ""))]}))
    (facts / "exit" / "run").write_text(f"{run}\n")
    if code:
        (facts / "exit" / "code").write_text(code)
    return str(facts)


def test_an_older_job_with_the_same_id_is_another_job() -> None:
    old, new = "/jobs/old/.topcoat", "/jobs/new/.topcoat"
    ended = accounting(("7", "FAILED", 10, old), ("7", "COMPLETED", 20, new))
    client = SlurmClient(Commands(squeue=UNKNOWN, sacct=ended))
    described = observe.describe("7", client, "7")
    assert described is not None
    assert (described.state, described.num_restarts) == (AppState.SUCCEEDED, 0)
    assert observe.job_directory(client, "7") == new


def test_the_runs_of_a_requeued_job_are_its_restarts() -> None:
    own = "/jobs/own/.topcoat"
    ended = accounting(("7", "NODE_FAIL", 10, own), ("7", "COMPLETED", 20, own))
    described = observe.describe("7", SlurmClient(Commands(squeue=UNKNOWN, sacct=ended)), "7")
    assert described is not None
    assert described.num_restarts == 1


def test_a_job_that_the_accounting_does_not_have_yet_is_not_an_older_one_with_its_id() -> None:
    answers = {
        "squeue": queue(("7", "COMPLETED", 20, "/jobs/new/.topcoat")),
        "sacct": accounting(("7", "FAILED", 10, "/jobs/old/.topcoat")),
    }
    described = observe.describe("7", SlurmClient(Commands(**answers)), "7")
    assert described is not None
    assert described.state is AppState.SUCCEEDED


def test_a_run_whose_directory_the_accounting_does_not_have_yet_is_that_of_the_job_in_the_queue() -> None:
    answers = {
        "squeue": queue(("7", "TIMEOUT", 20, "/jobs/new/.topcoat")),
        "sacct": accounting(("7", "FAILED", 10, "/jobs/old/.topcoat"), ("7", "NODE_FAIL", 20, "")),
    }
    described = observe.describe("7", SlurmClient(Commands(**answers)), "7")
    assert described is not None
    assert (described.msg, described.num_restarts) == ("a node failed", 0)


def test_of_directories_with_the_same_id_that_of_the_last_run_counts(home: Path) -> None:
    new = write_job(home, "7 0 2000", "0")
    write_job(home, "7 0 1000", "3")
    write_job(home, "77 0 3000", "3")
    client = SlurmClient(Commands(squeue=UNKNOWN, sacct=DISABLED))
    assert observe.job_directory(client, "7") == new


@pytest.mark.parametrize("sacct", [DOWN, MISSING, DISABLED, SchedulerError("Slurm's sacct did not respond")])
def test_without_the_accounting_the_queue_and_the_records_are_enough(
    home: Path, sacct: CommandResult | SchedulerError
) -> None:
    directory = write_job(home, "7 0 2000", "3")
    client = SlurmClient(Commands(squeue=queue(("8", "RUNNING", 20, directory)), sacct=sacct))
    assert [(app.app_id, app.state) for app in observe.list_jobs(client)] == [("8", AppState.RUNNING)]
    described = observe.describe("7", client, "7")
    assert described is not None
    assert described.state is AppState.FAILED
    assert observe.job_directory(client, "7") == directory


@pytest.mark.parametrize("sacct", [DOWN, SchedulerError("Slurm's sacct did not respond: Connection refused")])
@pytest.mark.parametrize("is_started", [True, False])
def test_a_job_that_only_the_accounting_knows_is_an_error_while_it_is_down(
    home: Path, sacct: CommandResult | SchedulerError, *, is_started: bool
) -> None:
    if is_started:
        write_job(home, "7 0 2000")
    client = SlurmClient(Commands(squeue=UNKNOWN, sacct=sacct))
    with pytest.raises(SchedulerError, match="Connection refused"):
        observe.describe("7", client, "7")
    if not is_started:
        with pytest.raises(SchedulerError, match="Connection refused"):
            observe.job_directory(client, "7")


@pytest.mark.parametrize("sacct", [MISSING, DISABLED])
def test_a_job_that_ended_without_a_record_has_failed(home: Path, sacct: CommandResult | SchedulerError) -> None:
    write_job(home, "7 0 2000")
    client = SlurmClient(Commands(squeue=UNKNOWN, sacct=sacct))
    described = observe.describe("7", client, "7")
    assert described is not None
    assert (described.state, described.msg) == (
        AppState.FAILED,
        "it was ended before it could record its exit code",
    )
    assert observe.describe("9", client, "9") is None


@pytest.mark.parametrize(
    ("names", "shown"),
    [(("a-b",), "a-b"), (("two-train", "two-trainer"), "two"), (("x-y-a", "x-y-b", "x-y-c"), "x-y"), (("a", "b"), "a")],
)
def test_a_job_of_several_roles_is_listed_by_the_name_of_the_application(names: tuple[str, ...], shown: str) -> None:
    facts = f"/jobs/{app_id_for('job')}/.topcoat"
    rows = [
        FIELD.join((f"7+{part}", "RUNNING", "None", "n1", "1", "root", facts, name)) for part, name in enumerate(names)
    ]
    answer = CommandResult(0, "".join(row + ROW for row in rows), "")
    client = SlurmClient(Commands(squeue=answer, sacct=DISABLED))
    assert [job.name for job in observe.list_jobs(client)] == [shown]


ROW_OF_SINFO = FIELD.join(("main*", "up", "infinite", "1-infinite", "4", "8", "16000", "(null)")) + ROW


@pytest.mark.parametrize(
    ("config", "are_chosen", "decides"),
    [
        ("JobSubmitPlugins        = (null)\nTotalNodes=4", False, True),
        ("JobSubmitPlugins = lua\n", False, False),
        ("JobSubmitPlugins = lua\n", True, True),
        ("State=UP TotalCPUs=80 TotalNodes=10 ", True, False),
    ],
    ids=["plain", "plugin", "plugin, partition chosen", "hidden nodes"],
)
def test_sinfo_does_not_decide_where_a_plugin_does_or_nodes_are_hidden(
    config: str, are_chosen: bool, decides: bool
) -> None:
    client = SlurmClient(Commands(sinfo=CommandResult(0, ROW_OF_SINFO, ""), scontrol=CommandResult(0, config, "")))
    assert client.decides_capacity({"main"}, are_chosen=are_chosen) is decides


class Sinfo(Commands):
    """A cluster that has, and excludes, nodes with two kinds of GPU."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> CommandResult:
        counts = (2, 3) if "-n" in command else (10, 10)
        rows = zip(counts, ("gpu:a100:4", "gpu:v100:4"), strict=True)
        answer = [FIELD.join(("main*", "up", "infinite", "1-2", str(count), "8", "16000", gpu)) for count, gpu in rows]
        self.answers["sinfo"] = CommandResult(0, "".join(row + ROW for row in answer), "")
        return super().run(command, stdin=stdin, timeout_s=timeout_s)


def test_excluded_nodes_are_taken_from_equal_ones_once() -> None:
    client = SlurmClient(Sinfo(scontrol=CommandResult(0, "", "")))
    assert [row.nodes for row in client.partitions("n[1-5]")] == [15]
    assert [row.nodes for row in client.partitions()] == [20]


def test_a_path_with_question_marks_of_the_accounting_is_found_again(tmp_path: Path) -> None:
    facts = tmp_path / "jürgen 日's [x]*" / app_id_for("job") / ".topcoat"
    facts.mkdir(parents=True)
    (tmp_path / "jurgen").mkdir()
    lost = str(facts).replace("日", "?").replace("ü", "?")
    gone = lost.replace(".topcoat", "gone")
    rows = accounting(("7", "COMPLETED", 10, lost), ("8", "COMPLETED", 10, gone))
    client = SlurmClient(Commands(sacct=rows))
    assert [run.directory for run in client.accounting_of_user(1)] == [str(facts), gone]


def test_a_cluster_that_hides_its_nodes_can_be_used() -> None:
    denied = CommandResult(1, "", "slurm_load_node: Access/permission denied")
    client = SlurmClient(Commands(sinfo=denied, scontrol=CommandResult(0, "", "")))
    assert client.partitions("n1") == []


def test_the_accounting_of_the_cluster_of_the_other_commands_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Commands(sacct=accounting(("7", "COMPLETED", 10, "/jobs/job-bcdfghjk/.topcoat")))
    for clusters, words in (("", []), ("gpu", ["-M", "gpu"])):
        monkeypatch.setenv("SLURM_CLUSTERS", clusters)
        SlurmClient(site).accounting("7")
        assert [word for word in site.commands[-1] if word in ("-M", "gpu")] == words


def test_a_shorter_time_is_asked_for_if_the_accounting_refuses_a_long_one() -> None:
    refused = CommandResult(1, "", "sacct: error: Too wide of a date range in query")
    site = Commands(sacct=refused)
    with pytest.raises(SchedulerError, match="Too wide"):
        SlurmClient(site).accounting_of_user(400)
    asked = [word for command in site.commands for word in command if word.startswith("now-")]
    assert asked == ["now-400days", "now-60days", "now-14days", "now-2days"]


@pytest.mark.parametrize("program", ["squeue", "sacct", "scancel", "sinfo", "sbatch"])
def test_options_in_the_environment_of_the_user_do_not_reach_the_commands(
    home: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    (home / "bin").mkdir()
    for name, script in (("scontrol", "true"), (program, "env > ~/env")):
        (home / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (home / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=":")
    options = [
        *("SQUEUE_PARTITION", "SQUEUE_USERS", "SCANCEL_STATE", "SCANCEL_INTERACTIVE", "SACCT_FORMAT"),
        *("SINFO_PARTITION", "SBATCH_WAIT", "SBATCH_CONTAINER", "SBATCH_ARRAY_INX"),
    ]
    for name in [*options, "SBATCH_ACCOUNT"]:
        monkeypatch.setenv(name, "x")
    client = SlurmClient(LocalSite())
    if program == "sbatch":
        with pytest.raises(SchedulerError, match="printed no job id"):
            client.submit(["sbatch", "script"])
    elif program == "sinfo":
        client.partitions()
    else:
        {"squeue": client.queue, "sacct": client.accounting, "scancel": client.cancel}[program]("7")
    names = {line.partition("=")[0] for line in (home / "env").read_text().splitlines()}
    assert not [name for name in names.intersection(options) if name.startswith(program.upper())]
    assert "SBATCH_ACCOUNT" in names


def test_a_controller_that_is_down_is_asked_once_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Commands(squeue=CommandResult(1, "", "slurm_load_jobs error: Unable to contact slurm controller"))
    client = SlurmClient(site)
    for ask in (client.queue_of_user, lambda: client.queue("7"), lambda: client.queue("8")):
        with pytest.raises(SchedulerError, match="Unable to contact"):
            ask()
    assert len(site.commands) == 1
    site.answers["squeue"] = queue()
    monkeypatch.setattr("topcoat.schedulers.slurm.client._MAX_FAILURE_AGE_S", 0.0)
    assert client.queue("7") == []
