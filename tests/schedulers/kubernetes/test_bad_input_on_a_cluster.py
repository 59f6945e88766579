"""One clear error for each cause, against a real cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.components.kubernetes import Kubernetes
from tests.components.serve import free_port
from tests.schedulers.kubernetes.conftest import Jobs
from topcoat.errors import InvalidRunConfigException, RequestRefused, SchedulerUnavailable
from topcoat.runner import Runner
from topcoat.schedulers.kubernetes.client import connect
from topcoat.schedulers.kubernetes.kinds import JOB


@pytest.fixture
def config(kubernetes: Kubernetes) -> Any:
    return json.loads(kubernetes.kubeconfig.read_text())


def write(directory: Path, config: Any) -> str:
    (directory / "kubeconfig").write_text(json.dumps(config))
    return str(directory / "kubeconfig")


def test_no_cluster_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Runner("session") as runner, pytest.raises(SchedulerUnavailable, match="no Kubernetes cluster is configured"):
        runner.list("kubernetes")


def test_a_cluster_that_is_down_is_one_error_at_once(config: Any, tmp_path: Path) -> None:
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    with pytest.raises(SchedulerUnavailable, match=r"cannot connect to .*\(context 't'\): connection refused"):
        connect(write(tmp_path, config)).list(JOB, "default")


def test_an_expired_token_is_one_error(config: Any, tmp_path: Path) -> None:
    config["users"][0]["user"]["token"] = "expired"
    with pytest.raises(RequestRefused, match="Unauthorized") as caught:
        connect(write(tmp_path, config)).list(JOB, "default")
    assert "log in again" in str(caught.value.hint)


def test_a_login_program_that_fails_is_one_error(config: Any, tmp_path: Path) -> None:
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": {**program, "args": ["-c", "echo session expired >&2; exit 7"]}}
    with pytest.raises(SchedulerUnavailable, match=r"logging in to the context 't': .*returned 7. session expired"):
        connect(write(tmp_path, config))


def test_a_certificate_of_another_cluster_is_one_error(config: Any, tmp_path: Path) -> None:
    del config["clusters"][0]["cluster"]["certificate-authority"]
    with pytest.raises(SchedulerUnavailable, match="certificate verify failed") as caught:
        connect(write(tmp_path, config)).list(JOB, "default")
    assert "certificate-authority" in str(caught.value.hint)


@pytest.mark.parametrize("content", ["{", "[1]", "", '{"contexts": 1}'])
def test_a_malformed_kubeconfig_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "kubeconfig").write_text(content)
    with pytest.raises(SchedulerUnavailable, match="cannot read the kubeconfig"):
        connect(str(tmp_path / "kubeconfig"))


def test_a_context_or_a_file_that_does_not_exist_is_one_error(kubernetes: Kubernetes) -> None:
    with pytest.raises(InvalidRunConfigException, match=r"invalid context 'absent': .* has t"):
        connect(str(kubernetes.kubeconfig), "absent")
    with pytest.raises(InvalidRunConfigException, match="kubeconfig '/absent' does not exist"):
        connect("/absent")


def test_a_user_without_rights_is_told_which_one_is_missing(
    on_cluster: Jobs, kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.user_kubeconfig))
    with Runner("session") as runner:
        on_cluster.runner = runner
        with pytest.raises(RequestRefused, match='User "dev" cannot create resource "jobs"') as caught:
            on_cluster.submit(on_cluster.role("true"))
    assert "-cfg namespace=NAME" in str(caught.value.hint)
    assert on_cluster.get("jobs,services")["items"] == []
