"""Mounts: host directories, volumes and devices in a role's container."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from topcoat.errors import InvalidMount


class MountType(str, Enum):
    """List the values of ``type=``."""

    BIND = "bind"
    VOLUME = "volume"
    DEVICE = "device"


@dataclass
class BindMount:
    """Mount the host's *src_path* at *dst_path* in the container."""

    src_path: str
    dst_path: str
    read_only: bool = False


@dataclass
class VolumeMount:
    """Mount the named persistent volume *src* at *dst_path* in the container."""

    src: str
    dst_path: str
    read_only: bool = False


@dataclass
class DeviceMount:
    """Give the container the host's device *src_path* as *dst_path*.

    *permissions* is any of ``r`` (read), ``w`` (write) and ``m`` (create device nodes).
    """

    src_path: str
    dst_path: str
    permissions: str = "rwm"


Mount = BindMount | VolumeMount | DeviceMount

_ALIASES = {"source": "src", "destination": "dst", "target": "dst", "read_only": "readonly"}
_OPTIONS_OF = {
    MountType.BIND: {"type", "src", "dst", "readonly"},
    MountType.VOLUME: {"type", "src", "dst", "readonly"},
    MountType.DEVICE: {"type", "src", "dst", "perm"},
}
_BOOLS = {"": True, "true": True, "1": True, "false": False, "0": False}
_HINT = (
    "type=bind,src=<host path>,dst=<path>[,readonly] | type=volume,src=<name>,dst=<path>[,readonly] | "
    "type=device,src=/dev/<dev>[,dst=<path>][,perm=rwm]"
)


def parse_mounts(opts: list[str]) -> list[BindMount | VolumeMount | DeviceMount]:
    """Parse mount options, one ``key=value`` per item, into mounts.

    Each ``type=`` starts a new mount; an item may also hold a whole mount (``type=bind,src=/a,dst=/b``).
    ``source``, ``destination``/``target`` and ``read_only`` are accepted for ``src``, ``dst``, ``readonly``.
    ``~`` is expanded in the source of a bind mount. Raise ``InvalidMount`` for anything else.
    """
    groups: list[dict[str, str]] = []
    for item in _items(opts):
        name, _, value = item.partition("=")
        key = _ALIASES.get(name, name)
        if not any(key in options for options in _OPTIONS_OF.values()):
            raise InvalidMount(f"unknown mount option {name!r} in {_shown(opts)}", hint=_HINT)
        if key == "type":
            groups.append({})
        elif not groups:
            raise InvalidMount(f"a mount must begin with type=, not {item!r}, in {_shown(opts)}", hint=_HINT)
        groups[-1][key] = value
    return [_mount(group) for group in groups]


def _items(opts: Iterable[str]) -> Iterable[str]:
    for opt in opts:
        # A type contains no comma, so this comma separates the options of one mount.
        yield from opt.split(",") if opt.startswith("type=") else (opt,)


def _mount(group: dict[str, str]) -> Mount:
    shown = ",".join(f"{key}={value}" if value else key for key, value in group.items())
    try:
        kind = MountType(group["type"])
    except ValueError:
        kinds = ", ".join(kind.value for kind in MountType)
        raise InvalidMount(f"invalid mount type {group['type']!r} in {shown}: choose {kinds}", hint=_HINT) from None
    for key in group.keys() - _OPTIONS_OF[kind]:
        raise InvalidMount(f"invalid option {key!r} for a {kind.value} mount: {shown}", hint=_HINT)
    if not group.get("src"):
        raise InvalidMount(f"the mount {shown} has no src", hint=_HINT)
    src = group["src"]
    if kind is MountType.DEVICE:
        permissions = group.get("perm", "rwm")
        if not permissions or set(permissions) - set("rwm"):
            raise InvalidMount(f"invalid perm {permissions!r} in {shown}: combine r, w and m", hint=_HINT)
        return DeviceMount(src_path=src, dst_path=group.get("dst") or src, permissions=permissions)
    if not group.get("dst"):
        raise InvalidMount(f"the mount {shown} has no dst", hint=_HINT)
    read_only = _BOOLS.get(group["readonly"].lower()) if "readonly" in group else False
    if read_only is None:
        raise InvalidMount(f"invalid readonly {group['readonly']!r} in {shown}: choose true or false", hint=_HINT)
    if kind is MountType.VOLUME:
        return VolumeMount(src=src, dst_path=group["dst"], read_only=read_only)
    return BindMount(src_path=os.path.expanduser(src), dst_path=group["dst"], read_only=read_only)


def _shown(opts: Iterable[str]) -> str:
    return repr(",".join(opts))
