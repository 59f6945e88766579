"""Plans for the workspaces of an application, and how they change its roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from topcoat.scan.snapshot import Snapshot
from topcoat.specs import Role
from topcoat.specs.delivery import Delivered


class RoleDelivery(Protocol):
    """The delivery of one role's workspace: planned, and carried out later."""

    @property
    def expected(self) -> Delivered:
        """What the role will get."""

    def carry_out(self) -> Delivered:
        """Deliver, unless this was done before, and return what the role got.

        Raises:
            WorkspaceChanged: a file is no longer what was planned.
        """

    def describe(self) -> str:
        """Return the plan as one line of text."""


class RolePlans:
    """A `WorkspacePlan` of one delivery for each role; roles that expect the same share one delivery."""

    def __init__(self, deliveries: Mapping[str, RoleDelivery]) -> None:
        """Plan *deliveries*, by role name."""
        self._deliveries = deliveries
        distinct: list[RoleDelivery] = []
        for delivery in deliveries.values():
            if all(other.expected != delivery.expected for other in distinct):
                distinct.append(delivery)
        self._distinct = distinct

    def expected(self) -> dict[str, Delivered]:
        """Return what each role will get, by role name."""
        return {role: delivery.expected for role, delivery in self._deliveries.items()}

    def carry_out(self) -> dict[str, Delivered]:
        """Carry out each distinct delivery once; return what each role got, by role name."""
        results = [(delivery.expected, delivery.carry_out()) for delivery in self._distinct]
        return {
            role: next(result for expected, result in results if expected == delivery.expected)
            for role, delivery in self._deliveries.items()
        }

    def snapshots(self) -> list[tuple[str, Snapshot]]:
        """Return each workspace and what is shipped of it, for the distinct deliveries with ``shipped``."""
        return [shipped for delivery in self._distinct if (shipped := getattr(delivery, "shipped", None))]

    def lines(self) -> list[str]:
        """Describe the plan, a line for each distinct delivery."""
        return [delivery.describe() for delivery in self._distinct]


def plan_roles(roles: Iterable[Role], plan_role: Callable[[Role], RoleDelivery]) -> RolePlans:
    """Plan the roles that have a workspace with *plan_role*, and change them to what they will get."""
    deliveries = {}
    for role in roles:
        if role.workspace:
            deliveries[role.name] = delivery = plan_role(role)
            apply_to_role(role, delivery.expected)
    return RolePlans(deliveries)


def apply_images(roles: Iterable[Role], delivered: Mapping[str, Delivered]) -> None:
    """Make *roles* run the images that were *delivered* for them, by role name. The images now have digests."""
    for role in roles:
        if role.name in delivered and delivered[role.name].image:
            set_image(role, delivered[role.name].image)


def apply_to_role(role: Role, delivered: Delivered) -> None:
    """Change *role* to what was *delivered* for it."""
    if delivered.image:
        set_image(role, delivered.image)
    for name, value in delivered.env.items():
        role.env.setdefault(name, value)
    if delivered.pythonpath and ("PYTHONPATH" in role.env or not delivered.image_pythonpath):
        # On every scheduler the order is: code, the role's own, the image's.
        path = [*delivered.pythonpath, role.env.get("PYTHONPATH", ""), *delivered.image_pythonpath.split(":")]
        role.env["PYTHONPATH"] = ":".join(filter(None, dict.fromkeys(path)))
    role.mounts.extend(delivered.mounts)


def set_image(role: Role, image: str) -> None:
    """Make *role* run *image*: the one place where a role's image changes."""
    role.image = image
