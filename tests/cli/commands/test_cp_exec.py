from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.components.daemons import Docker
from tests.components.images import Image
from tests.support.waiting import eventually

WRITE = "mkdir -p out/deep && echo model > out/model.pt && ln -s model.pt out/latest && echo d > out/deep/x"


def test_files_of_a_job_are_copied_out(cli: Cli, workspace: Path, tmp_path: Path) -> None:
    assert cli("run", "--name", "job", "--", "sh", "-c", WRITE).code == 0
    assert cli("cp", "job:out/model.pt", str(tmp_path)).code == 0
    assert (tmp_path / "model.pt").read_text() == "model\n"
    assert cli("cp", "job/job/0:out", str(tmp_path / "results")).code == 0
    assert (tmp_path / "results" / "deep" / "x").read_text() == "d\n"
    assert (tmp_path / "results" / "latest").readlink() == Path("model.pt")
    assert cli("cp", "job:out/model.pt", f"{tmp_path}/new-name").code == 0
    assert (tmp_path / "new-name").read_text() == "model\n"
    (tmp_path / "merged").mkdir()
    assert cli("cp", "job:.", str(tmp_path / "merged")).code == 0
    assert (tmp_path / "merged" / "train.py").exists()


def test_files_are_copied_into_a_job(cli: Cli, workspace: Path, tmp_path: Path) -> None:
    handle = cli("run", "--detach", "--", "sh", "-c", "until [ -f go ]; do sleep 0.05; done; cat go").out.strip()
    (tmp_path / "signal").write_text("went\n")
    assert cli("cp", str(tmp_path / "signal"), f"{handle}:go").code == 0
    assert cli("log", "-f", handle).out == "went\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("job:nothing", "."), "cannot copy nothing: no such file or directory"),
        (("job/nobody/0:x", "."), "has no replica nobody/0"),
        (("job:", "."), "the path after job: is empty"),
        (("a", "b"), "exactly one of SOURCE and DEST must be in a job"),
        (("job:a", "job:b"), "exactly one of SOURCE and DEST must be in a job"),
        (("nowhere.txt", "job:x"), "no such file or directory: nowhere.txt"),
        (("job:train.py", "no/such/dir/x"), "no such directory: no/such/dir"),
        (("job:train.py", "pkg/train.py/"), "no such directory: pkg/train.py"),
    ],
)
def test_what_cannot_be_copied_is_one_error(cli: Cli, workspace: Path, words: tuple[str, str], message: str) -> None:
    cli("run", "--name", "job", "--", "true")
    done = cli("cp", *words)
    assert done.code in (1, 2)
    assert message in done.error[0], done.err


def test_a_command_runs_in_a_running_job(topcoat: Cli, workspace: Path) -> None:
    handle = topcoat("run", "--detach", "--name", "job", "--env", "A=b", "--", "sleep", "60").out.strip()
    done = topcoat("exec", "--", "sh", "-c", "echo $A $TOPCOAT_REPLICA_ID; ls train.py; exit 7")
    assert (done.code, done.out) == (7, "b 0\ntrain.py\n")
    assert topcoat("exec", "job/job/0", "--", "cat", input="typed\n").out == "typed\n"
    missing = topcoat("exec", handle, "--", "no-such-program")
    assert "cannot run no-such-program: No such file or directory" in missing.err
    topcoat("cancel", handle)
    for _ in range(100):
        if "CANCELLED" in topcoat("status", handle).out:
            break
        time.sleep(0.1)
    ended = topcoat("exec", handle, "--", "true")
    assert (ended.code, "the replica job/0 does not run: CANCELLED" in ended.err) == (1, True)


@pytest.mark.parametrize("words", [(), ("job",), ("job", "--"), ("a", "b", "--", "c")])
def test_exec_without_a_command_is_wrong_usage(cli: Cli, workspace: Path, words: tuple[str, ...]) -> None:
    done = cli("exec", *words)
    assert (done.code, done.error[0]) == (2, "expected a command after --")


def test_a_job_with_several_roles_needs_one(cli: Cli, workspace: Path) -> None:
    (workspace / "jobs.py").write_text(
        "from topcoat.specs import AppDef, Role\n"
        "def two() -> AppDef:\n"
        "    return AppDef('two', [Role(n, '', entrypoint='true') for n in ('a', 'b')])\n"
    )
    cli("run", "jobs.py:two")
    done = cli("cp", "two:train.py", "copy.py")
    assert "has several roles" in done.error[0]
    assert "a/0, b/0" in done.error[1]
    assert cli("cp", "two/b:train.py", "copy.py").code == 0


def test_containers_are_entered_and_copied_from_and_to(
    topcoat: Cli, workspace: Path, any_docker: Docker, busybox_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_docker.use(monkeypatch)
    busybox_image.load(any_docker, "cli-cp:1", config={"WorkingDir": "/app"})
    words = ("--image", "cli-cp:1", "--name", "job", "--", "sh", "-c", f"{WRITE}; until [ -f go ]; do sleep 0.1; done")
    handle = topcoat("run", "-s", "local_docker", "--detach", *words).out.strip()
    done = topcoat("exec", handle, "--", "sh", "-c", "echo out; echo err >&2; cat; exit 5", input="typed\n")
    assert (done.code, done.out, done.err) == (5, "out\ntyped\n", "err\n")
    eventually(lambda: topcoat("exec", handle, "--", "test", "-e", "out/deep/x").code == 0)
    assert topcoat("cp", f"{handle}:out", "results").code == 0
    assert (workspace / "results" / "model.pt").read_text() == "model\n"
    assert (workspace / "results" / "latest").is_symlink()
    (workspace / "signal").write_text("x")
    assert topcoat("cp", "signal", f"{handle}:go") == (0, "", "")
    for _ in range(100):
        status = topcoat("status", "--json", handle).json
        if status["state"] == "SUCCEEDED":
            break
        time.sleep(0.1)
    replica = status["roles"][0]["replicas"][0]
    assert (replica["exit_code"], replica["structured_error_msg"]) == (0, None)
    assert replica["duration_s"] > 0
    assert "does not run: exited" in topcoat("exec", handle, "--", "true").err
    assert topcoat("cp", f"{handle}:out/deep/x", "x").code == 0
    assert "Could not find the file" in topcoat("cp", f"{handle}:nothing", "y").err
    assert topcoat("delete", handle).code == 0
