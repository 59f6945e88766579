"""Credentials from where ``docker login`` and ``podman login`` store them.

``REGISTRY_AUTH_FILE`` counts alone if it is set. Else in Docker's order: the variable ``DOCKER_AUTH_CONFIG``, then
``config.json`` (in ``DOCKER_CONFIG`` or ``~/.docker``), and in each of them ``credHelpers`` of the host,
``credsStore``, ``auths``. Then Podman's ``auth.json``. Each file is read only if those before it have no credential, so
a broken one does not matter before. A helper is a program ``docker-credential-NAME`` that reads the host from its input
and prints a JSON object.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from topcoat.errors import CredentialError
from topcoat.foreign_text import parse_json
from topcoat.notices import notice, notice_if_slow
from topcoat.registry.login_files import (
    Credential,
    MalformedSource,
    credential_of,
    login_entry,
    login_keys,
    login_sources,
    read_logins,
    section,
)

if TYPE_CHECKING:
    import subprocess

__all__ = ["Credential", "Keyring", "login_for", "login_key"]

_NOT_FOUND = "credentials not found"
_HELPER_TIMEOUT_S = 30.0
_MAX_HELPER_OUTPUT = 1 << 20
# How often a helper is looked at that has answered, but whose output a child keeps open.
_HELPER_POLL_S = 0.1
# A helper that did not finish is not run again for so long, in the whole process.
_HUNG_S = 300.0
_hung: dict[tuple[str, str], tuple[float, CredentialError]] = {}


def login_for(registry: str, repository: str = "") -> Credential | None:
    """Return the current credential for *registry* only; arguments and errors as in `Keyring.get`."""
    return Keyring().get(registry, repository)


def login_key(registry: str) -> str:
    """Return the name under which Docker stores the login of *registry*: a URL for Docker Hub."""
    return login_keys(registry)[0]


class Keyring:
    """The credentials of this machine, read on first use and cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By the name of its source; the error of a file that cannot be used.
        self._configs: dict[str, dict[str, object] | CredentialError] = {}
        self._helper_locks: dict[tuple[str, str], threading.Lock] = {}
        self._helper_results: dict[tuple[str, str], Credential | CredentialError | None] = {}

    def get(self, registry: str, repository: str = "") -> Credential | None:
        """Return the credential for *registry* (``host[:port]``), None if none is stored.

        Args:
            registry: as in an image reference.
            repository: Podman's files may hold credentials for a part of a registry.

        Raises:
            CredentialError: a helper hangs or fails; or no source has a credential, and one is malformed.
        """
        stored = self._stored(registry, repository)
        if "ecr" not in registry:
            return stored
        from topcoat.registry.ecr import login

        return login(registry, stored)

    def _stored(self, registry: str, repository: str) -> Credential | None:
        broken: CredentialError | None = None
        for source in login_sources():
            try:
                config = self._config(source)
                credential = None
                helper, host = _helper(config, registry)
                if helper:
                    credential = self._ask(helper, host, source)
                if credential is None:
                    entry = login_entry(section(config, "auths", source), registry, repository)
                    credential = credential_of(entry, registry, source) if entry else None
            except MalformedSource as error:
                broken = broken or error
                continue
            if credential is not None:
                if broken:
                    notice(f"{broken}; the login of {source} is used")
                return credential
        if broken:
            raise broken
        return None

    def _config(self, source: str) -> dict[str, object]:
        with self._lock:
            if source not in self._configs:
                try:
                    self._configs[source] = read_logins(source)
                except CredentialError as error:
                    self._configs[source] = error
            config = self._configs[source]
        if isinstance(config, CredentialError):
            raise config
        return config

    def _ask(self, helper: str, host: str, source: str) -> Credential | None:
        # Threads that need the same credential wait for one run of the helper; other hosts do not wait.
        key = (helper, host)
        with self._lock:
            lock = self._helper_locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._helper_results:
                try:
                    self._helper_results[key] = _run_helper(helper, host, source)
                except CredentialError as error:
                    self._helper_results[key] = error
            result = self._helper_results[key]
        if isinstance(result, CredentialError):
            raise result
        return result


def _run_helper(name: str, host: str, source: str) -> Credential | None:
    """Run the helper *name*, which *source* names, and return its credential for *host*, None if it has none."""
    import shutil
    import subprocess

    program = f"docker-credential-{name}"
    since, hung = _hung.get((program, host), (0.0, None))
    if hung and time.monotonic() - since < _HUNG_S:
        raise hung
    pipe = subprocess.PIPE
    try:
        with (
            notice_if_slow(f"waiting for the credential helper {program} for {host}"),
            subprocess.Popen([program, "get"], stdin=pipe, stdout=pipe, stderr=pipe) as process,
        ):
            output = _communicate(process, host.encode())
    except OSError as error:
        if shutil.which(program):
            raise CredentialError(f"cannot run the credential helper {program}: {error.strerror}") from None
        notice(
            f"{source} names the credential helper {program}, which is not installed: skipped (install it, or remove "
            f"{name!r} from {source} and run: docker login {host})"
        )
        return None
    if output is None:
        hung = CredentialError(
            f"the credential helper {program} did not finish for {host} within {_HELPER_TIMEOUT_S:g} s",
            hint=f"see where it hangs: echo {host} | {program} get",
        )
        _hung[program, host] = (time.monotonic(), hung)
        raise hung
    stdout, stderr = output
    if process.returncode:
        # Helpers print their error on stdout.
        if _NOT_FOUND.encode() in (stdout or stderr).lower():
            return None
        from topcoat.registry.masked_output import masked_output

        why = masked_output(stdout or stderr) or f"exit code {process.returncode}"
        raise CredentialError(
            f"the credential helper {program} failed for {host}: {why}",
            hint=f"run: docker login {host}, or see what it prints: echo {host} | {program} get",
        )
    try:
        document = parse_json(stdout)
        username, secret = str(document.get("Username") or ""), str(document.get("Secret") or "")
    except (ValueError, AttributeError):
        raise CredentialError(f"the credential helper {program} printed no JSON object for {host}") from None
    if not secret:
        return None
    return Credential(identity_token=secret) if username == "<token>" else Credential(username, secret)


def _communicate(process: subprocess.Popen[bytes], data: bytes) -> tuple[bytes, bytes] | None:
    """Return the output of *process*, None if it does not finish in time or prints too much, when it is killed.

    What it printed counts as soon as it has ended, even if a child of it keeps the pipes open.
    """
    import subprocess

    deadline = time.monotonic() + _HELPER_TIMEOUT_S
    left: bytes | None = data
    while True:
        has_ended = process.poll() is not None
        try:
            return process.communicate(left, timeout=_HELPER_POLL_S)
        except subprocess.TimeoutExpired as waiting:
            output = waiting.output or b"", waiting.stderr or b""
            if has_ended:
                return output
        except BaseException:
            # Without this, leaving the ``with`` block of the process would wait for its end.
            process.kill()
            raise
        left = None
        if time.monotonic() > deadline or sum(map(len, output)) > _MAX_HELPER_OUTPUT:
            process.kill()
            return None


def _helper(config: dict[str, object], registry: str) -> tuple[str, str]:
    """Return the helper for *registry*, empty for none, and the key that it stores the credential under."""
    keys, helpers = login_keys(registry), config.get("credHelpers")
    for key in keys:
        # A helper of the host replaces the store; an empty one turns it off.
        if isinstance(helpers, dict) and key in helpers:
            return str(helpers[key] or ""), keys[0]
    return str(config.get("credsStore") or ""), keys[0]
