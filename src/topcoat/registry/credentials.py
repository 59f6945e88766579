"""Credentials from where ``docker login`` and ``podman login`` store them.

In Docker's order: the variable ``DOCKER_AUTH_CONFIG``, then ``config.json`` (in ``DOCKER_CONFIG`` or ``~/.docker``),
and in each of them ``credHelpers`` of the host, ``credsStore``, ``auths``. Then Podman's ``auth.json``. A helper is a
program ``docker-credential-NAME`` that reads the host from its input and prints a JSON object.
"""

from __future__ import annotations

import binascii
import json
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

from topcoat.errors import CredentialError

_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io")
_NOT_FOUND = "credentials not found"
_HELPER_TIMEOUT_S = 30.0


class Credential(NamedTuple):
    """What to send to a registry or its token service; never printed.

    Attributes:
        username: of Basic authentication.
        password: of Basic authentication.
        identity_token: an OAuth 2 refresh token, to be exchanged for a registry token.
        registry_token: a bearer token for the registry itself.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r}, ...)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be shown."""
        return tuple(filter(None, (self.password, self.identity_token, self.registry_token)))


def login_for(registry: str, repository: str = "") -> Credential | None:
    """Return the current credential for *registry* only; arguments and errors as in `Keyring.get`."""
    return Keyring().get(registry, repository)


def login_key(registry: str) -> str:
    """Return the name under which Docker stores the login of *registry*: a URL for Docker Hub."""
    return _keys(registry)[0]


class Keyring:
    """The credentials of this machine, read on first use and cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._configs: list[tuple[str, dict[str, object]]] | None = None
        self._helper_locks: dict[tuple[str, str], threading.Lock] = {}
        self._helper_results: dict[tuple[str, str], Credential | None] = {}

    def get(self, registry: str, repository: str = "") -> Credential | None:
        """Return the credential for *registry* (``host[:port]``), None if none is stored.

        Args:
            registry: as in an image reference.
            repository: Podman's files may hold credentials for a part of a registry.

        Raises:
            CredentialError: a file is malformed, or a helper is missing, hangs or fails.
        """
        with self._lock:
            if self._configs is None:
                self._configs = list(_configs())
        for source, config in self._configs:
            helper, host = _helper(config, registry)
            credential = self._ask(helper, host, source) if helper else None
            if credential is None:
                entry = _auth_entry(_section(config, "auths", source), registry, repository)
                credential = _from_entry(entry, registry, source) if entry else None
            if credential is not None:
                return credential
        return None

    def _ask(self, helper: str, host: str, source: str) -> Credential | None:
        # Threads that need the same credential wait for one run of the helper; other hosts do not wait.
        key = (helper, host)
        with self._lock:
            lock = self._helper_locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._helper_results:
                self._helper_results[key] = _run_helper(helper, host, source)
            return self._helper_results[key]


def _run_helper(name: str, host: str, source: str) -> Credential | None:
    """Run the helper *name*, which *source* names, and return its credential for *host*, None if it has none."""
    import subprocess

    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise CredentialError(
            f"{source} names the credential helper {program}, which is not installed",
            hint=f"install {program}, or remove {name!r} from {source} and run: docker login {host}",
        ) from None
    except subprocess.TimeoutExpired:
        raise CredentialError(
            f"the credential helper {program} did not finish for {host} within {_HELPER_TIMEOUT_S:g} s",
            hint=f"see where it hangs: echo {host} | {program} get",
        ) from None
    except OSError as error:
        raise CredentialError(f"cannot run the credential helper {program}: {error.strerror}") from None
    if done.returncode:
        # Helpers print their error on stdout; a helper that fails prints no secret.
        output = (done.stdout or done.stderr).decode(errors="replace").strip()
        if _NOT_FOUND in output.lower():
            return None
        raise CredentialError(
            f"the credential helper {program} failed for {host}: {output[-300:] or f'exit code {done.returncode}'}",
            hint=f"run: docker login {host}",
        )
    try:
        document = json.loads(done.stdout)
        username, secret = str(document.get("Username") or ""), str(document.get("Secret") or "")
    except (ValueError, AttributeError):
        raise CredentialError(f"the credential helper {program} printed no JSON object for {host}") from None
    if not secret:
        return None
    return Credential(identity_token=secret) if username == "<token>" else Credential(username, secret)


def _configs() -> Iterator[tuple[str, dict[str, object]]]:
    text = os.environ.get("DOCKER_AUTH_CONFIG", "")
    if text.strip():
        yield "DOCKER_AUTH_CONFIG", _parse(text, "DOCKER_AUTH_CONFIG")
    for path in _paths():
        try:
            with open(path, "rb") as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise CredentialError(f"cannot read {path}: {error.strerror}", hint=f"check: ls -l {path}") from None
        if data.strip():
            yield path, _parse(data, path)


def _paths() -> Iterator[str]:
    environ, home = os.environ, os.path.expanduser("~")
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
    if environ.get("REGISTRY_AUTH_FILE"):
        yield environ["REGISTRY_AUTH_FILE"]
        return
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield os.path.join(runtime, "containers", "auth.json")
    elif hasattr(os, "getuid"):
        yield f"/run/containers/{os.getuid()}/auth.json"
    yield os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")


def _parse(text: str | bytes, source: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise CredentialError(
            f"{source} is not valid JSON{line}", hint=f"repair {source}, or log in again with: docker login"
        ) from None
    if not isinstance(document, dict):
        raise _malformed(source, "it must be a JSON object")
    return document


def _section(config: dict[str, object], key: str, source: str) -> dict[str, object]:
    section = config.get(key)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _malformed(source, f"{key!r} must be a JSON object")
    return section


def _keys(registry: str) -> tuple[str, ...]:
    return _HUB_KEYS if registry in _HUB_KEYS else (registry,)


def _helper(config: dict[str, object], registry: str) -> tuple[str, str]:
    """Return the helper for *registry*, empty for none, and the key that it stores the credential under."""
    keys, helpers = _keys(registry), config.get("credHelpers")
    for key in keys:
        # A helper of the host replaces the store.
        if isinstance(helpers, dict) and helpers.get(key):
            return str(helpers[key]), keys[0]
    return str(config.get("credsStore") or ""), keys[0]


def _auth_entry(auths: dict[str, object], registry: str, repository: str) -> object:
    parts = repository.split("/") if repository else []
    paths = ["/".join([registry, *parts[:count]]) for count in range(len(parts), 0, -1)]
    for key in (*paths, *_keys(registry)):
        if auths.get(key):
            return auths[key]
    names = set(_keys(registry))
    for key, entry in auths.items():
        # Older logins were stored under a URL.
        if entry and key.partition("://")[2].partition("/")[0] in names:
            return entry
    return None


def _from_entry(entry: object, registry: str, source: str) -> Credential | None:
    if not isinstance(entry, dict):
        raise _malformed(source, f"the entry of {registry} must be a JSON object")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = binascii.a2b_base64(str(entry["auth"])).decode()
        except ValueError:
            raise _malformed(source, f"the 'auth' of {registry} is not base64") from None
        # Docker pads with NUL characters, at both ends.
        username, colon, password = decoded.strip("\0").partition(":")
        if not colon:
            raise _malformed(source, f"the 'auth' of {registry} is not user:password in base64")
    identity_token, registry_token = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    credential = Credential(username, password, identity_token, registry_token)
    return credential if credential.secrets else None


def _malformed(source: str, why: str) -> CredentialError:
    return CredentialError(f"{source} is malformed: {why}", hint=f"repair {source}, or run: docker login")
