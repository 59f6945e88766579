"""The session fixtures: each starts its component for the first test that asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.components import daemons, host, peers
from tests.components.aws import Aws, moto
from tests.components.daemons import Containerd, Docker
from tests.components.host import Tool
from tests.components.images import Image
from tests.components.kubernetes import Kubernetes
from tests.components.kubernetes import kubernetes as kubernetes_cluster
from tests.components.kubernetes_addons import JOB_SET, KUEUE, add_on
from tests.components.peers import TorchX
from tests.components.podman import Podman, containers_environment
from tests.components.podman import podman as podman_service
from tests.components.recorder import Recorder
from tests.components.registries import Registry, plain_registry, secure_registry
from tests.components.rootfs import busybox_layers, python_layers
from tests.components.slurm import Slurm
from tests.components.slurm import slurm as slurm_cluster
from tests.components.ssh import LoginNode, login_node
from tests.scan.oracle.client import Oracle, build

_T = TypeVar("_T")
_DEBIAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """The directory for the components' data, in memory where there is room."""
    directory = host.make_scratch()
    yield directory
    host.remove_scratch(directory)


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with one log file per server; kept after the run."""
    return tmp_path_factory.mktemp("components", numbered=False)


@pytest.fixture(scope="session")
def registry_addresses() -> Iterator[dict[str, Recorder]]:
    """The addresses of the plain registries, taken before they start, so that clients can be configured."""
    recorders = {name: Recorder() for name in ("registry", "registry3")}
    yield recorders
    for recorder in recorders.values():
        recorder.close()


@pytest.fixture(scope="session")
def registry(registry_addresses: dict[str, Recorder], scratch: Path, logs: Path) -> Iterator[Registry]:
    """Debian's docker-registry (2.8), plain HTTP."""
    program = host.tool("docker-registry", "docker-registry")
    recorder = registry_addresses["registry"]
    with _started("docker-registry", plain_registry(program, "registry", recorder, scratch, logs)) as running:
        yield running


@pytest.fixture(scope="session")
def registry3(registry_addresses: dict[str, Recorder], scratch: Path, logs: Path) -> Iterator[Registry]:
    """Distribution 3, plain HTTP."""
    program = host.engine("registry") / "registry"
    recorder = registry_addresses["registry3"]
    with _started("registry 3", plain_registry(program, "registry3", recorder, scratch, logs)) as running:
        yield running


@pytest.fixture(scope="session", params=["registry", "registry3"])
def any_registry(request: pytest.FixtureRequest) -> Registry:
    """Each of the plain registries in turn."""
    registry: Registry = request.getfixturevalue(request.param)
    return registry


@pytest.fixture(scope="session")
def tls_registry(scratch: Path, logs: Path) -> Iterator[Registry]:
    """docker-registry with TLS (a CA of its own) and basic auth."""
    program = host.tool("docker-registry", "docker-registry")
    with _started("registry with TLS", secure_registry(program, scratch, logs)) as running:
        yield running


@pytest.fixture(scope="session")
def busybox_image() -> Image:
    """One layer of 2 MB: busybox, with a shell as command."""
    return Image("busybox", busybox_layers(), {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]})


@pytest.fixture(scope="session")
def python_image() -> Image:
    """Three layers of 48 MB: system, Python, /app; the working directory is /app."""
    config = {
        "Env": [f"PATH={_DEBIAN_PATH}", "LANG=C.UTF-8"],
        "Cmd": ["python3"],
        "WorkingDir": "/app",
    }
    return Image("python", python_layers(), config)


@pytest.fixture(scope="session")
def containerd(scratch: Path, logs: Path) -> Iterator[Containerd]:
    """containerd 2 with runc of today."""
    host.need_root("containerd")
    programs, runc = host.engine("containerd"), host.engine("runc")
    starting = daemons.containerd(programs, runc, scratch / "containerd", logs)
    with _started("containerd", starting) as running:
        yield running


@pytest.fixture(scope="session")
def kubernetes(
    scratch: Path, logs: Path, busybox_image: Image, registry: Registry, tls_registry: Registry
) -> Iterator[Kubernetes]:
    """A Kubernetes of today with one node, which pulls from ``registry`` and ``tls_registry``."""
    host.need_root("Kubernetes")
    starting = kubernetes_cluster(
        containerd=host.engine("containerd"),
        runc=host.engine("runc"),
        kube=host.engine("kubernetes"),
        coredns=host.engine("coredns"),
        pause=busybox_image,
        directory=scratch / "k8s",
        logs=logs,
    )
    with _started("Kubernetes", starting) as running:
        for source in (registry, tls_registry):
            running.use_registry(source)
        yield running


@pytest.fixture(scope="session")
def job_sets(kubernetes: Kubernetes) -> Iterator[Kubernetes]:
    """The cluster with JobSet."""
    with _started("JobSet", add_on(kubernetes, JOB_SET)):
        yield kubernetes


@pytest.fixture(scope="session")
def kueue(job_sets: Kubernetes) -> Iterator[Kubernetes]:
    """The cluster with JobSet and Kueue, which looks for JobSet when it starts."""
    with _started("Kueue", add_on(job_sets, KUEUE)):
        yield job_sets


@pytest.fixture(scope="session")
def docker20(scratch: Path, logs: Path) -> Iterator[Docker]:
    """Debian's Docker Engine (20.10), classic image store, classic builder and BuildKit."""
    host.need_root("dockerd")
    program, cli = host.tool("dockerd", "docker.io"), _debian_docker_cli()
    with _started("containerd", daemons.containerd(None, None, scratch / "d20c", logs)) as containerd:
        starting = daemons.dockerd("docker20", program, containerd, cli=cli, directory=scratch / "d20", logs=logs)
        with _started("dockerd", starting) as running:
            yield running


@pytest.fixture(scope="session")
def docker_today(scratch: Path, logs: Path) -> Iterator[Docker]:
    """The Docker Engine of today, containerd image store."""
    starting = _docker_of_today("docker_today", scratch, logs, containerd_store=True)
    with _started("Docker of today", starting) as running:
        yield running


@pytest.fixture(scope="session")
def docker_today_classic(scratch: Path, logs: Path) -> Iterator[Docker]:
    """The Docker Engine of today, classic overlay2 image store."""
    starting = _docker_of_today("docker_today_classic", scratch, logs, containerd_store=False)
    with _started("Docker of today", starting) as running:
        yield running


@pytest.fixture(scope="session", params=["docker20", "docker_today", "docker_today_classic"])
def any_docker(request: pytest.FixtureRequest) -> Docker:
    """Each of the Docker daemons in turn."""
    docker: Docker = request.getfixturevalue(request.param)
    return docker


@pytest.fixture(scope="session")
def aws(docker20: Docker, logs: Path) -> Iterator[Aws]:
    """moto's AWS API; its Batch runs containers of ``docker20``."""
    with _started("moto", moto(docker20, logs)) as running:
        yield running


@contextlib.contextmanager
def _started(component: str, starting: contextlib.AbstractContextManager[_T]) -> Iterator[_T]:
    """Turn a failed start into the skip, or the failure, of the tests that need the component."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(starting)
        except host.ComponentError as error:
            host.unavailable(component, str(error))
        yield running


@contextlib.contextmanager
def _docker_of_today(name: str, scratch: Path, logs: Path, *, containerd_store: bool) -> Iterator[Docker]:
    host.need_root("dockerd")
    moby, programs, runc = host.engine("moby"), host.engine("containerd"), host.engine("runc")
    cli, buildx = host.engine("docker-cli") / "docker", host.engine("buildx") / "buildx"
    short = "dts" if containerd_store else "dtc"
    with (
        daemons.containerd(programs, runc, scratch / f"{short}c", logs) as containerd,
        daemons.dockerd(
            name,
            moby / "dockerd",
            containerd,
            cli=cli,
            buildx=buildx,
            directory=scratch / short,
            logs=logs,
            path=(moby, programs, runc),
            containerd_store=containerd_store,
        ) as running,
    ):
        yield running


def _debian_docker_cli() -> Path:
    """Debian's own CLI; another one may come before it in PATH, and a CLI of today refuses so old a daemon."""
    debian = Path("/usr/bin/docker")
    return debian if debian.exists() else host.tool("docker", "docker.io")


@pytest.fixture(scope="session")
def containers_env(registry_addresses: dict[str, Recorder], scratch: Path) -> dict[str, str]:
    """The environment for podman, buildah and skopeo: the plain registries are reached without TLS."""
    return containers_environment(scratch / "p", [recorder.host for recorder in registry_addresses.values()])


@pytest.fixture(scope="session")
def podman(containers_env: dict[str, str], scratch: Path, logs: Path) -> Iterator[Podman]:
    """Podman with its Docker-compatible API service."""
    host.need_root("podman")
    starting = podman_service(scratch / "p", logs, containers_env, _debian_docker_cli())
    with _started("podman", starting) as running:
        yield running


@pytest.fixture(scope="session")
def login(scratch: Path, logs: Path) -> Iterator[LoginNode]:
    """A real sshd; ``login.use(monkeypatch)`` makes ssh reach it under the name ``login``."""
    with _started("sshd", login_node(scratch / "sshd", logs)) as running:
        yield running


@pytest.fixture(scope="session")
def skopeo(containers_env: dict[str, str]) -> Tool:
    """``skopeo(*args)`` gives its stdout; the plain registries need no flags."""
    return _with_registries("skopeo", containers_env)


@pytest.fixture(scope="session")
def buildah(containers_env: dict[str, str]) -> Tool:
    """``buildah(*args)`` gives its stdout; ``bud`` and ``run`` need ``--isolation chroot`` or ``--runtime runc``."""
    host.need_root("buildah")
    return _with_registries("buildah", containers_env)


@pytest.fixture(scope="session")
def crane(scratch: Path) -> Tool:
    """``crane(*args)`` gives its stdout."""
    client = scratch / "crane"
    client.mkdir()
    return Tool(host.engine("crane") / "crane", host.environment(DOCKER_CONFIG=str(client)))


def _with_registries(program: str, env: dict[str, str]) -> Tool:
    # They read this file from the environment in some versions, and by this flag in all.
    conf = env["CONTAINERS_REGISTRIES_CONF"]
    return Tool(host.tool(program, program), env, "--registries-conf", conf)


@pytest.fixture(scope="session")
def torchx_release() -> TorchX:
    """TorchX 0.7.0, its last release."""
    return peers.torchx("0.7.0", "torchx==0.7.0")


@pytest.fixture(scope="session")
def torchx_newest() -> TorchX:
    """TorchX as it is developed; what was the newest when it was installed."""
    return peers.torchx("newest", "torchx-nightly")


@pytest.fixture(scope="session", params=["torchx_release", "torchx_newest"])
def any_torchx(request: pytest.FixtureRequest) -> TorchX:
    """Both in turn."""
    installed: TorchX = request.getfixturevalue(request.param)
    return installed


@pytest.fixture(scope="session")
def ignore_oracle() -> Iterator[Oracle]:
    """The ignore matcher of the container builders; needs Go."""
    oracle = Oracle(build())
    yield oracle
    oracle.close()


@pytest.fixture(scope="session")
def slurm(scratch: Path, logs: Path) -> Iterator[Slurm]:
    """Debian's Slurm (22.05): four nodes with accounting."""
    host.need_root("slurm")
    with _started("slurm", slurm_cluster(scratch / "slurm", logs)) as running:
        yield running


@pytest.fixture(scope="session")
def slurm_login(slurm: Slurm, scratch: Path, logs: Path) -> Iterator[LoginNode]:
    """A real sshd whose commands find the cluster of ``slurm``; its home directory is a new one."""
    home = scratch / "login-home"
    home.mkdir()
    variables = {"SLURM_CONF": slurm.env["SLURM_CONF"], "HOME": str(home)}
    with _started("sshd", login_node(scratch / "slurm-sshd", logs, variables)) as running:
        yield running


@pytest.fixture(scope="session")
def torchrun(scratch: Path) -> Path:
    """A directory for PATH with Debian's torchrun (1.13), and a python that has PyTorch."""
    host.tool("torchrun", "python3-torch")
    directory = scratch / "torchrun"
    directory.mkdir()
    # Its parser of --tee loops over the members of a flag, which Python 3.11 has changed.
    lines = (
        "#!/usr/bin/python3",
        "from torch.distributed.elastic.multiprocessing import api",
        "api.Std.from_str = classmethod(lambda cls, text: cls(int(text)))",
        "from torch.distributed.run import main",
        "main()",
    )
    (directory / "torchrun").write_text("\n".join(lines) + "\n")
    (directory / "torchrun").chmod(0o755)
    (directory / "python3").symlink_to("/usr/bin/python3")
    return directory


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def reflinks(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Path]:
    """A directory on a file system whose files can share their content."""
    kind = request.param
    host.need_root(kind)
    image, mounted = scratch / f"{kind}.img", scratch / kind
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    package = {"xfs": "xfsprogs", "btrfs": "btrfs-progs"}[kind]
    host.run_tool([host.tool(f"mkfs.{kind}", package), "-q", image])
    done = host.call_tool([host.tool("mount", "mount"), "-o", "loop", image, mounted])
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted on this machine: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        host.run_tool([host.tool("umount", "mount"), mounted])
        image.unlink()
