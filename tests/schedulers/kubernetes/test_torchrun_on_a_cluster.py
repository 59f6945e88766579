"""A real torchrun between pods of a real cluster."""

from __future__ import annotations

from pathlib import Path

from tests.components import host
from tests.components.images import Pushed
from tests.components.registries import Registry
from tests.schedulers.kubernetes.conftest import Jobs
from tests.schedulers.kubernetes.test_edited_code_on_a_cluster import call

MAIN = """
import torch
import torch.distributed as distributed

distributed.init_process_group("gloo")
value = torch.tensor([distributed.get_rank() + 10])
distributed.all_reduce(value)
print("sum", value.item(), "of", distributed.get_world_size(), flush=True)
"""


def test_torchrun_reduces_over_two_pods_from_an_edited_script(
    on_cluster: Jobs, registry: Registry, python_base: Pushed, workspace: Path
) -> None:
    host.tool("torchrun", "python3-torch")
    (workspace / "main.py").write_text(MAIN)
    # The pods see this machine's /usr, with Debian's PyTorch: an image with PyTorch has more than a gigabyte.
    mounts = [f"type=bind,src={place},dst={place},readonly" for place in ("/usr", "/etc/alternatives")]
    cfg = f"namespace={on_cluster.namespace},image_repo={registry.host}/torch,reserved_memmb=512,reserved_millicpu=900"
    command = ["run", "-s", "kubernetes", "-cfg", cfg, "--wait", "--log", "dist.ddp", "-j", "2x1", "--cpu", "1"]
    # Debian's PyTorch 1.13 with Python 3.11 knows 1 and 2 alone as streams.
    streams = ["--tee", "1", "--env", "PET_REDIRECTS=1"]
    done = call(
        *command,
        *("--memMB", "1024", "--image", python_base.reference, *streams),
        *("--mounts", ",".join(mounts), "--script", "main.py"),
        cwd=workspace,
    )
    sums = [line.split("sum", 1)[1].split() for line in done.stderr.splitlines() if "sum" in line]
    assert sums == [["21", "of", "2"]] * 2
