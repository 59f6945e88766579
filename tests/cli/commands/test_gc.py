from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.components.daemons import Docker
from tests.components.images import Image
from topcoat.errors import SchedulerError
from topcoat.runner import Runner
from topcoat.schedulers.local import retention
from topcoat.schedulers.responses import Freeable


def test_old_jobs_give_their_unchanged_code_and_keep_what_they_wrote(
    cli: Cli, workspace: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "KEPT_JOBS", 1)
    old = cli("run", "--name", "old", "--", "sh", "-c", "echo said; echo result > result.txt").out.strip()
    code = home / ".local" / "state" / "topcoat" / "jobs" / old.rpartition("/")[2] / "code"
    cli("run", "--name", "new", "--", "true")
    assert cli("gc", "--json").json["items"] == []
    _make_old(home, old)
    shown = cli("gc")
    assert f"unchanged code of the job {code.parent.name}" in shown.out
    assert "topcoat gc --yes frees it" in shown.err
    assert (code / "train.py").exists()
    freed = cli("gc", "--yes", "--json").json
    assert (freed["freed"], freed["size"] > 0) == (True, True)
    assert sorted(path.name for path in code.rglob("*") if path.is_file()) == [".topcoat.json", "result.txt"]
    assert cli("log", old).out == "said\n"
    assert "SUCCEEDED" in cli("status", old).out
    assert cli("cp", f"{old}:result.txt", "copy.txt").code == 0
    assert cli("gc", "--json").json["items"] == []


def test_what_cannot_be_freed_does_not_stop_the_others(
    cli: Cli, workspace: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[str] = []

    def free(self: Runner, scheduler: str, item: Freeable) -> None:
        if item.id == "a":
            raise SchedulerError("cannot remove it")
        freed.append(item.id)

    monkeypatch.setattr(Runner, "freeable", lambda *_: [Freeable(f"snapshot {name}", name, 5) for name in "ab"])
    monkeypatch.setattr(Runner, "free", free)
    done = cli("gc", "--yes", "-s", "slurm")
    assert (done.code, freed) == (1, ["b"])
    assert "topcoat: snapshot a stays: cannot remove it" in done.err
    assert "freed 5 B" in done.err


def _make_old(home: Path, handle: str) -> None:
    path = home / ".local" / "state" / "topcoat" / "jobs" / handle.rpartition("/")[2] / "job.json"
    job = json.loads(path.read_text())
    # Its ctime says when the job started, so the time is set back by a patch of the content only.
    created = job["created"]
    text = path.read_text().replace(repr(created), repr(created - 8 * 86400))
    changed = max(entry.lstat().st_ctime_ns for entry in (path.parent / "code").rglob("*"))
    path.write_text(text)
    result = path.parent / "code" / "result.txt"
    while result.lstat().st_ctime_ns <= max(changed, path.stat().st_ctime_ns):
        time.sleep(0.01)
        result.write_text("result\n")


def test_old_temporary_files_and_unused_records_are_freed(cli: Cli, workspace: Path, home: Path) -> None:
    cli("run", "--", "true")
    cache = home / ".cache" / "topcoat"
    for directory, days in (("spool", 2), ("bases", 31), ("bases", 29)):
        path = cache / directory / f"{directory}-{days}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10_000)
        os.utime(path, (time.time() - days * 86400,) * 2)
    names = [item["name"] for item in cli("gc", "--yes", "--json").json["items"]]
    assert names == ["unused bases in the cache", "temporary files in the cache"]
    assert [path.name for path in (cache / "bases").iterdir()] == ["bases-29"]


def test_large_directories_give_a_warning_once_a_day(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPCOAT_DISK_WARNING_GB", "0.000001")
    assert "topcoat gc shows what can be freed" in cli("run", "--", "true").err
    assert "topcoat gc shows what can be freed" not in cli("run", "--", "true").err


def test_finished_jobs_are_deleted_by_their_age(cli: Cli, workspace: Path, home: Path) -> None:
    running = cli("run", "--detach", "--", "sleep", "60").out.strip()
    cli("run", "--", "true")
    assert "no job to delete" in cli("delete", "--finished", "--older-than", "1h").err
    assert cli("delete", "--finished").code == 0
    assert [job["handle"] for job in cli("list", "--json").json["jobs"]] == [running]
    for words, message in (
        (("--older-than", "1h"), "--older-than needs --finished"),
        (("--finished", "--older-than", "soon"), "invalid --older-than value 'soon'"),
        (("--finished", "x"), "expected jobs, or --finished"),
    ):
        assert message in cli("delete", *words).err


def test_images_that_no_container_uses_are_freed(
    cli: Cli, workspace: Path, docker_today: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_today.use(monkeypatch)
    busybox_image.load(docker_today, "cli-gc:1", config={"WorkingDir": "/app"})
    handle = cli("run", "-s", "local_docker", "--image", "cli-gc:1", "--name", "job", "--", "true").out.strip()
    in_use = {item["id"] for item in cli("gc", "-s", "local_docker", "--json").json["items"]}
    cli("delete", handle)
    unused = {item["id"] for item in cli("gc", "-s", "local_docker", "--json", "--yes").json["items"]}
    assert len(unused - in_use) == 1
    assert cli("gc", "-s", "local_docker", "--json").json["items"] == []
