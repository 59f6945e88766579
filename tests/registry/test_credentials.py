import base64
import json
import os
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.notices import recorded_notices
from tests.support.waiting import made_when
from topcoat.errors import CredentialError
from topcoat.registry.credentials import Credential, Keyring

from .conftest import docker_login, write_docker_config

_ME = Credential("me", "pw")


def _auth(username="me", password="pw"):
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Install a credential helper: a shell script, which also logs its calls."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(name, script):
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(f'#!/bin/sh\nread host\necho "$1 $host" >> {tmp_path}/calls\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "calls"

    return install


def _say(username, secret):
    return "echo '" + json.dumps({"ServerURL": "x", "Username": username, "Secret": secret}) + "'"


def test_without_any_file_no_credential_is_found():
    assert Keyring().get("ghcr.io", "org/app") is None


def test_a_login_written_by_docker_is_found(home):
    docker_login(home, "ghcr.io", "me", "pw:with:colons")
    assert Keyring().get("ghcr.io") == Credential("me", "pw:with:colons")
    assert Keyring().get("quay.io") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.text().filter(lambda t: ":" not in t and "\0" not in t), st.text(min_size=1).filter(lambda t: "\0" not in t))
def test_any_user_and_password_are_read_back(home, username, password):
    docker_login(home, "ghcr.io", username, password)
    assert Keyring().get("ghcr.io") == Credential(username, password)


def test_the_variable_comes_before_the_file_and_falls_back_to_it(home, monkeypatch):
    docker_login(home, "ghcr.io", "file", "pw")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"quay.io": _auth("variable")}}))
    assert Keyring().get("quay.io").username == "variable"
    assert Keyring().get("ghcr.io").username == "file"


def test_podmans_files_are_read_after_dockers(home, monkeypatch):
    runtime, config = home / ".run" / "containers", home / ".config" / "containers"
    for directory, name in ((runtime, "runtime"), (config, "config")):
        directory.mkdir(parents=True)
        (directory / "auth.json").write_text(json.dumps({"auths": {f"{name}.io": _auth(name), "all.io": _auth(name)}}))
    assert [Keyring().get(f"{n}.io").username for n in ("runtime", "config", "all")] == ["runtime", "config", "runtime"]
    docker_login(home, "all.io", "docker", "pw")
    assert Keyring().get("all.io").username == "docker"
    named = home / "named.json"
    named.write_text(json.dumps({"auths": {"named.io": _auth("named")}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert Keyring().get("named.io").username == "named"
    assert Keyring().get("runtime.io") is None


def test_a_helper_for_the_host_comes_before_the_store_and_the_file(home, helper):
    calls = helper("own", _say("own", "s"))
    helper("store", _say("store", "s"))
    config = {"credHelpers": {"ghcr.io": "own"}, "credsStore": "store", "auths": {"ghcr.io": _auth("file")}}
    write_docker_config(home, config)
    keyring = Keyring()
    assert keyring.get("ghcr.io") == Credential("own", "s")
    assert keyring.get("quay.io") == Credential("store", "s")
    assert calls.read_text().splitlines() == ["get ghcr.io", "get quay.io"]


def test_helpers_are_asked_for_docker_hub_by_its_url(home, helper):
    calls = helper("store", _say("me", "pw"))
    write_docker_config(home, {"credsStore": "store"})
    assert Keyring().get("docker.io") == _ME
    assert calls.read_text().splitlines() == ["get https://index.docker.io/v1/"]


def test_the_file_is_read_if_the_helper_has_no_credential(home, helper):
    helper("store", "echo 'credentials not found in native keychain'; exit 1")
    write_docker_config(home, {"credsStore": "store", "auths": {"ghcr.io": _auth()}})
    assert Keyring().get("ghcr.io") == _ME
    assert Keyring().get("quay.io") is None


def test_a_token_user_means_an_identity_token(home, helper):
    helper("store", _say("<token>", "refresh"))
    write_docker_config(home, {"credsStore": "store"})
    assert Keyring().get("x.azurecr.io") == Credential(identity_token="refresh")


def test_a_helper_is_run_once_for_several_threads(home, helper):
    calls = helper("store", "sleep 0.05\n" + _say("me", "pw"))
    write_docker_config(home, {"credsStore": "store"})
    keyring, found = Keyring(), []
    threads = [threading.Thread(target=lambda: found.append(keyring.get("ghcr.io", "a"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [_ME] * 4
    assert len(calls.read_text().splitlines()) == 1


def test_a_helper_that_is_not_installed_is_skipped_with_a_notice(home):
    path = write_docker_config(home, {"credsStore": "gone", "auths": {"ghcr.io": _auth()}})
    keyring = Keyring()
    with recorded_notices() as notices:
        assert keyring.get("quay.io") is None
        assert keyring.get("ghcr.io") == _ME
    assert f"{path} names the credential helper docker-credential-gone, which is not installed" in notices[0]
    assert "docker login quay.io" in notices[0]


def test_a_helper_that_hangs_is_stopped(home, helper, monkeypatch):
    monkeypatch.setattr("topcoat.registry.credentials._HELPER_TIMEOUT_S", 0.2)
    helper("slow", "exec sleep 60")
    write_docker_config(home, {"credsStore": "slow"})
    with pytest.raises(CredentialError, match=r"did not finish for ghcr\.io within 0\.2 s") as caught:
        Keyring().get("ghcr.io")
    assert "docker-credential-slow get" in caught.value.hint


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'the keychain is locked'; exit 1", "failed for ghcr.io: the keychain is locked"),
        ("echo 'no session' >&2; exit 3", "failed for ghcr.io: no session"),
        ("exit 3", "failed for ghcr.io: exit code 3"),
        ("echo hello", "printed no JSON object"),
        ("echo '[1]'", "printed no JSON object"),
    ],
)
def test_a_helper_that_fails_is_quoted(home, helper, script, why):
    helper("bad", script)
    write_docker_config(home, {"credsStore": "bad"})
    with pytest.raises(CredentialError, match=why):
        Keyring().get("ghcr.io")


def test_a_helper_that_cannot_be_run_is_an_error(home, helper):
    calls = helper("store", "exit 0")
    (calls.parent / "docker-credential-store").write_text("#!/no/such/interpreter\n")
    write_docker_config(home, {"credsStore": "store"})
    with pytest.raises(CredentialError, match="docker-credential-store"):
        Keyring().get("ghcr.io")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ('{\n  "auths": {', r"is not valid JSON \(line 2\)"),
        ("[]", "must be a JSON object"),
        ({"auths": []}, "'auths' must be a JSON object"),
        ({"auths": {"ghcr.io": "pw"}}, "the entry of ghcr.io must be a JSON object"),
        ({"auths": {"ghcr.io": {"auth": "a"}}}, "the 'auth' of ghcr.io is not base64"),
        ({"auths": {"ghcr.io": {"auth": "/////w=="}}}, "the 'auth' of ghcr.io is not base64"),
        ({"auths": {"ghcr.io": {"auth": base64.b64encode(b"nocolon").decode()}}}, "is not user:password"),
    ],
)
def test_the_error_for_a_malformed_file_names_it_and_shows_no_secret(home, document, why):
    path = write_docker_config(home, document)
    with pytest.raises(CredentialError, match=why) as caught:
        Keyring().get("ghcr.io")
    assert str(path) in str(caught.value)
    assert "nocolon" not in str(caught.value)
    assert caught.value.hint


def test_a_malformed_variable_is_named(monkeypatch):
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
    with pytest.raises(CredentialError, match="DOCKER_AUTH_CONFIG is not valid JSON"):
        Keyring().get("ghcr.io")


def test_a_file_that_cannot_be_read_is_named(home):
    path = home / ".docker" / "config.json"
    path.mkdir(parents=True)
    with pytest.raises(CredentialError, match=r"cannot read .*: Is a directory") as caught:
        Keyring().get("ghcr.io")
    assert str(path) in str(caught.value)


def test_an_empty_file_is_ignored(home):
    write_docker_config(home, "")
    assert Keyring().get("ghcr.io") is None


def test_a_credential_does_not_show_its_secrets():
    credential = Credential("me", "secret-1", "secret-2", "secret-3")
    assert repr(credential) == "Credential(username='me', ...)"
    assert f"{credential}" == repr(credential)
    assert credential.secrets == ("secret-1", "secret-2", "secret-3")


@pytest.mark.parametrize("broken", ["directory", "{", "[]", '{"auths": 7}', '{"auths": {"ghcr.io": {"auth": "a"}}}'])
@pytest.mark.parametrize("place", [".run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json"])
def test_a_broken_file_does_not_matter_if_another_one_has_the_login(home, monkeypatch, place, broken):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / ".run"))
    if place == ".docker/config.json":
        good = home / ".config" / "containers" / "auth.json"
        good.parent.mkdir(parents=True)
        good.write_text(json.dumps({"auths": {"ghcr.io": _auth()}}))
    else:
        docker_login(home, "ghcr.io", "me", "pw")
    path = home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if broken == "directory" else path.write_text(broken)
    with recorded_notices() as notices:
        assert Keyring().get("ghcr.io") == _ME
    # Docker's file comes first, so a broken one is skipped with a line.
    assert [str(path) in text for text in notices] == [True] * (place == ".docker/config.json")


def test_a_broken_file_is_an_error_if_no_other_has_a_login(home):
    path = home / ".config" / "containers" / "auth.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    docker_login(home, "ghcr.io", "me", "pw")
    with pytest.raises(CredentialError, match="is not valid JSON"):
        Keyring().get("quay.io")


def test_an_empty_helper_turns_the_store_off_for_its_host(home, helper):
    calls = helper("store", _say("store", "s"))
    config = {"credHelpers": {"ghcr.io": ""}, "credsStore": "store", "auths": {"ghcr.io": _auth()}}
    write_docker_config(home, config)
    keyring = Keyring()
    assert keyring.get("ghcr.io") == _ME
    assert not calls.exists()
    assert keyring.get("quay.io") == Credential("store", "s")


def test_a_helper_that_hangs_is_run_once(home, helper, monkeypatch):
    monkeypatch.setattr("topcoat.registry.credentials._HELPER_TIMEOUT_S", 3.0)
    calls = helper("hanging", "exec sleep 60")
    write_docker_config(home, {"credsStore": "hanging"})
    keyring = Keyring()
    # The second keyring is what an engine's pull uses.
    for ring in (keyring, keyring, Keyring()):
        with pytest.raises(CredentialError, match=r"did not finish for once\.io"):
            ring.get("once.io")
    assert calls.read_text().splitlines() == ["get once.io"]


def test_a_helper_that_has_answered_and_left_a_child_is_not_refused(home, helper):
    helper("parent", "sleep 60 &\n" + _say("me", "pw"))
    write_docker_config(home, {"credsStore": "parent"})
    assert Keyring().get("ghcr.io") == _ME


def test_the_error_of_a_helper_is_escaped(home, helper):
    helper("bad", "printf 'it is \\033[Jlocked'; exit 1")
    write_docker_config(home, {"credsStore": "bad"})
    with pytest.raises(CredentialError, match=r"failed for ghcr\.io: it is \\x1b\[Jlocked"):
        Keyring().get("ghcr.io")


def test_the_wait_for_a_helper_is_said(home, helper, monkeypatch, tmp_path):
    monkeypatch.setattr("topcoat.notices.notice_if_slow.__wrapped__.__defaults__", (0.1,))
    helper("late", f"until [ -e {tmp_path}/said ]; do sleep 0.05; done\n" + _say("me", "pw"))
    write_docker_config(home, {"credsStore": "late"})
    with recorded_notices() as notices, made_when(tmp_path / "said", lambda: notices):
        assert Keyring().get("ghcr.io") == _ME
    assert notices == ["waiting for the credential helper docker-credential-late for ghcr.io"]


def test_a_helper_that_fails_after_it_has_printed_the_secret_does_not_leak_it(home, helper):
    helper("bad", _say("me", "hunter2") + "\necho the agent has crashed >&2; exit 1")
    write_docker_config(home, {"credsStore": "bad"})
    with pytest.raises(CredentialError, match=r"failed for ghcr\.io: \*\*\*") as caught:
        Keyring().get("ghcr.io")
    assert "hunter2" not in str(caught.value) + str(caught.value.hint)
    assert "docker-credential-bad get" in caught.value.hint


def test_a_helper_that_prints_without_end_is_stopped(home, helper, monkeypatch):
    monkeypatch.setattr("topcoat.registry.credentials._MAX_HELPER_OUTPUT", 1000)
    helper("endless", "exec yes")
    write_docker_config(home, {"credsStore": "endless"})
    with pytest.raises(CredentialError, match="did not finish"):
        Keyring().get("ghcr.io")
