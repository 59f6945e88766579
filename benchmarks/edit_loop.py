"""From an edited file to an image in a registry: topcoat beside its peers, in one run.

`python -m benchmarks.edit_loop [--edits N] [--files N] [--megabytes N] [--only NAME ...] [--json FILE]`

Each peer lays the same workspace over the same base and pushes it to the same registry on loopback: first from nothing
(cold), then after one line was changed (edit), then with nothing changed. Every figure is a whole process or chain of
processes, as a user would wait for it; edit and no-op are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.components import host
from tests.components.images import Image, Pushed
from tests.components.rootfs import python_layers

from benchmarks.rig import Rig, rig, seconds, torchx_python
from benchmarks.workloads import edit_line, make_workspace

_TORCHX = """
import sys
from torchx.specs import AppDef, Role
from torchx.workspace.docker_workspace import DockerWorkspaceMixin
workspace, image, repo = sys.argv[1:]
mixin, role = DockerWorkspaceMixin(), Role("r", image)
cfg = {"image_repo": repo, "quiet": True}
mixin.build_workspace_and_update_role(role, workspace, cfg)
mixin.push_images(mixin.dryrun_push_images(AppDef("a", [role]), cfg))
"""


# Prints, in milliseconds since the process was started, when each step of a build began, and when the last one ended.
_STEPS = """
import sys, time
start = float(sys.argv[1])
steps = [("interpreter", 0.0)]
def step(name): steps.append((name, (time.time() - start) * 1000))
step("imports")
import gc
import socket
import topcoat.pipeline as pipeline
import topcoat.destinations.push as push
import topcoat.destinations.registry as registry
from topcoat.images.options import image_options
from topcoat.specs.projects import Projects
# As the command line does.
gc.set_threshold(1_000_000)
def mark(module, name, label):
    function = getattr(module, name)
    def marked(*args, **kwargs):
        step(label)
        return function(*args, **kwargs)
    setattr(module, name, marked)
mark(pipeline, "scan", "scan")
mark(pipeline, "plan_patch", "snapshot and tag")
mark(registry.RegistryDestination, "begin", "first round trip")
mark(registry, "_plan", "cut and plan")
mark(push.Push, "run", "pack, upload, manifest")
workspace, base, repository = sys.argv[2:]
pipeline.build_image(Projects({workspace: ""}), base, image_options({"image_repo": repository}))
step("end")
for (name, at), (_, until) in zip(steps, steps[1:]):
    print(f"{name:24}{until - at:7.0f} ms")
"""


class Figures(NamedTuple):
    """Seconds."""

    cold: float
    edit: float
    noop: float


class Peer(NamedTuple):
    """A way to get the workspace into the registry."""

    name: str
    push: Callable[[Path], object]


def peers(running: Rig, base: Pushed) -> list[Peer]:
    """Return topcoat and the tools it is measured against."""
    registry, scratch = running.registry, running.scratch
    cache = _as_installed(scratch)
    subprocess.run([sys.executable, "-m", "topcoat", "build", "--help"], env=cache, capture_output=True, check=True)
    dockerfile = scratch / "Dockerfile"
    dockerfile.write_text(f"FROM {base.reference}\nCOPY . .\n")
    layer = scratch / "layer.tar"
    crane = host.engine("crane") / "crane"
    with_torchx = str(torchx_python())

    def repository(name: str) -> str:
        return f"{registry.host}/{name}"

    def topcoat(workspace: Path) -> None:
        build = [sys.executable, "-m", "topcoat", "build", "--image", base.reference]
        _run([*build, "--image-repo", repository("topcoat"), "--workspace", str(workspace)], env=cache)

    def torchx(workspace: Path) -> None:
        script = [with_torchx, "-W", "ignore", "-c", _TORCHX]
        env = {**os.environ, **running.docker20.env}
        _run([*script, f"file://{workspace}", base.reference, repository("torchx")], env=env)

    def classic(workspace: Path) -> None:
        name = f"{repository('classic')}:t"
        env = {**os.environ, **running.docker20.env, "DOCKER_BUILDKIT": "0"}
        cli = str(running.docker20.cli.command[0])
        _run([cli, "build", "-q", "-t", name, "-f", str(dockerfile), str(workspace)], env=env)
        _run([cli, "push", "-q", name], env=env)

    def buildx(workspace: Path) -> None:
        env = {**os.environ, **running.docker_today.env}
        cli = [str(running.docker_today.cli.command[0]), "buildx", "build", "-q", "--push", "--provenance=false"]
        _run([*cli, "-t", f"{repository('buildx')}:t", "-f", str(dockerfile), str(workspace)], env=env)

    def crane_append(workspace: Path) -> None:
        _run(["tar", "-cf", str(layer), "-C", str(workspace), "--transform", "s,^\\.,app,", "."])
        _run([str(crane), "append", "--insecure", "-b", base.reference, "-f", str(layer), "-t", repository("crane:t")])

    return [
        Peer("topcoat", topcoat),
        Peer("torchx 0.7", torchx),
        Peer("docker build + push", classic),
        Peer("buildx --push", buildx),
        Peer("tar + crane append", crane_append),
    ]


def measure(peer: Peer, workspace: Path, source: Path, edits: int) -> Figures:
    """Time one peer: cold once, edit and no-op several times."""
    cold = seconds(lambda: peer.push(workspace))
    edit, noop = [], []
    for number in range(edits):
        edit_line(source, number)
        edit.append(seconds(lambda: peer.push(workspace)))
        noop.append(seconds(lambda: peer.push(workspace)))
    return Figures(cold, statistics.median(edit), statistics.median(noop))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, Figures] = {}
    with rig() as running:
        workspace = running.scratch / "W"
        source = make_workspace(workspace, files=args.files, megabytes=args.megabytes)
        base = Image("python", python_layers(), {"WorkingDir": "/app"}).push(running.registry, "base", "1")
        for docker in (running.docker20, running.docker_today):
            docker.run("pull", "-q", base.reference)
        for peer in peers(running, base):
            if not args.only or peer.name.split()[0] in args.only:
                results[peer.name] = measure(peer, workspace, source, args.edits if peer.name == "topcoat" else 2)
                print(f"{peer.name}: {results[peer.name]}", file=sys.stderr)
        steps = _where_the_time_goes(running, workspace, source, base) if "topcoat" in results else ""
    _print(results)
    if steps:
        print(f"\nan edit of topcoat, with its steps told apart:\n{steps}", end="")
    if args.json:
        args.json.write_text(json.dumps({name: figures._asdict() for name, figures in results.items()}, indent=2))


def _where_the_time_goes(running: Rig, workspace: Path, source: Path, base: Pushed) -> str:
    env = _as_installed(running.scratch)
    words = [str(workspace), base.reference, f"{running.registry.host}/topcoat"]
    steps = ""
    for number in range(3):
        edit_line(source, number)
        command = [sys.executable, "-c", _STEPS, str(time.time()), *words]
        steps = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return steps


def _as_installed(scratch: Path) -> dict[str, str]:
    """Return an environment with caches of its own, in which modules are compiled, as pip leaves them."""
    env = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache"), "XDG_CONFIG_HOME": str(scratch / "config")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def _print(results: dict[str, Figures]) -> None:
    ours = results.get("topcoat")
    print(f"{'':22}{'cold':>18}{'edit':>18}{'no-op':>18}   seconds (times topcoat's)")
    for name, figures in results.items():
        cells = [
            f"{value:.2f}" + (f" ({value / own:.1f}x)" if ours else "")
            for value, own in zip(figures, ours or figures, strict=True)
        ]
        print(f"{name:22}" + "".join(f"{cell:>18}" for cell in cells))


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])}... failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
