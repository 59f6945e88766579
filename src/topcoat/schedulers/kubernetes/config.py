"""Which cluster, and how to log in there: kubeconfig, context, or the pod that this runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from topcoat.errors import InvalidRunConfigException, MissingDependency, SchedulerUnavailable
from topcoat.foreign_text import escaped

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_DEFAULT_FILE = "~/.kube/config"
_POD_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
_DEFAULT_NAMESPACE = "default"
_HINT = "point KUBECONFIG or -cfg kubeconfig=FILE at the cluster's file; `kubectl config get-contexts` lists contexts"


class Cluster(NamedTuple):
    """A cluster and a login there.

    Attributes:
        configuration: of the official client: address, certificates, credentials.
        context: name of the kubeconfig's context; empty inside a pod.
        namespace: the one to use unless another is named.
    """

    configuration: Configuration
    context: str
    namespace: str

    def __str__(self) -> str:
        return f"the cluster at {self.configuration.host}" + f" (context {self.context!r})" * bool(self.context)


def find_cluster(kubeconfig: str | None = None, context: str | None = None) -> Cluster:
    """Return the cluster that kubectl would use.

    Args:
        kubeconfig: a file; by default the files of ``KUBECONFIG``, or ``~/.kube/config``. Without any, in a pod, its
            service account is used.
        context: a context of that file; by default its current one.

    Raises:
        SchedulerUnavailable: no cluster is configured, or the login fails before any request.
        InvalidRunConfigException: there is no such file or context.
        MissingDependency: the kubernetes package is not installed.
    """
    try:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException
    except ImportError as error:
        raise MissingDependency(
            "this needs the kubernetes package, which is not installed", hint="pip install 'topcoat[kubernetes]'"
        ) from error
    files = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_FILE
    configuration = Configuration()
    if any(os.path.exists(os.path.expanduser(file)) for file in files.split(os.pathsep) if file):
        return _from_file(configuration, files, context)
    if kubeconfig:
        raise InvalidRunConfigException(f"kubeconfig {kubeconfig!r} does not exist", "kubeconfig", hint=_HINT)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        try:
            return _from_pod(configuration)
        except (ConfigException, OSError) as error:
            raise SchedulerUnavailable(f"cannot log in as this pod: {escaped(str(error))}", hint=_HINT) from error
    raise SchedulerUnavailable(f"no Kubernetes cluster is configured: {files} does not exist", hint=_HINT)


def _from_file(configuration: Configuration, files: str, context: str | None) -> Cluster:
    import yaml
    from kubernetes.config import ConfigException, load_kube_config
    from kubernetes.config.kube_config import KubeConfigMerger

    try:
        merged = KubeConfigMerger(files).config  # type: ignore[no-untyped-call]
        namespaces = {item["name"]: item["context"].safe_get("namespace") for item in merged["contexts"]}
        name = context or merged.safe_get("current-context")
        if name in namespaces:
            with _login_errors(f"logging in to the context {name!r}"):
                load_kube_config(files, name, configuration, persist_config=False)  # type: ignore[no-untyped-call]
            return Cluster(configuration, name, namespaces[name] or _DEFAULT_NAMESPACE)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (
            " ".join(str(error).split())
            if isinstance(error, (ConfigException, yaml.YAMLError, OSError))
            else "malformed"
        )
        raise SchedulerUnavailable(f"cannot read the kubeconfig {files}: {escaped(why)}", hint=_HINT) from error
    choices = ", ".join(sorted(namespaces)) or "none"
    if not name:
        raise InvalidRunConfigException(
            f"{files} has no current context", "context", hint=f"-cfg context=NAME; contexts: {choices}"
        )
    raise InvalidRunConfigException(f"invalid context {name!r}: {files} has {choices}", "context", hint=_HINT)


def _from_pod(configuration: Configuration) -> Cluster:
    from kubernetes.config import load_incluster_config

    load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    try:
        with open(f"{_POD_DIRECTORY}/namespace") as file:
            namespace = file.read(254).strip()
    except FileNotFoundError:
        namespace = ""
    return Cluster(configuration, "", namespace or _DEFAULT_NAMESPACE)


@contextmanager
def _login_errors(action: str) -> Iterator[None]:
    """Raise what the official client only logs: a login program of the kubeconfig that fails."""
    import logging

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    messages: list[str] = []
    collector = Collector(logging.ERROR)
    root = logging.getLogger()
    # logging.error() adds a handler that prints, unless the root logger has one.
    root.addHandler(collector)
    try:
        yield
    finally:
        root.removeHandler(collector)
    if messages:
        raise SchedulerUnavailable(
            f"{action}: {escaped(messages[0])}", hint="`kubectl get pods` runs the same login program"
        )
