import base64
import json

import pytest

from topcoat.errors import CredentialError
from topcoat.registry.credentials import Credential, Keyring

from .conftest import docker_login, write_docker_config

_ME = Credential("me", "pw")


def _auth(username="me", password="pw"):
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def test_padding_with_nul_characters_is_removed(home):
    docker_login(home, "ghcr.io", "me", "pw\0\0\0")
    assert Keyring().get("ghcr.io") == _ME


@pytest.mark.parametrize("key", ["https://ghcr.io", "https://ghcr.io/v2/", "http://ghcr.io/v1/"])
def test_keys_that_are_urls_are_found_by_their_host(home, key):
    docker_login(home, key, "me", "pw")
    assert Keyring().get("ghcr.io") == _ME


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://docker.io"])
def test_docker_hub_has_several_keys(home, key):
    docker_login(home, key, "me", "pw")
    assert Keyring().get("docker.io") == _ME


def test_user_and_password_may_be_separate_fields(home):
    write_docker_config(home, {"auths": {"ghcr.io": {"username": "me", "password": "pw"}}})
    assert Keyring().get("ghcr.io") == _ME


def test_tokens_are_not_passwords(home):
    write_docker_config(
        home,
        {"auths": {"a.io": {"auth": _auth("me", "")["auth"], "identitytoken": "t"}, "b.io": {"registrytoken": "r"}}},
    )
    assert Keyring().get("a.io") == Credential("me", "", identity_token="t")
    assert Keyring().get("b.io") == Credential(registry_token="r")


@pytest.mark.parametrize("entry", [{}, {"email": "me@x"}, _auth("me", "")])
def test_an_entry_without_a_secret_is_no_credential(home, entry):
    write_docker_config(home, {"auths": {"ghcr.io": entry}})
    assert Keyring().get("ghcr.io") is None


def test_the_longest_path_of_a_registry_wins(home):
    write_docker_config(
        home,
        {"auths": {"q.io": _auth("host"), "q.io/org": _auth("org"), "q.io/org/app": _auth("app")}},
    )
    names = {r: Keyring().get("q.io", r).username for r in ("org/app", "org/app/x", "org/b", "other", "organ")}
    assert names == {"org/app": "app", "org/app/x": "app", "org/b": "org", "other": "host", "organ": "host"}


def test_registry_auth_file_counts_alone(home, monkeypatch):
    docker_login(home, "ghcr.io", "docker", "pw")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"ghcr.io": _auth("variable")}}))
    named = home / "named.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert Keyring().get("ghcr.io") is None
    named.write_text(json.dumps({"auths": {"ghcr.io": _auth("named")}}))
    assert Keyring().get("ghcr.io").username == "named"


@pytest.mark.parametrize("key", ["ghcr.io/", "ghcr.io/v1/", "ghcr.io/v2/", "ghcr.io/v2"])
def test_keys_with_the_path_of_the_api_are_found_by_their_host(home, key):
    docker_login(home, key, "me", "pw")
    assert Keyring().get("ghcr.io") == _ME
    assert Keyring().get("ghcr.io.evil") is None


def test_a_key_for_a_part_of_a_registry_is_not_for_the_rest(home):
    docker_login(home, "ghcr.io/v2/org", "me", "pw")
    assert Keyring().get("ghcr.io", "other/app") is None


def test_a_login_that_cannot_be_encoded_is_malformed(home):
    write_docker_config(home, {"auths": {"ghcr.io": {"username": "me", "password": "\ud800"}}})
    with pytest.raises(CredentialError, match="cannot be encoded"):
        Keyring().get("ghcr.io")
