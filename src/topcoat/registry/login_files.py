"""The files that hold logins: where they are, and the entry of a registry in them."""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterator
from typing import NamedTuple

from topcoat.errors import CredentialError
from topcoat.foreign_text import parse_json

_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io")


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


class MalformedSource(CredentialError):
    """A file or variable that cannot be read; another one may have the credential."""


_VARIABLE = "DOCKER_AUTH_CONFIG"


def login_sources() -> Iterator[str]:
    """Yield the variable, and the paths of the files, in the order in which they count."""
    environ, home = os.environ, os.path.expanduser("~")
    if environ.get("REGISTRY_AUTH_FILE"):
        yield environ["REGISTRY_AUTH_FILE"]
        return
    if environ.get(_VARIABLE, "").strip():
        yield _VARIABLE
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield os.path.join(runtime, "containers", "auth.json")
    elif hasattr(os, "getuid"):
        yield f"/run/containers/{os.getuid()}/auth.json"
    yield os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")


def read_logins(source: str) -> dict[str, object]:
    """Return the content of a source, empty if it does not exist; raise MalformedSource if it cannot be used."""
    if source == _VARIABLE:
        return _parse(os.environ.get(_VARIABLE, ""), source)
    try:
        with open(source, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MalformedSource(f"cannot read {source}: {why}", hint=f"check: ls -l {source}") from None
    return _parse(data, source) if data.strip() else {}


def _parse(text: str | bytes, source: str) -> dict[str, object]:
    try:
        document = parse_json(text)
    except ValueError as error:
        line = f" (line {error.lineno})" if hasattr(error, "lineno") else ""
        raise MalformedSource(
            f"{source} is not valid JSON{line}", hint=f"repair {source}, or log in again with: docker login"
        ) from None
    if not isinstance(document, dict):
        raise _malformed(source, "it must be a JSON object")
    return document


def section(config: dict[str, object], key: str, source: str) -> dict[str, object]:
    """Return an object in *config*, empty if it is missing."""
    section = config.get(key)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _malformed(source, f"{key!r} must be a JSON object")
    return section


def login_keys(registry: str) -> tuple[str, ...]:
    """Return the keys under which logins of *registry* are stored, Docker's own first."""
    return _HUB_KEYS if registry in _HUB_KEYS else (registry,)


def login_entry(auths: dict[str, object], registry: str, repository: str) -> object:
    """Return the entry for *repository*, or a part of it, or for *registry*; None without one."""
    parts = repository.split("/") if repository else []
    paths = ["/".join([registry, *parts[:count]]) for count in range(len(parts), 0, -1)]
    for key in (*paths, *login_keys(registry)):
        if auths.get(key):
            return auths[key]
    names = set(login_keys(registry))
    for key, entry in auths.items():
        # Older logins were stored under a URL, or with its path.
        host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
        if entry and host in names and ("://" in key or path.strip("/") in ("", "v1", "v2")):
            return entry
    return None


def credential_of(entry: object, registry: str, source: str) -> Credential | None:
    """Return the credential in an entry, None if it has no secret."""
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
    if any("\ud800" <= char <= "\udfff" for char in username + password):
        raise _malformed(source, f"the entry of {registry} has characters that cannot be encoded")
    identity_token, registry_token = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    credential = Credential(username, password, identity_token, registry_token)
    return credential if credential.secrets else None


def _malformed(source: str, why: str) -> MalformedSource:
    return MalformedSource(f"{source} is malformed: {why}", hint=f"repair {source}, or run: docker login")
