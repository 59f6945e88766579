"""Let an engine pull an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.engines.logins import auth_config
from topcoat.errors import DaemonError
from topcoat.foreign_text import escaped
from topcoat.transfers import count_layers

if TYPE_CHECKING:
    from docker import DockerClient


def pull(client: DockerClient, image: str, *, login_for: str = "", platform: str | None = None) -> None:
    """Pull *image* with the login for it, or for *login_for*; wait until the engine has it.

    The engine reports most failures within its stream, after the status 200. ``client.images.pull`` drops them.

    Raises:
        DaemonError: the pull fails.
        CredentialError: a credential store fails.
    """
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    login = auth_config(login_for or image)
    lines = client.api.pull(
        repository, tag=tag or "latest", stream=True, decode=True, auth_config=login, platform=platform
    )
    # To the end, so that the connection is closed.
    errors = [str(line["error"]) for line in count_layers("pulling", lines) if line.get("error")]
    if errors:
        raise DaemonError(
            f"the container engine cannot pull {image}: {escaped(errors[0])}",
            hint=f"the engine pulls by itself, with its own network and proxy; to see more: docker pull {image}",
        )
