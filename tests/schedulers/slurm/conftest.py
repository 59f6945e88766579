"""What the tests of Slurm share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.ssh import LoginNode
from topcoat.schedulers.slurm.ssh import SshSite


@pytest.fixture
def site(login: LoginNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshSite]:
    """A login node over a real ssh connection."""
    login.use(monkeypatch)
    site = SshSite("login")
    yield site
    site.close()
