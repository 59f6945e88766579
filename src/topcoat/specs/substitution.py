"""Macros: placeholders in a role that the scheduler substitutes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from topcoat.errors import InvalidApp

if TYPE_CHECKING:
    from topcoat.specs.app import Role


class macros:  # noqa: N801  (TorchX's name)
    """Name the macros, for a role's ``args``, ``env`` values and ``metadata``.

    ``img_root``: where the image is mounted or unpacked. ``app_id``: the application id from the scheduler.
    ``replica_id``: number of the replica within its role; a restart keeps it. ``rank0_env``: the *name* of the
    environment variable with the address of the first role's first replica, so a shell reads it as
    ``$${${rank0_env}}``. As in ``string.Template``, ``$$`` is one dollar sign.
    """

    img_root = "${img_root}"
    app_id = "${app_id}"
    replica_id = "${replica_id}"
    rank0_env = "${rank0_env}"
    base_img_root = "${base_img_root}"  # of TorchX 0.7; no scheduler has a base image beside the image

    @dataclass
    class Values:
        """Hold the values of one replica's macros."""

        img_root: str
        app_id: str
        replica_id: str
        rank0_env: str
        base_img_root: str = "DEPRECATED"

        def apply(self, role: Role) -> Role:
            """Return a deep copy of *role* with the macros in ``args``, ``env`` and ``metadata`` substituted."""
            role = copy.deepcopy(role)
            role.args = [self.substitute(arg) for arg in role.args]
            role.env = {name: self.substitute(value) for name, value in role.env.items()}
            role.metadata = self._substitute_nested(role.metadata)
            return role

        def substitute(self, arg: str) -> str:
            """Return *arg* with macros substituted and ``$$`` replaced by ``$``; other ``$names`` stay."""
            from string import Template

            return Template(arg).safe_substitute(self.to_dict())

        def to_dict(self) -> dict[str, Any]:
            """Return macro name to value."""
            return asdict(self)

        def _substitute_nested(self, value: Any) -> Any:
            if isinstance(value, str):
                return self.substitute(value)
            if isinstance(value, dict):
                return {key: self._substitute_nested(item) for key, item in value.items()}
            if isinstance(value, list):
                return [self._substitute_nested(item) for item in value]
            return value


def check_macros(role: Role) -> None:
    """Raise ``InvalidApp`` if *role* has a macro in a field where schedulers do not substitute macros."""
    every_macro = (macros.img_root, macros.app_id, macros.replica_id, macros.rank0_env, macros.base_img_root)
    for place, text in _fields_without_macros(role):
        macro = next((macro for macro in every_macro if macro in text), None)
        if macro is not None:
            raise InvalidApp(
                f"the macro {macro} in the {place} of role {role.name!r} is not substituted: {text!r}",
                hint="macros work in args, in the values of env and in metadata",
            )


def _fields_without_macros(role: Role) -> Iterable[tuple[str, str]]:
    yield "name", role.name
    yield "image", role.image
    yield "entrypoint", role.entrypoint
    yield from (("env names", name) for name in role.env)
    yield from (("port_map", name) for name in role.port_map)
    for mount in role.mounts:
        yield "mounts", str(mount)
    if role.workspace is not None:
        yield "workspace", str(role.workspace)
