"""The registries and the engine that builds use, connected when they are first needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from topcoat.bases.base import BaseSource
from topcoat.destinations.base import ImageDestination
from topcoat.oci.reference import Reference
from topcoat.registry.clients import Clients

if TYPE_CHECKING:
    from docker import DockerClient

    from topcoat.destinations.registry import RegistryDestination


class Place(NamedTuple):
    """A source of bases, and a destination of images."""

    source: BaseSource
    destination: ImageDestination


class Connections:
    """Connects to registries and to one container engine.

    Attributes:
        registries: the clients of registries, by host.
        has_given_client: whether the engine was chosen by the caller.
    """

    def __init__(self, docker_client: DockerClient | None = None) -> None:
        """Use the engine of *docker_client*; by default the engine of the docker command line."""
        self.registries = Clients()
        self.has_given_client = docker_client is not None
        self._client = docker_client

    def engine_client(self) -> DockerClient:
        """Return the client of the engine.

        Raises:
            DaemonUnavailable: no engine answers.
            MissingDependency: the docker package is not installed.
        """
        if self._client is None:
            from topcoat.engines.engine import connect

            self._client = connect()
        return self._client

    def close(self) -> None:
        """Close the connection to the engine, unless its client was given."""
        if self._client is not None and not self.has_given_client:
            self._client.close()
            self._client = None

    def place(self, repository: Reference | None) -> Place:
        """Return *repository* as a place, or the engine for None."""
        if repository is None:
            from topcoat.bases.engine_bases import EngineBases
            from topcoat.destinations.engine import EngineDestination

            client = self.engine_client()
            return Place(EngineBases(client, self.registries), EngineDestination(client))
        from topcoat.bases.registry_bases import RegistryBases

        source = RegistryBases(self.registries, self._open_engine)
        return Place(source, self.registry(repository))

    def registry(self, repository: Reference) -> RegistryDestination:
        """Return *repository* as a destination."""
        from topcoat.destinations.registry import RegistryDestination

        return RegistryDestination(repository, self.registries, engine=self._open_engine)

    def _open_engine(self) -> AbstractContextManager[DockerClient]:
        if self._client is not None:
            return nullcontext(self._client)
        from topcoat.bases.engine_base import open_engine

        return open_engine()
