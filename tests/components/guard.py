"""Keep tests away from the user's home, credentials and settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PREFIXES = (
    "AWS_", "AZURE_", "BUILDAH_", "BUILDKIT", "BUILDX_", "CONTAINERS_", "CONTAINER_", "DOCKER_", "GIT_", "GOOGLE_",
    "KUBE", "SBATCH_", "SINFO_", "SLURM_", "SQUEUE_", "TOPCOAT_", "TORCHX", "XDG_",
)  # fmt: skip
_NAMES = {"REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
_IDENTITY = {"NAME": "Test Author", "EMAIL": "author@example.org"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home directory, which the environment names, with nothing of the user's configuration in effect."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name in _NAMES or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    directory = tmp_path_factory.mktemp("home")
    places = {
        "HOME": "",
        "USERPROFILE": "",
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
        "XDG_RUNTIME_DIR": ".run",
        "DOCKER_CONFIG": ".docker",
    }
    for name, place in places.items():
        monkeypatch.setenv(name, str(directory / place))
    # git would look for identity and settings outside of the home directory too.
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for kind in ("AUTHOR", "COMMITTER"):
        for what, value in _IDENTITY.items():
            monkeypatch.setenv(f"GIT_{kind}_{what}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return directory
