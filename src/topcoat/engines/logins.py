"""Give an engine the logins that it needs to pull, push and build.

docker-py reads Docker's ``config.json`` only. `login_for` also reads ``DOCKER_AUTH_CONFIG`` and Podman's ``auth.json``,
so an engine gets the same login as topcoat itself uses for that registry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from topcoat.errors import InvalidReference
from topcoat.oci.reference import Reference
from topcoat.registry.client import RegistryClient
from topcoat.registry.credentials import login_for, login_key

if TYPE_CHECKING:
    from docker import DockerClient


def auth_config(image: str) -> dict[str, str]:
    """Return the login for the registry of *image* as docker-py's ``auth_config``, empty if none is stored.

    Empty, because for None docker-py reads its own configuration. Raise ``CredentialError`` if a credential
    store fails, and ``RegistryError`` if the login may not go where the registry sends it.
    """
    reference = Reference.parse(image)
    login = login_for(reference.registry, reference.repository)
    if login is None:
        return {}
    with RegistryClient(reference.registry) as client:
        # An engine sends a login to whatever token service the registry names.
        client.check_login()
    fields = {
        "username": login.username,
        "password": login.password,
        "identitytoken": login.identity_token,
        "registrytoken": login.registry_token,
        # Docker's containerd store sends a login to this host only.
        "serveraddress": login_key(reference.registry),
    }
    return {name: value for name, value in fields.items() if value}


@contextmanager
def build_logins(client: DockerClient, images: Collection[str]) -> Iterator[None]:
    """Let builds that *client* starts in this context have the logins for *images*, and no others.

    ``api.build`` has no ``auth_config``: it sends all logins that docker-py has read, so these are replaced. They are
    kept if *images* is empty: then the registries of the build are unknown. Errors are those of `auth_config`.
    """
    logins = {}
    for image in images:
        try:
            login = {} if image.startswith("sha256:") else auth_config(image)
        except InvalidReference:  # an id, which is not pulled
            continue
        if login:
            logins[login["serveraddress"]] = login
    api: Any = client.api
    own = api._auth_configs
    api._auth_configs = _BuildLogins(logins) if images else own
    try:
        yield
    finally:
        api._auth_configs = own


class _BuildLogins:
    """The part of docker-py's ``AuthConfig`` that a build uses; if *is_empty*, it would read its own configuration."""

    is_empty = False

    def __init__(self, logins: dict[str, dict[str, str]]) -> None:
        self._logins = logins

    def get_all_credentials(self) -> dict[str, dict[str, str]]:
        """Return the logins by the names under which Docker stores them."""
        return dict(self._logins)
