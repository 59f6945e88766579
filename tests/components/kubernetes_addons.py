"""Add-ons of the cluster, run beside it: JobSet and Kueue, with their kinds and webhooks."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.components import host
from tests.components.kubernetes import Kubernetes
from tests.components.registries import certificates
from tests.components.serve import free_port, serve

# It begins a manifest's "service:", by which an API server finds a webhook inside of the cluster.
_SERVICE = re.compile(r"( *)service:\n +name: webhook-service\n +namespace: system\n +path: (\S+)\n")
_WEBHOOK_NAME = re.compile(r"name: ((?:mutating|validating)-webhook-configuration)")


class AddOn(NamedTuple):
    """A controller: its module, and its configuration with the places ``PORT``, ``HEALTH`` and ``CERTS``."""

    name: str
    version: str
    config: str


JOB_SET = AddOn(
    "jobset",
    "0.11.1",
    """apiVersion: config.jobset.x-k8s.io/v1alpha1
kind: Configuration
leaderElection: {leaderElect: false}
internalCertManagement: {enable: false}
webhook: {host: 127.0.0.1, port: PORT, certDir: CERTS}
metrics: {bindAddress: "0", certDir: CERTS}
health: {healthProbeBindAddress: "127.0.0.1:HEALTH"}
""",
)
KUEUE = AddOn(
    "kueue",
    "0.17.0",
    """apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: kueue-system
leaderElection: {leaderElect: false}
internalCertManagement: {enable: false}
webhook: {host: 127.0.0.1, port: PORT, certDir: CERTS}
metrics: {bindAddress: "0"}
health: {healthProbeBindAddress: "127.0.0.1:HEALTH"}
featureGates: {VisibilityOnDemand: false}
integrations: {frameworks: [batch/job, jobset.x-k8s.io/jobset, pod]}
""",
)


@contextlib.contextmanager
def add_on(cluster: Kubernetes, which: AddOn) -> Iterator[None]:
    """Run an add-on's controller until the block ends; its kinds and webhooks stay in the cluster."""
    program = host.engine(which.name) / which.name
    directory = cluster.directory / which.name
    certs = directory / "certs"
    certs.mkdir(parents=True)
    certificates(certs)
    for name, source in (("tls.crt", "server.crt"), ("tls.key", "server.key")):
        (certs / name).write_bytes((certs / source).read_bytes())
    port, health = free_port(), free_port()
    config = which.config.replace("PORT", str(port)).replace("HEALTH", str(health)).replace("CERTS", str(certs))
    (directory / "config.yaml").write_text(config)
    crds, webhooks = (_manifests(cluster, which, part, port, certs) for part in ("crd", "webhook"))
    cluster.ctl("apply", "--server-side", "-f", "-", stdin=crds)
    established = ("wait", "--for=condition=Established", "--timeout=5s", "-f", "-")
    cluster.until(lambda: not cluster.ctl.call(*established, stdin=crds).returncode)
    command: list[str | Path] = [program, f"--config={directory}/config.yaml", f"--kubeconfig={cluster.kubeconfig}"]
    if which is KUEUE:
        cluster.ctl("create", "namespace", "kueue-system")
        command = _with_own_etc(directory, certs, command)
    log = cluster.logs / f"kube-{which.name}.log"
    with serve(command, log=log, env=host.environment(), ready=lambda: _is_ready(health)):
        # Last: as long as nobody responds, the API server refuses the objects that a webhook is for.
        cluster.ctl("apply", "--server-side", "-f", "-", stdin=webhooks)
        yield


def _manifests(cluster: Kubernetes, which: AddOn, part: str, port: int, certs: Path) -> bytes:
    """Return manifests of the add-on's module, which reach the webhooks at a port of this machine."""
    source = _module(which)
    rendered = cluster.ctl("kustomize", source / "config" / "components" / part)
    ca = base64.b64encode((certs / "ca.crt").read_bytes()).decode()

    def address(match: re.Match[str]) -> str:
        return f"{match[1]}url: https://127.0.0.1:{port}{match[2]}\n{match[1]}caBundle: {ca}\n"

    rendered = _WEBHOOK_NAME.sub(rf"name: {which.name}-\1", _SERVICE.sub(address, rendered))
    documents = [text for text in rendered.split("---\n") if not re.search(r"^kind: Service$", text, re.MULTILINE)]
    return "---\n".join(documents).encode()


def _module(which: AddOn) -> Path:
    go = host.tool("go", f"the manifests of {which.name}")
    env = dict(host.ENVIRON) | {"GOFLAGS": "-mod=mod"}
    module = f"sigs.k8s.io/{which.name}@v{which.version}"
    downloaded = host.run_tool([go, "mod", "download", "-json", module], env=env, cwd=Path("/"))
    return Path(json.loads(downloaded)["Dir"])


def _with_own_etc(directory: Path, certs: Path, command: list[str | Path]) -> list[str | Path]:
    """Let the command see its certificates below /etc, where Kueue reads those of its metrics."""
    place = directory / "etc" / "kueue" / "metrics" / "certs"
    place.mkdir(parents=True)
    for name in ("tls.crt", "tls.key"):
        (place / name).write_bytes((certs / name).read_bytes())
    unshare = host.tool("unshare", "util-linux")
    return [unshare, "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', directory / "etc", *command]


def _is_ready(port: int) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
