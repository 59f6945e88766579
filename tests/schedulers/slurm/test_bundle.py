from __future__ import annotations

import json

import pytest

from topcoat.errors import InvalidApp
from topcoat.schedulers.slurm.bundle import job_config, parse_bundle

CONFIG = {
    "process": {"cwd": "/", "env": ["PATH=/bin", "A=b=c"], "terminal": True, "args": ["sh"]},
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]},
}


def test_the_snapshot_is_mounted_over_the_base_which_is_read_only() -> None:
    base = parse_bundle("/b", json.dumps(CONFIG).encode(), ("dev", "etc", "proc", "tmp", "usr"), {"bin": "usr/bin"})
    made = json.loads(job_config(base, [("/code", "/workspace", False)], "/workspace"))
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert (mounts["/usr"]["source"], mounts["/usr"]["options"]) == ("/b/rootfs/usr", ["rbind", "ro"])
    assert (mounts["/workspace"]["source"], mounts["/workspace"]["options"]) == ("/code", ["rbind", "rw"])
    assert mounts["/proc"]["type"] == "proc"
    assert [mount["type"] for mount in made["mounts"] if mount["destination"] == "/tmp"] == ["bind", "tmpfs"]
    assert made["process"]["cwd"] == "/workspace"
    assert made["linux"]["namespaces"] == [{"type": "pid"}]
    assert made["root"] == {"path": "rootfs", "readonly": False}


def test_directory_and_variables_come_from_the_bundle() -> None:
    base = parse_bundle("/b", json.dumps(CONFIG).encode(), (), {})
    assert (base.workdir, base.env, base.root) == ("/workspace", {"PATH": "/bin", "A": "b=c"}, "/b/rootfs")
    process = {**CONFIG["process"], "cwd": "/app"}  # type: ignore[dict-item]
    changed = {**CONFIG, "process": process, "root": {"path": "/elsewhere"}}
    base = parse_bundle("/b", json.dumps(changed).encode(), (), {})
    assert (base.workdir, base.root) == ("/app", "/elsewhere")


@pytest.mark.parametrize("config", [b"", b"[]", b"{}", b'{"process": 1}', b"[" * 200, b"\xff"])
def test_a_damaged_bundle_is_refused(config: bytes) -> None:
    with pytest.raises(InvalidApp, match="invalid bundle /b"):
        parse_bundle("/b", config, (), {})
