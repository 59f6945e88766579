from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from topcoat.errors import InvalidRunConfigException, SchedulerUnavailable
from topcoat.schedulers.kubernetes.config import find_cluster


def write(file: Path, current: str | None = "one", **contexts: str) -> str:
    """Write a kubeconfig whose contexts have these namespaces, each with a cluster of its own name."""
    names = contexts or {"one": ""}
    config: dict[str, Any] = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example"}} for name in names],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "u", **({"namespace": space} if space else {})}}
            for name, space in names.items()
        ],
        **({"current-context": current} if current else {}),
    }
    file.write_text(json.dumps(config))
    return str(file)


def test_the_current_context_of_kubeconfig_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", write(tmp_path / "a", "two", one="", two="research"))
    cluster = find_cluster()
    assert (cluster.context, cluster.namespace, cluster.configuration.host) == (
        "two",
        "research",
        "https://two.example",
    )
    other = find_cluster(context="one")
    assert (other.namespace, other.configuration.host) == ("default", "https://one.example")
    assert str(other) == "the cluster at https://one.example (context 'one')"


def test_the_default_file_is_in_the_home_directory(home: Path) -> None:
    (home / ".kube").mkdir()
    write(home / ".kube" / "config")
    assert find_cluster().context == "one"


def test_several_files_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(tmp_path / "a", one=""), str(tmp_path / "absent"), write(tmp_path / "b", None, two="x")]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
    assert find_cluster(context="two").namespace == "x"


def test_a_context_can_be_named_where_none_is_current(tmp_path: Path) -> None:
    file = write(tmp_path / "a", None, one="research")
    assert find_cluster(file, "one").namespace == "research"
    with pytest.raises(InvalidRunConfigException, match="has no current context"):
        find_cluster(file)


def test_a_pod_uses_its_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SchedulerUnavailable, match="cannot log in as this pod: Service host/port is not set"):
        find_cluster()
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda configuration: None)
    assert find_cluster()[1:] == ("", "default")


def test_a_certificate_that_does_not_exist_is_one_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a")
    config = json.loads(Path(file).read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = "/absent"
    Path(file).write_text(json.dumps(config))
    with pytest.raises(SchedulerUnavailable, match="/absent"):
        find_cluster(file)
