"""What a role's job runs from once its workspace is delivered, and the plan to get there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from topcoat.specs.mounts import BindMount, DeviceMount, VolumeMount

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Delivered(NamedTuple):
    """What a role gets from the delivery of its workspace.

    Attributes:
        image: what the role's image becomes: a reference, an image id or a directory; empty to leave it alone.
        env: variables for the role; those that it has itself win.
        pythonpath: directories that go before the role's ``PYTHONPATH``.
        mounts: to add to the role's.
        image_pythonpath: ``PYTHONPATH`` of the image, with *pythonpath* in it; it goes behind the role's, and a role
            without one is left alone. Empty if the image sets none.
        entrypoint: the image's ENTRYPOINT; empty if it has none, or if that is not known.
    """

    image: str = ""
    env: Mapping[str, str] = _NOTHING
    pythonpath: tuple[str, ...] = ()
    mounts: tuple[BindMount | VolumeMount | DeviceMount, ...] = ()
    image_pythonpath: str = ""
    entrypoint: tuple[str, ...] = ()


class WorkspacePlan(Protocol):
    """What has to be done before the jobs of an application can run."""

    def expected(self) -> Mapping[str, Delivered]:
        """Return what each role will get, by role name. An image in a registry has its tag, and no digest yet."""

    def carry_out(self) -> Mapping[str, Delivered]:
        """Build, push, copy or load, and return what each role got. Equal deliveries are carried out once.

        Raises:
            WorkspaceChanged: the files are no longer what was planned.
        """

    def lines(self) -> list[str]:
        """Describe the plan, a line for each delivery."""
