"""In any locale, a job gets the bytes that were typed, and is found again from another locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.components.slurm import Slurm
from tests.components.ssh import LoginNode

COMPONENT = '''
from topcoat.specs import AppDef, Resource, Role
def job(*args: str) -> AppDef:
    """Print bytes.

    Args:
        args: what is printed
    """
    resource = Resource(cpu=1, gpu=0, memMB=100)
    env = {"NAME": "日é"}
    role = Role("rôle-日", "", entrypoint="python3", args=["show.py", *args], resource=resource, env=env)
    return AppDef("jöb", [role])
'''
PROGRAM = "import os, sys\nprint([os.fsencode(word) for word in [*sys.argv[1:], os.environ['NAME']]])\n"
TYPED = [b"\xe9", "é".encode(), b"\xff '\"$x"]


@pytest.fixture(params=[b"j\xfcrgen", "jürgen 日".encode()], ids=["Latin-1 path", "UTF-8 path"])
def place(request: pytest.FixtureRequest, tmp_path: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a workspace."""
    home = tmp_path / os.fsdecode(request.param)
    (home / "w").mkdir(parents=True)
    (home / "w/jobs.py").write_text(COMPONENT)
    (home / "w/show.py").write_text(PROGRAM)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "w")
    return home


def run(locale: dict[str, str], *words: str | bytes) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "topcoat", *words],
        capture_output=True,
        check=False,
        timeout=100,
        env=environment(**locale),
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def check(place: Path, locale: dict[str, str], *options: str) -> None:
    """Run a job in a locale, and look at it there and in another one."""
    roots = f"job_root={place}/jobs"
    handle = run(locale, "run", "-s", "slurm", "-cfg", roots, *options, "--wait", "jobs.py:job", *TYPED).split()[-1]
    name = b"\xe9" if locale["LC_ALL"] == "xx_XX" else "é".encode()
    for other in (locale, {}):
        assert repr([*TYPED, "日".encode() + name]).encode() in run(other, "log", handle)
        assert b"SUCCEEDED" in run(other, "status", handle)
        assert b" " + handle.rpartition(b"/")[2] in run(other, "list").splitlines()[1]
        assert run(other, "describe", handle)
    run(locale, "delete", handle)
    assert not list((place / "jobs").iterdir())


def test_a_job_gets_the_bytes_and_every_locale_finds_it(place: Path, odd_locale: dict[str, str]) -> None:
    check(place, odd_locale)


def test_so_does_a_job_over_ssh(
    place: Path, odd_locale: dict[str, str], slurm_login: LoginNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_login.use(monkeypatch)
    check(place, odd_locale, "-cfg", f"slurm_host={slurm_login.host}")
