"""Two containers that share a state directory: a process number means another process in each."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.faults.inside import script


@pytest.mark.parametrize("proc", [("pid", "fork", "mount-proc"), ("pid", "fork")])
def test_a_job_of_another_container_is_neither_declared_dead_nor_signalled(
    tmp_path: Path, proc: tuple[str, ...]
) -> None:
    """With ``mount-proc``, /proc has the numbers of the new namespace; without it, those of the outer one."""
    start = "topcoat run -s local_cwd --detach -- sh -c 'touch began; while ! [ -e end ]; do sleep 0.05; done'"
    inner = "unshare --" + " --".join(proc)
    output = script(
        f"""
        printf '#!/bin/sh\\nexec "{sys.executable}" -m topcoat "$@"\\n' > topcoat; chmod +x topcoat
        export TOPCOAT="$PWD/topcoat"
        {start} > /dev/null 2>&1
        while ! [ -e began ]; do sleep 0.05; done
        echo "from another namespace:"; {inner} sh -c '
            "$TOPCOAT" list -s local_cwd
            "$TOPCOAT" cancel $("$TOPCOAT" list -s local_cwd | sed -n "s/ .*//; 2p")
            "$TOPCOAT" run -s local_cwd -- true; echo "own job: $?"
        '
        echo "from its own:"; topcoat list -s local_cwd
        touch end
        while topcoat list -s local_cwd | grep -q RUNNING; do sleep 0.1; done
        topcoat list -s local_cwd
        """,
        "mount",
        directory=tmp_path,
    )
    other, own = output.partition("from its own:")[::2]
    assert re.search("^sh +RUNNING ", other, re.M), output
    assert "runs on" in other, output
    assert "another container (pid namespace)" in other, output
    assert "own job: 0" in other, output
    for state in ("RUNNING", "SUCCEEDED"):
        assert re.search(f"^sh +{state} ", own, re.M), output
    assert "FAILED" not in output
