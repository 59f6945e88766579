"""A state directory on a disk without room: without bytes, and without inodes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.inside import script

MOUNT = """\
mkdir -p disk ws && cd ws && echo 'print(1)' > a.py
mount -t tmpfs -o size=1M,nr_inodes=100 tmpfs ../disk
export XDG_STATE_HOME="$PWD/../disk" XDG_CACHE_HOME="$PWD/../cache"
"""
FILL_BYTES = "head -c 9000000 /dev/zero > ../disk/filler 2>&1"
FILL_INODES = "(i=0; while : > ../disk/filler$i; do i=$((i+1)); done) 2>&1"


@pytest.mark.parametrize("fill", ["yes 0123456789 | head -c 9000000", FILL_BYTES, FILL_INODES])
@pytest.mark.parametrize("exit_code", [0, 3])
def test_the_status_of_a_job_that_fills_the_disk_is_kept(tmp_path: Path, fill: str, exit_code: int) -> None:
    """Its own log filled the disk: it was reported as failed, or ``run`` waited for ever."""
    job = f"{fill}; exit {exit_code}"
    output = script(
        f"""{MOUNT}
        topcoat run -s local_cwd -- sh -c '{job}' > /dev/null 2>&1; echo "code $?"
        topcoat list -s local_cwd
        handle=$(topcoat list -s local_cwd | sed -n 's/ .*//; 2p')
        topcoat status $handle | grep Msg
        rm -f ../disk/filler*; topcoat delete --force $handle; ls ../disk/topcoat/jobs | wc -l
        topcoat run -s local_cwd -- true; echo "again $?"
        """,
        "mount",
        directory=tmp_path,
    )
    assert f"code {bool(exit_code):d}\n" in output
    assert ("FAILED " if exit_code else "SUCCEEDED ") in output
    if exit_code:
        assert "Msg: sh/0 ended with exit code 3" in output
    if fill.startswith("yes"):
        assert "the logs are incomplete: No space left on device" in output
    assert "\n0\n" in output
    assert "again 0" in output


@pytest.mark.parametrize("fill", [FILL_BYTES, FILL_INODES])
@pytest.mark.parametrize("scheduler", ["local", "local_cwd"])
def test_a_job_is_not_started_on_a_full_disk_and_leaves_nothing(tmp_path: Path, fill: str, scheduler: str) -> None:
    output = script(
        f"""{MOUNT}
        {{ {fill}; }} > /dev/null 2>&1
        topcoat run -s {scheduler} -- touch ../started; echo "code $?"
        ls ../started; rm ../disk/filler*
        topcoat list -s {scheduler}; find ../disk -mindepth 3; echo end
        """,
        "mount",
        directory=tmp_path,
    )
    assert "code 1\n" in output
    assert "topcoat: error: cannot " in output
    assert ": No space left on device\n  hint: " in output
    assert "make it writable" not in output
    assert re.search(r"^NAME .* JOB\nend$", output, re.M)


def test_a_job_goes_on_and_can_be_cancelled_on_a_full_disk(tmp_path: Path) -> None:
    output = script(
        f"""{MOUNT}
        topcoat run -s local_cwd --detach -- sh -c '{FILL_BYTES}; touch ../filled; sleep 60' > /dev/null 2>&1
        while ! [ -e ../filled ]; do sleep 0.05; done
        handle=$(topcoat list -s local_cwd | sed -n 's/ .*//; 2p')
        topcoat list -s local_cwd; topcoat cancel $handle
        while topcoat list -s local_cwd | grep -q RUNNING; do sleep 0.1; done
        topcoat list -s local_cwd
        """,
        "mount",
        directory=tmp_path,
    )
    assert output.index("RUNNING") < output.index("CANCELLED")
