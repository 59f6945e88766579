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
# bash ends at `export UID=5`, and does not pass on other values that it computes itself.
_SET_BY_SHELL = re.compile(
    "_|BASH.*|DIRSTACK|EPOCH.*|EUID|FUNCNAME|GROUPS|HISTCMD|LINENO|OPTIND|PPID|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID"
)

FIRST_PORT, PORTS = 20000, 12000
"""Rendezvous ports: below the ephemeral ones (32768 and up), a different one for each job id."""


MAX_WAIT_FOR_TERMINAL_S = 900
"""How long a job that needs a terminal keeps its nodes without one."""
MAX_SILENCE_S = 60
"""How long such a job keeps its nodes after the last sign of the terminal's step: that may be killed."""
_MAX_WAIT_FOR_SCRIPT_S = 60
_WAIT_FOR_TERMINAL = f"""{{
  _waited=0
  until [ -e exit/terminal ]; do
    [ $_waited -lt {MAX_WAIT_FOR_TERMINAL_S} ] || fail "no terminal was attached in {MAX_WAIT_FOR_TERMINAL_S} s"
    sleep 1
    _waited=$((_waited + 1))
  done
  _waited=0
  until [ -s exit/terminal ]; do
    [ $_waited -lt {MAX_SILENCE_S} ] || fail "the step of the terminal ended without an exit code" ""
    sleep 1
    _waited=$((_waited + 1))
    ! rmdir exit/alive 2>/dev/null || _waited=0
  done
  exit "$(cat exit/terminal)"
}} &"""


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
        first: number of its first task in the step; ``=NUMBER`` for the one replica *NUMBER*.
        restarts: how often a failure restarts the whole job.
        replica_restarts: how often a failure restarts the replica alone.
        srun: options of srun for this role.
        group: number of its component in a heterogeneous job; ``None`` in a job of one role.
        wrapper: the words before the replica's script: a container runtime, or nothing.
        files: the facts directory as the task sees it.
        inner_files: the facts directory as the replica sees it.
        is_alone: whether it is a step of its own: Slurm 22.05 mixes up the containers of one step.
    """

    role: str
    first: str
    restarts: int
    replica_restarts: int
    srun: Sequence[str]
    group: int | None
    files: str
    inner_files: str
    wrapper: Sequence[str] = ()
    is_alone: bool = False


def quote(text: str) -> str:
    """Return *text* as one word of a shell, with the job's id in place of `JOB_ID`."""
    return '"$SLURM_JOB_ID"'.join([shlex.quote(part) if part else "" for part in text.split(JOB_ID)]) or "''"


def batch_script(files: str, required: Mapping[str, str], steps: Sequence[RoleStep], *, interactive: bool) -> str:
    """Return the script that Slurm runs on the first node.

    Args:
        files: the facts directory.
        required: what must exist on the node, by path: a snapshot, or another directory or file.
        steps: one for each role, in the order of the groups.
        interactive: leave the start of the replica to a terminal, and wait for its end.
    """
    start = _WAIT_FOR_TERMINAL if interactive else _sruns(steps)
    checks = "".join(
        f"[ -e {quote(path)} ] || fail {quote(f'{what} {path} does not exist')}\n" for path, what in required.items()
    )
    # Each variable of these scripts begins with "_": one that the user has exported would get its value.
    return f"""#!/bin/bash
_files={quote(files)}
fail() {{
  printf 'topcoat: %s on %s%s\\n' "$1" "${{SLURMD_NODENAME:-$(hostname)}}" "${{2-: nothing was run}}" |
    tee -a exit/failure >&2
  exit {MISSING_EXIT_CODE}
}}
# Slurm starts a job whose working directory is missing in /tmp.
cd "$_files" 2>/dev/null || {{
  printf 'topcoat: the job directory %s does not exist: nothing was run\\n' "$_files" >&2
  exit {MISSING_EXIT_CODE}
}}
rm -rf exit && mkdir exit || exit
printf '%s %s %s\\n' "$SLURM_JOB_ID" "${{SLURM_RESTART_COUNT:-0}}" "$(date +%s)" > exit/run
trap 'echo "$?" > exit/code' EXIT
{checks}_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
_address=$(scontrol -o show node "$_node" | sed -n 's/.*[[:space:]]NodeAddr=\\([^[:space:]]*\\).*/\\1/p')
export TORCHX_RANK0_HOST=${{_address:-$_node}} TOPCOAT_RANK0_HOST=${{_address:-$_node}}
export TOPCOAT_RANK0_PORT=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))
# For commands that are run in a replica from outside.
printf 'export %s=%s\\n' TORCHX_RANK0_HOST "$TORCHX_RANK0_HOST" TOPCOAT_RANK0_HOST "$TOPCOAT_RANK0_HOST" \\
  TOPCOAT_RANK0_PORT "$TOPCOAT_RANK0_PORT" > exit/environment

{start}
forward() {{ kill "-$1" $(jobs -pr) 2>/dev/null; }}
for _signal in USR1 USR2; do trap "forward $_signal" "$_signal"; done
# srun would kill the replicas at once; so they get the signal themselves.
trap '(unset "${{!SCANCEL_@}}"; scancel -s TERM "$SLURM_JOB_ID") 2>/dev/null' TERM
# bash has it since 4.3.
case "${{BASH_VERSINFO[0]}}.${{BASH_VERSINFO[1]}}" in [123].*|4.[012]) _wait='sleep 1' ;; *) _wait='wait -n' ;; esac
_code=0 _steps=$(jobs -p)
while [ -n "$_steps" ]; do
  # Also a signal ends this wait, and several steps may have ended.
  $_wait
  _running=" $(jobs -pr | tr '\\n' ' ') " _left=
  for _step in $_steps; do
    case $_running in *" $_step "*) _left="$_left $_step"; continue ;; esac
    wait "$_step"; _result=$?
    [ "$_result" -eq 0 ] || [ "$_code" -ne 0 ] || {{ _code=$_result; forward TERM; }}
  done
  _steps=$_left
done
[ "$_code" -ne 0 ] || [ -e exit/first/replica ] || exit 0

# The first replica that failed decides: srun returns the exit code of those that were ended because of it.
_name=srun _restarts={0 if interactive else min(step.restarts for step in steps)}
[ ! -e exit/first/replica ] || {{ read -r _code _restarts; read -r _name; }} < exit/first/replica
# Slurm's own count has also the restarts after a preemption or a failure of a node.
_restarted=0
[ ! -s restarts ] || read -r _restarted < restarts
# The user's filters would hide the job.
unset "${{!SQUEUE_@}}"
if [ "$_restarted" -lt "$_restarts" ] && [ "$(squeue -h -t all -j "$SLURM_JOB_ID" -o %T | head -n 1)" = RUNNING ]; then
  echo "topcoat: $_name ended with exit code $_code: restart $((_restarted + 1)) of $_restarts" >&2
  # Slurm ends this script: a trap would wait for the end of sleep.
  trap - TERM USR1 USR2
  echo $((_restarted + 1)) > restarts && scontrol requeue "$SLURM_JOB_ID" && sleep 120
fi
exit "$_code"
"""


def _sruns(steps: Sequence[RoleStep]) -> str:
    """Return the commands that start the replicas: one step for all groups, and one for each that is alone."""
    together = [step for step in steps if not step.is_alone]
    sruns = [together] if together else []
    return "\n".join(_srun(group) for group in [*sruns, *([step] for step in steps if step.is_alone)])


def _srun(steps: Sequence[RoleStep]) -> str:
    groups = []
    for step in steps:
        group = [] if step.group is None else [f"--het-group={step.group}"]
        words = [*group, *step.srun, "/bin/sh", f"{step.files}/replica.sh", "task", step.role, step.first]
        words += [str(step.restarts), str(step.replica_restarts)]
        # Slurm 22.05 gives a container the variables of the batch script, its node among them.
        component = "" if step.group is None else f"_HET_GROUP_{step.group}"
        node = [f'"$SLURM_JOB_NODELIST{component}"'] if step.is_alone else []
        groups.append(" ".join([*map(quote, words), *node]))
    return "srun --export=ALL --kill-on-bad-exit=1 --wait=0 " + " : \\\n  ".join(groups) + " &"


def replica_script(steps: Sequence[RoleStep], commands: Sequence[ReplicaCommand]) -> str:
    """Return the script that each task of the step runs: it finds out which replica it is.

    Args:
        steps: one for each role, or for each replica.
        commands: one for each replica.
    """
    wrapped = {step.role: step for step in steps if step.wrapper}
    wrappers = "".join(
        f"  {quote(role)}) _inner={quote(step.inner_files)}; set -- {' '.join(map(quote, step.wrapper))} ;;\n"
        for role, step in wrapped.items()
    )
    # A terminal's task is in the container already.
    wrapper = f'[ "$_mode" = terminal ] || case $_role in\n{wrappers}esac\n' if wrappers else ""
    cases = "".join(_case(command) for command in commands)
    return f"""#!/bin/sh
# replica.sh task ROLE FIRST RESTARTS REPLICA_RESTARTS [NODE]: run the replica of this task.
# replica.sh terminal ROLE =NUMBER 0 0 NODE RESTARTED: run it in the terminal of this task.
# replica.sh be NAME [COMMAND...]: be the replica NAME, or run a command in its place.
_files=${{0%/*}}
if [ "$1" = be ]; then
  _name=$2
  shift 2
  [ ! -e "$_files/exit/environment" ] || . "$_files/exit/environment"
  case $_name in
{cases}  esac
  exit {MISSING_EXIT_CODE}
fi
case $3 in =*) _number=${{3#=}} ;; *) _number=$((SLURM_PROCID - $3)) ;; esac
_role=$2 _restarts=$4 _attempts=$(($5 + 1))
_name=$_role-$_number _node=${{6:-${{SLURMD_NODENAME:-$(uname -n)}}}} _inner=$_files
cd "$_files" || exit {MISSING_EXIT_CODE}
if [ "$1" = terminal ]; then
  # This step may start before the script of the job, which removes exit/ of an earlier run.
  _waited=0
  until {{ read -r _job _restarted _ < exit/run; }} 2>/dev/null && [ "$_job $_restarted" = "$SLURM_JOB_ID $7" ]; do
    [ $_waited -lt {_MAX_WAIT_FOR_SCRIPT_S} ] || {{
      echo "topcoat: the script of the job did not start in {_MAX_WAIT_FOR_SCRIPT_S} s: nothing was run" >&2
      exit {MISSING_EXIT_CODE}
    }}
    sleep 1
    _waited=$((_waited + 1))
  done
  (set -C && : > exit/terminal) 2>/dev/null || {{
    echo "topcoat: a terminal is, or was, attached to $_name: nothing was run" >&2
    exit {MISSING_EXIT_CODE}
  }}
  # The script of the job removes this directory, and ends the job if it does not appear again.
  while kill -0 $$ 2>/dev/null; do mkdir exit/alive; sleep 5; done >/dev/null 2>&1 &
else
  exec >> "logs/$_name.out" 2>> "logs/$_name.err"
fi
_mode=$1
_started=$(date +%s)
record() {{
  printf '%s %s %s %s %s\\n' "$_node" "$_started" "$1" "$2" "$_name" > "exit/.$_name" &&
    mv -f "exit/.$_name" "exit/$_name"
}}
record - -
set --
{wrapper}# A signal is for the replica, which gets it too; this script then writes its exit code.
trap : USR1 USR2
# These end the job: the replica is not started again.
trap _attempts=0 TERM INT HUP
while [ $_attempts -gt 0 ]; do
  _attempts=$((_attempts - 1))
  rm -f "exit/$_name.error"
  "$@" /bin/sh "$_inner/replica.sh" be "$_name"; _code=$?
  [ $_code -ne 0 ] || break
  # A signal that ended it may come to this script a moment later.
  [ $_attempts -le 0 ] || sleep 1
  [ $_attempts -le 0 ] || echo "topcoat: $_name ended with exit code $_code: it is restarted" >&2
done
record "$(date +%s)" $_code
[ "$_mode" != terminal ] || echo $_code > exit/terminal
if [ $_code -ne 0 ] && mkdir exit/first 2>/dev/null; then
  printf '%s %s\\n%s\\n' $_code "$_restarts" "$_name" > exit/first/replica
fi
exit $_code
"""


def _case(command: ReplicaCommand) -> str:
    # The image knows its own directory: topcoat has written it there.
    directory = quote(command.directory) if command.directory else '"${WORKSPACE_DIR:-.}"'
    missing = quote(f"topcoat: the directory {command.directory} does not exist: nothing was run")
    lines = [f"cd {directory} || {{ printf '%s\\n' {missing} >&2; exit {MISSING_EXIT_CODE}; }}"]
    odd_names = []
    for name, value in command.env.items():
        if not _SHELL_NAME.fullmatch(name) or _SET_BY_SHELL.fullmatch(name):
            # A shell cannot set such a variable, `env` can.
            odd_names.append(quote(f"{name}={value}"))
        elif name == "PYTHONPATH":
            # The code and the job's own value come before that of the user's shell.
            lines.append(f"export PYTHONPATH={quote(value)}${{PYTHONPATH:+:$PYTHONPATH}}")
        else:
            lines.append(f"export {name}={quote(value)}")
    if odd_names:
        # Found before PATH is that of the role.
        lines.insert(0, "_env=$(command -v env)")
    env = ['"$_env"', *odd_names] if odd_names else []
    lines.append(" ".join(["[ $# -gt 0 ] || set --", *map(quote, command.words)]))
    lines.append(" ".join(["exec", *env, '"$@" ;;']))
    return f"  {quote(command.name)})\n" + "".join(f"    {line}\n" for line in lines)
