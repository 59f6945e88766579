"""The scripts of a job: what Slurm runs, and what each replica runs. No side effects."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

JOB_ID = "\0"
"""Stands for Slurm's id of the job in the text of a request: only the job itself knows it."""

MISSING_EXIT_CODE = 66
"""Exit code of a job whose snapshot or facts directory is missing (EX_NOINPUT of sysexits.h)."""

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

FIRST_PORT, PORTS = 20000, 12000
"""Rendezvous ports: below the ephemeral ones (32768 and up), a different one for each job id."""


class ReplicaCommand(NamedTuple):
    """What one replica runs: *words* in *directory* with *env*, all of which may contain `JOB_ID`."""

    name: str
    words: Sequence[str]
    env: Mapping[str, str]
    directory: str


class RoleStep(NamedTuple):
    """How the replicas of one role are started.

    Attributes:
        role: its name.
        first: number of its first task in the step.
        restarts: how often a failure restarts the whole job.
        replica_restarts: how often a failure restarts the replica alone.
        srun: options of srun for this role.
        wrapper: the words before the replica's script: a container runtime, or nothing.
    """

    role: str
    first: int
    restarts: int
    replica_restarts: int
    srun: Sequence[str]
    wrapper: Sequence[str] = ()


def quote(text: str) -> str:
    """Return *text* as one word of a shell, with the job's id in place of `JOB_ID`."""
    return '"$SLURM_JOB_ID"'.join([shlex.quote(part) if part else "" for part in text.split(JOB_ID)]) or "''"


def batch_script(files: str, directories: Sequence[str], steps: Sequence[RoleStep]) -> str:
    """Return the script that Slurm runs on the first node.

    Args:
        files: the facts directory.
        directories: the snapshots, which must exist on the node.
        steps: one for each role, in the order of the groups.
    """
    checks = "".join(
        f"[ -d {quote(directory)} ] || fail {quote(f'the snapshot {directory} does not exist')}\n"
        for directory in directories
    )
    return f"""#!/bin/bash
files={quote(files)}
fail() {{
  printf 'topcoat: %s on %s: nothing was run\\n' "$1" "${{SLURMD_NODENAME:-$(hostname)}}" | tee -a exit/failure >&2
  exit {MISSING_EXIT_CODE}
}}
# Slurm starts a job whose working directory is missing in /tmp.
cd "$files" 2>/dev/null || {{
  printf 'topcoat: the job directory %s does not exist: nothing was run\\n' "$files" >&2
  exit {MISSING_EXIT_CODE}
}}
rm -rf exit && mkdir exit || exit
printf '%s %s %s\\n' "$SLURM_JOB_ID" "${{SLURM_RESTART_COUNT:-0}}" "$(date +%s)" > exit/run
{checks}node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(scontrol -o show node "$node" | sed -n 's/.*[[:space:]]NodeAddr=\\([^[:space:]]*\\).*/\\1/p')
export TORCHX_RANK0_HOST=${{address:-$node}} TOPCOAT_RANK0_HOST=${{address:-$node}}
export TOPCOAT_RANK0_PORT=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))

{_srun(steps)} &
step=$!
for signal in TERM USR1 USR2; do trap "kill -$signal $step" "$signal"; done
wait "$step"; code=$?
while kill -0 "$step" 2>/dev/null; do wait "$step"; code=$?; done
[ "$code" -ne 0 ] || exit 0

# The first replica that failed decides: srun returns the exit code of those that were ended because of it.
name=srun restarts={min(step.restarts for step in steps)}
[ ! -e exit/first/replica ] || {{ read -r code restarts; read -r name; }} < exit/first/replica
restarted=${{SLURM_RESTART_COUNT:-0}}
if [ "$restarted" -lt "$restarts" ] && [ "$(squeue -h -t all -j "$SLURM_JOB_ID" -o %T | head -n 1)" = RUNNING ]; then
  echo "topcoat: $name ended with exit code $code: restart $((restarted + 1)) of $restarts" >&2
  # Slurm ends this script: a trap would wait for the end of sleep.
  trap - TERM USR1 USR2
  scontrol requeue "$SLURM_JOB_ID" && sleep 120
fi
exit "$code"
"""


def _srun(steps: Sequence[RoleStep]) -> str:
    groups = []
    for number, step in enumerate(steps):
        group = [f"--het-group={number}"] if len(steps) > 1 else []
        words = [*group, *step.srun, "/bin/sh", "replica.sh", step.role, str(step.first)]
        words += [str(step.restarts), str(step.replica_restarts)]
        groups.append(" ".join(map(quote, words)))
    return "srun --export=ALL --kill-on-bad-exit=1 --wait=0 " + " : \\\n  ".join(groups)


def replica_script(files: str, steps: Sequence[RoleStep], commands: Sequence[ReplicaCommand]) -> str:
    """Return the script that each task of the step runs: it finds out which replica it is.

    Args:
        files: the facts directory.
        steps: one for each role.
        commands: one for each replica.
    """
    wrappers = "".join(
        f"  {quote(step.role)}) set -- {' '.join(map(quote, step.wrapper))} ;;\n" for step in steps if step.wrapper
    )
    wrapper = f"case $role in\n{wrappers}esac\n" if wrappers else ""
    cases = "".join(_case(command) for command in commands)
    return f"""#!/bin/sh
# replica.sh ROLE FIRST RESTARTS REPLICA_RESTARTS: run the replica of this task.
# replica.sh NAME: be the replica NAME, in its container if it has one.
files={quote(files)}
if [ $# = 1 ]; then
  case $1 in
{cases}  esac
  exit
fi
role=$1 number=$((SLURM_PROCID - $2)) restarts=$3 attempts=$(($4 + 1))
name=$role-$number node=${{SLURMD_NODENAME:-$(hostname)}}
cd "$files" || exit {MISSING_EXIT_CODE}
exec >> "logs/$name.out" 2>> "logs/$name.err"
started=$(date +%s)
record() {{
  printf '%s %s %s %s %s\\n' "$node" "$started" "$1" "$2" "$name" > "exit/.$name" && mv -f "exit/.$name" "exit/$name"
}}
record - -
set --
{wrapper}# A signal is for the replica, which gets it too; this script then writes its exit code.
trap : TERM INT HUP USR1 USR2
while [ $attempts -gt 0 ]; do
  attempts=$((attempts - 1))
  "$@" /bin/sh "$files/replica.sh" "$name"; code=$?
  [ $code -ne 0 ] || break
  [ $attempts -eq 0 ] || echo "topcoat: $name ended with exit code $code: it is restarted" >&2
done
record "$(date +%s)" $code
if [ $code -ne 0 ] && mkdir exit/first 2>/dev/null; then
  printf '%s %s\\n%s\\n' $code "$restarts" "$name" > exit/first/replica
fi
exit $code
"""


def _case(command: ReplicaCommand) -> str:
    missing = quote(f"topcoat: the snapshot {command.directory} does not exist: nothing was run")
    lines = [f"cd {quote(command.directory)} || {{ printf '%s\\n' {missing} >&2; exit {MISSING_EXIT_CODE}; }}"]
    odd_names = []
    for name, value in command.env.items():
        if not _SHELL_NAME.fullmatch(name):
            # A shell has no such variable, a process may.
            odd_names.append(quote(f"{name}={value}"))
        elif name == "PYTHONPATH":
            # The code and the job's own value come before that of the user's shell.
            lines.append(f"export PYTHONPATH={quote(value)}${{PYTHONPATH:+:$PYTHONPATH}}")
        else:
            lines.append(f"export {name}={quote(value)}")
    env = ["env", *odd_names] if odd_names else []
    lines.append(" ".join(["exec", *env, *map(quote, command.words), ";;"]))
    return f"  {quote(command.name)})\n" + "".join(f"    {line}\n" for line in lines)
