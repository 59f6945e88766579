"""Which cluster, and how to log in there: kubeconfig, context, or the pod that this runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

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
    try:
        if any(os.path.exists(os.path.expanduser(file)) for file in files.split(os.pathsep) if file):
            return _from_file(configuration, files, context)
        if kubeconfig:
            raise InvalidRunConfigException(f"kubeconfig {kubeconfig!r} does not exist", "kubeconfig", hint=_HINT)
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            return _from_pod(configuration)
    except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidRunConfigException):
            raise
        raise SchedulerUnavailable(f"cannot read the kubeconfig {files}: {escaped(str(error))}", hint=_HINT) from error
    raise SchedulerUnavailable(f"no Kubernetes cluster is configured: {files} does not exist", hint=_HINT)


def _from_file(configuration: Configuration, files: str, context: str | None) -> Cluster:
    import yaml
    from kubernetes.config import ConfigException, list_kube_config_contexts, load_kube_config

    try:
        contexts, current = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    except (ConfigException, yaml.YAMLError) as error:
        # Without a current context the list fails; --cfg context=... does not need one.
        if not context or isinstance(error, yaml.YAMLError):
            raise SchedulerUnavailable(
                f"cannot read the kubeconfig {files}: {escaped(str(error))}", hint=_HINT
            ) from error
        contexts, current = None, {"name": context}
    by_name: dict[str, Any] = {item["name"]: item.get("context") or {} for item in contexts or [current]}
    name = context or current["name"]
    if name not in by_name:
        raise InvalidRunConfigException(
            f"invalid context {name!r}: {files} has {', '.join(sorted(by_name)) or 'none'}", "context", hint=_HINT
        )
    with _login_errors(f"logging in to the context {name!r}"):
        load_kube_config(files, name, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    return Cluster(configuration, name, by_name[name].get("namespace") or _DEFAULT_NAMESPACE)


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
