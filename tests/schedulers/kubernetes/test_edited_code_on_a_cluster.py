"""Jobs of a real cluster run the edited code, from the command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.images import Image, Pushed
from tests.components.registries import Registry
from tests.schedulers.kubernetes.conftest import Jobs, wait

COMPONENT = """
from topcoat.specs import AppDef, Resource, Role, Workspace

def pair(image: str) -> AppDef:
    roles = [
        Role(name, image, entrypoint="python3", args=["main.py"], num_replicas=2, workspace=Workspace({".": ""}),
             resource=Resource(cpu=-1, gpu=0, memMB=64))
        for name in ("server", "client")
    ]
    return AppDef("pair", roles)
"""
# Replica 0 of the first role serves; the three others reach it by its name, over TCP.
MAIN = """
import os, socket, sys, time
host, own = os.environ["TOPCOAT_RANK0_HOST"], os.environ["TOPCOAT_ROLE"] + "/" + os.environ["TOPCOAT_REPLICA_ID"]
if own == "server/0":
    with socket.create_server(("", 7000)) as server:
        names = []
        while len(names) < 3:
            connection, _ = server.accept()
            with connection:
                names.append(connection.recv(100).decode())
    print("TEXT", *sorted(names))
else:
    while True:
        try:
            with socket.create_connection((host, 7000)) as connection:
                connection.sendall(own.encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    print("TEXT", own, host.split(".")[0].rpartition("-")[2])
"""


def call(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "topcoat", *args]
    done = subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def topcoat(*args: str, cwd: Path) -> str:
    """Run the command line in a process of its own and return its output."""
    return call(*args, cwd=cwd).stdout


def run(jobs: Jobs, workspace: Path, base: Pushed, text: str, repository: str, **cfg: str) -> list[str]:
    (workspace / "component.py").write_text(COMPONENT)
    (workspace / "main.py").write_text(MAIN.replace("TEXT", text))
    options = {"namespace": jobs.namespace, "image_repo": repository, "reserved_memmb": "0", **cfg}
    option = ",".join(f"{name}={value}" for name, value in options.items())
    command = ["run", "-s", "kubernetes", "-cfg", option, "--wait", "--log"]
    lines = call(*command, "component.py:pair", "--image", base.reference, cwd=workspace).stderr.splitlines()
    return sorted(" ".join(line.split()) for line in lines if text in line and not line.startswith("topcoat: "))


def expected(text: str) -> list[str]:
    others = ["client/0", "client/1", "server/1"]
    replies = [f"{name} {text} {name} 0" for name in others]
    return sorted([f"server/0 {text} client/0 client/1 server/1", *replies])


def test_four_pods_of_two_roles_run_the_edited_code(
    on_cluster: Jobs, registry: Registry, python_base: Pushed, workspace: Path
) -> None:
    repository = f"{registry.host}/{registry.unique('code')}"
    assert run(on_cluster, workspace, python_base, "first", repository) == expected("first")
    assert run(on_cluster, workspace, python_base, "edited", repository) == expected("edited")


def test_an_image_of_a_registry_with_a_login_needs_a_pull_secret(
    on_cluster: Jobs,
    tls_registry: Registry,
    python_image: Image,
    workspace: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = python_image.push(tls_registry, tls_registry.unique("base"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_registry.ca_file))
    on_cluster.cluster.make_pull_secret(on_cluster.namespace, "login", tls_registry)
    secret = on_cluster.get("secret", "login")["data"][".dockerconfigjson"]
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_bytes(base64.b64decode(secret))
    repository = f"{tls_registry.host}/{tls_registry.unique('code')}"
    lines = run(on_cluster, workspace, base, "edited", repository, image_pull_secrets="login")
    assert lines == expected("edited")


def test_another_shell_finds_follows_and_cancels_a_job(on_cluster: Jobs, workspace: Path) -> None:
    handle = on_cluster.submit(on_cluster.role("trap 'echo stopped; exit 1' TERM; echo begun; sleep 600 & wait"))
    assert topcoat("log", f"{handle}/trainer/0", "--regex", "begun", cwd=workspace) in ("", "begun\n")
    wait(lambda: topcoat("log", handle, cwd=workspace) == "begun\n")
    assert handle in topcoat("list", "-s", "kubernetes", cwd=workspace)
    follower = subprocess.Popen(
        [sys.executable, "-m", "topcoat", "log", "-f", handle], cwd=workspace, stdout=subprocess.PIPE, text=True
    )
    described = json.loads(topcoat("describe", "--json", handle, cwd=workspace))
    assert described["roles"][0]["name"] == "trainer"
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    topcoat("cancel", handle, cwd=workspace)
    # A follower that runs gets the last lines, which go with the pod.
    assert follower.communicate(timeout=60)[0] == "stopped\n"
    assert json.loads(topcoat("status", "--json", handle, cwd=workspace))["state"] == "CANCELLED"
    topcoat("delete", handle, cwd=workspace)
    wait(lambda: on_cluster.get("jobs,services,pods,podgroups")["items"] == [])
