"""From the save to the first line of the job's log, on a real Kubernetes.

`python -m benchmarks.submit [--edits N] [--files N] [--megabytes N] [--skip-torchx]`

Each way starts with one edited line and ends when the first line of the log has arrived:

- topcoat: `topcoat run -s kubernetes --log`;
- a bare pod: a pod with the image that topcoat has already pushed for such an edit, created by kubectl; its log is
  asked for every 50 ms. This is what the cluster itself needs;
- TorchX: its build and push through Docker, then the same Job, created by kubectl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.components import host
from tests.components.images import Image, Pushed
from tests.components.kubernetes import Kubernetes, kubernetes
from tests.components.rootfs import busybox_layers, python_layers

from benchmarks.edit_loop import peers
from benchmarks.rig import Rig, rig
from benchmarks.workloads import edit_line, make_workspace

_POLL_S = 0.05
_TIMEOUT_S = 300
_COMMAND = ["python3", "-c", "print('first line', flush=True)"]


class Bench:
    """The cluster, the workspace and the base image."""

    def __init__(self, running: Rig, cluster: Kubernetes, workspace: Path, source: Path, base: Pushed) -> None:
        self.running = running
        self.cluster = cluster
        self.workspace = workspace
        self.source = source
        self.base = base
        self.env = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "XDG_CACHE_HOME": str(running.scratch / "cache"),
            "XDG_STATE_HOME": str(running.scratch / "state"),
        }
        self._numbers = iter(range(10_000))

    def edit(self) -> None:
        edit_line(self.source, next(self._numbers))

    def topcoat(self) -> float:
        """Return the seconds that `topcoat run --log` takes to the first line."""
        cfg = f"image_repo={self.running.registry.host}/topcoat,reserved_memmb=0"
        command = [sys.executable, "-m", "topcoat", "run", "-s", "kubernetes", "-cfg", cfg, "--wait", "--log"]
        command += ["--image", self.base.reference, "--memMB", "64", "--", *_COMMAND]
        self.edit()
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=self.workspace, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            output = []
            for line in process.stdout:
                output.append(line)
                if line.endswith("first line\n"):
                    taken = time.perf_counter() - started
                    process.communicate()
                    return taken
        raise SystemExit("".join(output))

    def own_cpu_seconds(self) -> float:
        """Return the CPU time of `topcoat run --detach`, which depends less on what else the machine does."""
        cfg = f"image_repo={self.running.registry.host}/topcoat,reserved_memmb=0"
        command = [sys.executable, "-m", "topcoat", "run", "-s", "kubernetes", "-cfg", cfg, "--detach"]
        command += ["--image", self.base.reference, "--memMB", "64", "--", *_COMMAND]
        self.edit()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=self.workspace, env=self.env, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def build(self) -> str:
        """Push an image with one more edit, and return its name."""
        self.edit()
        command = [sys.executable, "-m", "topcoat", "build", "--image", self.base.reference]
        command += ["--image-repo", f"{self.running.registry.host}/topcoat"]
        return subprocess.check_output(command, cwd=self.workspace, env=self.env, text=True).strip()

    def bare_pod(self) -> float:
        """Return the seconds from the creation of a pod to its first line."""
        image = self.build()
        name = f"bare-{next(self._numbers)}"
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": _pod_spec(image)}
        started = time.perf_counter()
        self.cluster.ctl("create", "-f", "-", stdin=json.dumps(manifest).encode())
        self._wait_for_line(f"pods/{name}")
        return time.perf_counter() - started

    def torchx(self) -> float:
        """Return the seconds that TorchX's build and push, and a Job, take to the first line."""
        push = next(peer for peer in peers(self.running, self.base) if peer.name.startswith("torchx")).push
        self.edit()
        before = set(self._torchx_tags())
        started = time.perf_counter()
        push(self.workspace)
        registry = self.running.registry
        # An image of an edit has a tag of its own.
        (tag,) = set(self._torchx_tags()) - before
        name = f"torchx-{next(self._numbers)}"
        template = {"spec": _pod_spec(f"{registry.host}/torchx:{tag}")}
        spec = {"completions": 1, "parallelism": 1, "completionMode": "Indexed", "template": template}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        self.cluster.ctl("create", "-f", "-", stdin=json.dumps(manifest).encode())
        self._wait_for_line(f"job/{name}")
        return time.perf_counter() - started

    def _torchx_tags(self) -> list[str]:
        return self.running.registry.request("GET", "/v2/torchx/tags/list").json().get("tags") or []

    def _wait_for_line(self, target: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while "first line" not in self.cluster.ctl.call("logs", target).stdout:
            if time.monotonic() > deadline:
                raise SystemExit(f"{target} has printed nothing")
            time.sleep(_POLL_S)


def _pod_spec(image: str) -> dict[str, Any]:
    return {"restartPolicy": "Never", "containers": [{"name": "main", "image": image, "command": _COMMAND}]}


@contextlib.contextmanager
def _bench(files: int, megabytes: int) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(rig())
        logs = running.scratch / "logs"
        busybox = Image("busybox", busybox_layers(), {"Env": ["PATH=/bin"]})
        engines = {name: host.engine(name) for name in ("containerd", "runc", "coredns")}
        cluster = stack.enter_context(
            kubernetes(
                kube=host.engine("kubernetes"), pause=busybox, directory=running.scratch / "k8s", logs=logs, **engines
            )
        )
        cluster.use_registry(running.registry)
        cluster.until(lambda: not cluster.ctl.call("get", "sa/default").returncode)
        workspace = running.scratch / "W"
        source = make_workspace(workspace, files=files, megabytes=megabytes)
        base = Image("python", python_layers(), {"WorkingDir": "/app"}).push(running.registry, "base", "1")
        running.docker20.run("pull", "-q", base.reference)
        yield Bench(running, cluster, workspace, source, base)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=7)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--skip-torchx", action="store_true")
    args = parser.parse_args()
    with _bench(args.files, args.megabytes) as bench:
        # The node has the base and the code layers then, as it has in a day's work.
        bench.topcoat()
        times: dict[str, list[float]] = {"topcoat": [], "bare pod": []}
        for _ in range(args.edits):
            # In turn, so that both meet the same machine.
            times["topcoat"].append(bench.topcoat())
            times["bare pod"].append(bench.bare_pod())
        cpu = statistics.median(bench.own_cpu_seconds() for _ in range(args.edits))
        if not args.skip_torchx:
            times["TorchX"] = [bench.torchx() for _ in range(2)]
    ours = statistics.median(times["topcoat"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:10} {median:6.2f} s  {median / ours:5.1f}x  {' '.join(f'{value:.2f}' for value in seconds)}")
    differences = [ours - bare for ours, bare in zip(times["topcoat"], times["bare pod"], strict=True)]
    print(f"topcoat takes {statistics.median(differences):.2f} s more than a bare pod; its own CPU time: {cpu:.2f} s")


if __name__ == "__main__":
    main()
