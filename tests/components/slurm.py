"""A Slurm cluster of four nodes with accounting, all of it children of the test run on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.components.host import ComponentError, call_tool, environment, run_tool, tool
from tests.components.serve import answers, free_port, serve

NODES = ("n1", "n2", "n3", "n4")
_CONF = """
ClusterName=topcoat
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={d}/munge.sock,cred_expire=5
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool-%n
SlurmctldPidFile={d}/controller.pid
SlurmdPidFile={d}/%n.pid
SlurmdLogFile={logs}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
KillWait=2
MinJobAge=2
DefMemPerCPU=100
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={d}/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=5
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
PartitionName=short Nodes=ALL MaxTime=1 State=UP
PartitionName=pairs Nodes=ALL MaxTime=INFINITE MaxNodes=2 State=UP
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=2000 Gres=gpu:2 Feature=local"
)
_DATABASE_CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
SlurmUser=root
AuthInfo=socket={d}/munge.sock
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=pw
StorageLoc=slurm
LogFile={logs}/slurmdbd.log
PidFile={d}/slurmdbd.pid
"""
_ACCOUNTS = (
    "add account lab,other",
    "add qos gpu1 set MaxTRESPerJob=gres/gpu=1",
    "add qos strict set MaxTRESPerJob=gres/gpu=1 Flags=DenyOnLimit",
    "add user root account=lab,other defaultaccount=lab qos=normal,gpu1,strict defaultqos=normal",
)


class Slurm:
    """A running cluster: partitions main, low (preempted), high, short (a minute), pairs (2 nodes); two QOS."""

    def __init__(self, directory: Path, logs: Path, env: Mapping[str, str]) -> None:
        self.directory, self.env = directory, env
        self._logs = logs
        self._parts: dict[str, contextlib.ExitStack] = {}

    def run(self, program: str, *args: str | Path, timeout: float = 60) -> str:
        """Run one of Slurm's commands and return its stdout; raise ComponentError with its stderr."""
        return run_tool([program, *args], env=self.env, timeout=timeout)

    def call(self, program: str, *args: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands without raising on a failure."""
        return call_tool([program, *args], env=self.env, timeout=timeout)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this cluster the one of Slurm's commands for the rest of a test."""
        monkeypatch.setenv("SLURM_CONF", self.env["SLURM_CONF"])

    def poke(self) -> None:
        """Submit and cancel a job: heterogeneous jobs start only when something has changed."""
        job = self.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
        self.run("scancel", job)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 60, *, poke: bool = False) -> None:
        """Wait until *condition* holds; with *poke*, keep heterogeneous jobs moving."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ComponentError(f"{what}: not within {timeout} s\n{self.run('squeue', '-t', 'all')}")
            if poke:
                self.poke()
            time.sleep(0.3)

    def fail_node(self, name: str) -> None:
        """Let a node die: its slurmd and the steps on it, with what they run."""
        log = str(self._logs / f"slurmd-{name}.log")
        steps = [process for process in _processes() if _comm(process) == "slurmstepd" and log in _open_files(process)]
        parents = {process: _parent(process) for process in _processes()}
        victims = list(steps)
        for process in victims:
            victims += [child for child, parent in parents.items() if parent == int(process.name)]
        for process in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        self.stop(name)
        self.run("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def stop(self, part: str) -> None:
        """Stop a node or the ``controller``."""
        self._parts.pop(part).close()

    def start(self, part: str) -> None:
        """Start a node or the ``controller``, and wait until it answers."""
        stack = contextlib.ExitStack()
        if part == "controller":
            command = [tool("slurmctld", "slurm"), "-i", "-D"]
            ready = lambda: "UP" in self.call("scontrol", "ping").stdout  # noqa: E731
        else:
            command = [tool("slurmd", "slurm"), "-D", "-N", part]
            ready = lambda: True  # noqa: E731
        log = self._logs / f"slurm-{part}.log"
        stack.enter_context(serve([*command], log=log, env=self.env, ready=ready))
        self._parts[part] = stack
        if part in NODES:
            usable = ("idle", "mixed", "allocated", "completing")
            state = lambda: self.run("sinfo", "-h", "-n", part, "-p", "main", "-o", "%T")  # noqa: E731
            self.wait_until(lambda: state() in usable, f"the node {part}")

    def _processes(self) -> list[Path]:
        """Return the processes of this cluster, and those of its jobs."""
        mark = f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        return [process for process in _processes() if mark in _environ(process)]

    @contextlib.contextmanager
    def hanging_controller(self) -> Iterator[None]:
        """Stop the controller's process in the middle, and let it go on afterwards."""
        (controller,) = [process for process in self._processes() if _comm(process) == "slurmctld"]
        os.kill(int(controller.name), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(int(controller.name), signal.SIGCONT)

    def end(self) -> None:
        """End the jobs, the nodes and the controller, and whatever jobs have left."""
        self.call("scancel", "--user=root", "--full")
        for part in (*NODES, "controller"):
            if part in self._parts:
                self.stop(part)
        for process in self._processes():
            is_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in _environ(process))
            if is_job or _comm(process) == "slurmstepd":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)


@contextlib.contextmanager
def slurm(directory: Path, logs: Path) -> Iterator[Slurm]:
    """Run a cluster with its data in *directory*, which has a short path: sockets lie in it."""
    for program in ("slurmctld", "slurmd", "sbatch", "slurmdbd", "munged", "mariadbd"):
        tool(program, "slurm")
    for name in ("state", "database", *(f"spool-{node}" for node in NODES)):
        (directory / name).mkdir(parents=True)
    ports = {"controller": free_port(), "accounting": free_port()}
    _write_configuration(directory, logs, ports)
    _write_container_runtime(directory, tool("runc", "runc"))
    env = environment(SLURM_CONF=str(directory / "slurm.conf"), MYSQL_UNIX_PORT=str(directory / "sql.sock"))
    cluster = Slurm(directory, logs, env)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_munge(directory, logs, env))
        stack.enter_context(_database(directory, logs, env))
        accounting = ("127.0.0.1", ports["accounting"])
        daemon = [tool("slurmdbd", "slurm"), "-D"]
        log = logs / "slurmdbd.out"
        stack.enter_context(serve([*daemon], log=log, env=env, ready=lambda: answers(accounting)))
        cluster.run("sacctmgr", "-i", "add", "cluster", "topcoat")
        stack.callback(cluster.end)
        cluster.start("controller")
        for node in NODES:
            cluster.start(node)
        gpu = lambda: "gres|gpu" in cluster.run("sacctmgr", "-nP", "show", "tres", "format=type,name")  # noqa: E731
        cluster.wait_until(gpu, "the accounting of GPUs")
        for command in _ACCOUNTS:
            cluster.run("sacctmgr", "-i", *command.split())
        yield cluster


def _write_configuration(directory: Path, logs: Path, ports: Mapping[str, int]) -> None:
    values = {"d": directory, "logs": logs, "host": socket.gethostname().split(".")[0], **ports}
    nodes = "\n".join(_NODE.format(name=node, port=free_port(), **values) for node in NODES)
    (directory / "slurm.conf").write_text(_CONF.format(nodes=nodes, **values))
    (directory / "cgroup.conf").write_text("")
    for number in (0, 1):
        # What a GPU's device file is for Slurm: any device.
        os.mknod(directory / f"gpu{number}", 0o20666, os.makedev(1, 3))
    (directory / "gres.conf").write_text(f"Name=gpu File={directory}/gpu[0-1]\n")
    secret = directory / "slurmdbd.conf"
    secret.touch(0o600)
    secret.write_text(_DATABASE_CONF.format(**values))


def _write_container_runtime(directory: Path, runc: Path) -> None:
    """Let ``--container`` run bundles with runc."""
    runtime, name = f"{runc} --root={directory}/runc", "%n.%u.%j.%s.%t"
    (directory / "oci.conf").write_text(
        f'RunTimeQuery="{runtime} state {name}"\n'
        f'RunTimeKill="{runtime} kill {name} KILL"\n'
        f'RunTimeDelete="{runtime} delete --force {name}"\n'
        f'RunTimeRun="{runtime} run {name} -b %b"\n'
    )


def _munge(directory: Path, logs: Path, env: Mapping[str, str]) -> contextlib.AbstractContextManager[object]:
    key, munge_socket = directory / "munge.key", directory / "munge.sock"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    command: list[str | Path] = [
        tool("munged", "munge"),
        "--foreground",
        "--force",
        f"--key-file={key}",
        f"--socket={munge_socket}",
    ]
    command += [f"--pid-file={directory}/munge.pid", f"--seed-file={directory}/munge.seed", "--num-threads=4"]
    return serve(command, log=logs / "munged.log", env=env, ready=lambda: answers(munge_socket))


@contextlib.contextmanager
def _database(directory: Path, logs: Path, env: Mapping[str, str]) -> Iterator[None]:
    data, sql_socket = directory / "database", directory / "sql.sock"
    common = ["--no-defaults", "--user=root", f"--datadir={data}", "--innodb-log-file-size=8M"]
    install = [tool("mariadb-install-db", "mariadb"), *common]
    run_tool([*install, "--auth-root-authentication-method=normal", "--skip-test-db"], env=env)
    command = [tool("mariadbd", "mariadb"), *common, f"--socket={sql_socket}", "--skip-networking"]
    command += [f"--pid-file={directory}/sql.pid", "--innodb-buffer-pool-size=64M"]
    command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"]
    with serve(command, log=logs / "mariadbd.log", env=env, ready=lambda: answers(sql_socket)):
        statements = (
            "create database slurm; create user slurm@localhost identified by 'pw'; "
            "grant all on slurm.* to slurm@localhost"
        )
        client: list[str | Path] = [tool("mariadb", "mariadb"), "--no-defaults", "-uroot", f"--socket={sql_socket}"]
        run_tool([*client, "-e", statements], env=env)
        yield


def _processes() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def _comm(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "comm").read_text().strip()
    return ""


def _environ(process: Path) -> list[bytes]:
    with contextlib.suppress(OSError):
        return (process / "environ").read_bytes().split(b"\0")
    return []


def _parent(process: Path) -> int:
    with contextlib.suppress(OSError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _open_files(process: Path) -> set[str]:
    files = set()
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                files.add(os.readlink(descriptor))
    return files
