"""A one-node Kubernetes: etcd, API server, controllers, scheduler, kubelet on containerd, pod network, DNS."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.components import daemons, host
from tests.components.host import ComponentError, Tool
from tests.components.images import Image
from tests.components.registries import Registry, certificates
from tests.components.serve import answers, free_port, serve

_PAUSE = "docker.io/local/pause:1"
_PAUSE_COMMAND = ["/bin/sh", "-c", 'trap "exit 0" TERM INT; sleep 2147483 & wait']
_ADMIN_TOKEN = "admin-token"
_USER_TOKEN = "user-token"
# The pod network is within what daemons.bridge makes: 10.N.128.0/24.
_BRIDGE_HOST = "128.1"
_CNI = Path("/usr/lib/cni")
_LOG_LINKS = Path("/var/log/containers")


@dataclasses.dataclass
class Kubernetes:
    """A running cluster.

    Attributes:
        kubeconfig: of a user who may do everything.
        user_kubeconfig: of the user ``dev``, who has no rights until a role binding gives some.
        ctl: kubectl for *kubeconfig*.
        directory: with the cluster's data.
    """

    directory: Path
    logs: Path
    programs: Path
    port: int
    ctl: Tool
    _api_server: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    _numbers: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def user_kubeconfig(self) -> Path:
        return self.directory / "kubeconfig-dev"

    def make_namespace(self, name: str = "test") -> str:
        """Make a namespace for one test, with the service account that its pods need, and return its name."""
        unique = f"{name}-{next(self._numbers)}"
        self.ctl("create", "namespace", unique)
        self.until(lambda: not self.ctl.call("-n", unique, "get", "sa/default", "cm/kube-root-ca.crt").returncode)
        return unique

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.ctl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(items).encode())

    def get(self, *args: str) -> Any:
        """Return what ``kubectl get ARGS -o json`` prints."""
        return json.loads(self.ctl("get", *args, "-o", "json"))

    def use_registry(self, registry: Registry) -> None:
        """Let the node pull from a registry of the tests."""
        place = self.directory / "certs.d" / registry.host
        place.mkdir(parents=True, exist_ok=True)
        ca = f'  ca = "{registry.ca_file}"\n' if registry.ca_file else ""
        (place / "hosts.toml").write_text(
            f'server = "{registry.url}"\n[host."{registry.url}"]\n  capabilities = ["pull", "resolve"]\n{ca}'
        )

    def make_pull_secret(self, namespace: str, name: str, registry: Registry) -> None:
        """Store the login of a registry for the pods of a namespace."""
        login = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        config = json.dumps({"auths": {registry.host: {"auth": login}}})
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": name, "namespace": namespace},
                "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
            }
        )

    @contextlib.contextmanager
    def api_server_down(self) -> Iterator[None]:
        """Stop the API server while the block runs."""
        self._api_server.close()
        try:
            yield
        finally:
            self.start_api_server()

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready."""
        d = self.directory
        command: list[str | Path] = [
            self.programs / "kube",
            "apiserver",
            f"--etcd-servers=http://127.0.0.1:{(d / 'etcd-port').read_text()}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            f"--tls-cert-file={d}/certs/server.crt",
            f"--tls-private-key-file={d}/certs/server.key",
            f"--token-auth-file={d}/tokens.csv",
            "--authorization-mode=RBAC,Node",
            f"--service-account-key-file={d}/certs/server.key",
            f"--service-account-signing-key-file={d}/certs/server.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged",
            "--feature-gates=GenericWorkload=true",
            "--runtime-config=scheduling.k8s.io/v1beta1=true",
        ]
        self._api_server.enter_context(
            serve(command, log=self.logs / "kube-apiserver.log", env=host.environment(), ready=self._is_ready)
        )

    def _is_ready(self) -> bool:
        return self.ctl.call("get", "--raw", "/readyz").stdout == "ok"

    def until(self, condition: Any, timeout: float = 60) -> None:
        """Wait until *condition* returns true."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ComponentError(f"the cluster did not get there within {timeout} s")
            time.sleep(0.1)


@contextlib.contextmanager
def kubernetes(
    *, containerd: Path, runc: Path, kube: Path, coredns: Path, pause: Image, directory: Path, logs: Path
) -> Iterator[Kubernetes]:
    """Run the cluster; the other arguments are directories with the programs of the engines."""
    if not (_CNI / "bridge").exists():
        host.unavailable("Kubernetes", f"no {_CNI}/bridge on this machine (scripts/setup installs it)")
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        device, network = stack.enter_context(daemons.bridge())
        address = f"{network}.{_BRIDGE_HOST}"
        port, etcd_port, etcd_peer_port = free_port(), free_port(), free_port()
        _write_files(directory, device, network, port)
        (directory / "etcd-port").write_text(str(etcd_port))
        ctl = Tool(
            kube / "kube", host.environment(HOME=str(directory)), "ctl", "--kubeconfig", directory / "kubeconfig"
        )
        cluster = Kubernetes(directory, logs, kube, port, ctl)
        stack.callback(_end_pods, directory)
        env = host.environment(containerd, runc)

        def run(name: str, command: Sequence[str | Path], ready: Any = lambda: True) -> None:
            stack.enter_context(serve(list(command), log=logs / f"kube-{name}.log", env=env, ready=ready))

        socket = directory / "containerd.sock"
        run("containerd", [containerd / "containerd", "-c", directory / "containerd.toml"], lambda: answers(socket))
        urls = f"http://127.0.0.1:{etcd_port}"
        run(
            "etcd",
            [
                kube / "kube",
                "etcd",
                f"--data-dir={directory}/etcd",
                "--unsafe-no-fsync",
                f"--listen-client-urls={urls}",
                f"--advertise-client-urls={urls}",
                f"--listen-peer-urls=http://127.0.0.1:{etcd_peer_port}",
            ],
            lambda: answers(("127.0.0.1", etcd_port)),
        )
        stack.callback(cluster._api_server.close)
        cluster.start_api_server()
        archive = directory / "pause.tar"
        archive.write_bytes(pause.archive(_PAUSE, config={"Entrypoint": _PAUSE_COMMAND, "Cmd": None}))
        host.run_tool([containerd / "ctr", "-a", socket, "-n", "k8s.io", "images", "import", archive], env=env)
        own = [f"--kubeconfig={directory}/kubeconfig"]
        ports = ["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]
        gates = ["--feature-gates=GenericWorkload=true"]
        keys = [f"--service-account-private-key-file={directory}/certs/server.key"]
        ca = [f"--root-ca-file={directory}/certs/ca.crt"]
        run("controllers", [kube / "kube", "controllers", *own, *ports, *gates, *keys, *ca])
        run("scheduler", [kube / "kube", "scheduler", *own, *ports, *gates])
        kubelet = [f"--config={directory}/kubelet.yaml", f"--root-dir={directory}/kubelet", f"--node-ip={address}"]
        run(
            "kubelet",
            [
                kube / "kube",
                "kubelet",
                *own,
                *kubelet,
                "--hostname-override=node",
                f"--cert-dir={directory}/kubelet-certs",
            ],
        )
        run("coredns", [coredns / "coredns", "-conf", directory / "Corefile"])
        cluster.until(lambda: " Ready" in ctl.call("get", "nodes").stdout)
        yield cluster


def _write_files(d: Path, device: str, network: str, port: int) -> None:
    (d / "certs").mkdir()
    certificates(d / "certs")
    (d / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n{_USER_TOKEN},dev,dev\n')
    for name, token in (("kubeconfig", _ADMIN_TOKEN), ("kubeconfig-dev", _USER_TOKEN)):
        (d / name).write_text(json.dumps(kubeconfig(port, d / "certs" / "ca.crt", token)))
    (d / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (d / "cni").mkdir()
    ipam = {
        "type": "host-local",
        "dataDir": f"{d}/ipam",
        "ranges": [[{"subnet": f"{network}.128.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "bridge", "bridge": device, "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam},
        {"type": "loopback"},
    ]
    (d / "cni" / "10-test.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "test", "plugins": plugins}))
    (d / "containerd.toml").write_text(_CONTAINERD.replace("DIRECTORY", str(d)))
    (d / "kubelet.yaml").write_text(
        _KUBELET.replace("DIRECTORY", str(d)).replace("ADDRESS", f"{network}.{_BRIDGE_HOST}")
    )
    (d / "Corefile").write_text(
        f".:53 {{\n  bind {network}.{_BRIDGE_HOST}\n  kubernetes cluster.local {{\n    kubeconfig {d}/kubeconfig t\n"
        "    ttl 0\n  }\n  errors\n}\n"
    )


def kubeconfig(port: int, ca_file: Path, token: str) -> dict[str, Any]:
    """Return a kubeconfig with one context, ``t``."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "t",
        "clusters": [
            {"name": "t", "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(ca_file)}}
        ],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "user"}}],
    }


# restrict_oom_score_adj: a container of the tests may lack CAP_SYS_RESOURCE.
_CONTAINERD = f"""version = 3
root = "DIRECTORY/containerd"
state = "DIRECTORY/containerd-run"
[grpc]
  address = "DIRECTORY/containerd.sock"
[ttrpc]
  address = "DIRECTORY/containerd.sock.ttrpc"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{_CNI}"]
    conf_dir = "DIRECTORY/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{_PAUSE}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "DIRECTORY/certs.d"
"""

# Logs are rotated early, so that a test can see it.
_KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ADDRESS
port: 10250
readOnlyPort: 0
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: "unix://DIRECTORY/containerd.sock"
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  {imagefs.available: "0%", memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%",
  imagefs.inodesFree: "0%"}
makeIPTablesUtilChains: false
serializeImagePulls: false
nodeStatusUpdateFrequency: 5s
oomScoreAdj: 0
clusterDNS: [ADDRESS]
clusterDomain: cluster.local
resolvConf: DIRECTORY/resolv.conf
podLogsDir: DIRECTORY/pods
containerLogMaxSize: 200Ki
containerLogMaxFiles: 3
containerLogMonitorInterval: 3s
"""


def _end_pods(directory: Path) -> None:
    """Remove what outlives containerd and the kubelet: containers, mounts, network namespaces, links to logs."""
    host.end_processes(directory)
    host.remove_scratch(directory)
    for link in _LOG_LINKS.glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()
