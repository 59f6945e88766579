"""Upload sessions that are opened before they are needed."""

from __future__ import annotations

import threading

from topcoat.errors import RegistryError
from topcoat.registry.client import RegistryClient
from topcoat.tasks import TaskScope


class PreopenedSessions:
    """Upload sessions of one repository, opened in the background."""

    def __init__(self, client: RegistryClient, repository: str, count: int, tasks: TaskScope) -> None:
        self._client = client
        self._repository = repository
        self._opening = [tasks.start(lambda: client.start_upload(repository)) for _ in range(count)]
        self._lock = threading.Lock()

    def take(self) -> str | None:
        """Return the location of a session, None if all are taken; raise what opening it raised."""
        with self._lock:
            task = self._opening.pop() if self._opening else None
        return task.result() if task else None

    def cancel(self) -> None:
        """Cancel the sessions that were not taken."""
        while self._opening:
            try:
                self._client.cancel_upload(self._repository, self._opening.pop().result())
            except RegistryError:
                continue
