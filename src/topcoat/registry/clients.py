"""One client for each registry, shared by all its users."""

from __future__ import annotations

import threading
import weakref

from topcoat.registry.client import RegistryClient
from topcoat.registry.credentials import Keyring


class Clients:
    """Returns the client of a registry, the same one at every call. Threads may share it."""

    def __init__(self, *, keyring: Keyring | None = None) -> None:
        """Prepare; *keyring* holds the credentials, this machine's by default."""
        self._keyring = keyring or Keyring()
        self._lock = threading.Lock()
        self._clients: dict[str, RegistryClient] = {}
        # An owner of this object seldom has a moment to close it.
        weakref.finalize(self, _close, self._clients)

    def __call__(self, registry: str) -> RegistryClient:
        """Return the client of *registry* (``host[:port]``)."""
        with self._lock:
            if registry not in self._clients:
                self._clients[registry] = RegistryClient(registry, keyring=self._keyring)
            return self._clients[registry]

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            _close(self._clients)


def _close(clients: dict[str, RegistryClient]) -> None:
    for client in clients.values():
        client.close()
    clients.clear()
