"""Base images for comparison: layers of plain data, for no container has to start."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.against_buildkit.names import NAMES, TEXT
from tests.components.images import Image, Pushed
from tests.components.registries import Registry
from tests.components.rootfs import Layer

MTIME = 1_500_000_000


class Member(NamedTuple):
    """One member of a base's layer; *data* is content or a link's target."""

    name: str
    kind: bytes = tarfile.DIRTYPE
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    data: bytes = b""


class BaseCase(NamedTuple):
    """A base image: what it is called, its layers, and the runtime part of its config."""

    name: str
    layers: tuple[tuple[Member, ...], ...]
    config: Mapping[str, Any]

    @property
    def engines_agree(self) -> bool:
        """Tell whether all engines unpack the same.

        The classic store of Docker resets a directory that a layer implies without holding it; containerd's leaves it.
        """
        seen: set[str] = set()
        for layer in self.layers:
            names = {member.name for member in layer}
            above = {name[:at] for name in names for at, letter in enumerate(name) if letter == "/"}
            if (above - names) & seen:
                return False
            seen |= names
        return True


def directory(name: str, mode: int = 0o755, uid: int = 0, gid: int = -1) -> Member:
    return Member(name, mode=mode, uid=uid, gid=uid if gid < 0 else gid)


def file(name: str, data: bytes = b"of the base", mode: int = 0o644, uid: int = 0) -> Member:
    return Member(name, tarfile.REGTYPE, mode, uid, uid, data)


def link(name: str, target: str) -> Member:
    return Member(name, tarfile.SYMTYPE, 0o777, data=target.encode())


def hard_link(name: str, target: str) -> Member:
    return Member(name, tarfile.LNKTYPE, 0o644, data=target.encode())


def whiteout(name: str) -> Member:
    above, _, last = name.rpartition("/")
    return file(f"{above}/.wh.{last}" if above else f".wh.{last}", b"")


def opaque(name: str) -> Member:
    return file(f"{name}/.wh..wh..opq", b"")


def _case(name: str, workdir: str | None, *layers: Sequence[Member], **config: Any) -> BaseCase:
    settings = {**({"WorkingDir": workdir} if workdir is not None else {}), **config}
    return BaseCase(name, tuple(tuple(layer) for layer in layers), settings)


_MERGED = [
    directory("usr"), directory("usr/bin"), file("usr/bin/sh", mode=0o755), directory("usr/lib"),
    link("bin", "usr/bin"), link("lib", "usr/lib"), directory("etc"), file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    directory("tmp", 0o1777), directory("root", 0o700),
]  # fmt: skip

FIXED: tuple[BaseCase, ...] = (
    _case("a directory of root", "/app", [directory("app")]),
    _case("a directory of root that holds files", "/app", [directory("app"), file("app/README"), file("app/kept")]),
    _case(
        "a directory of a user",
        "/home/me/code",
        [directory("home"), directory("home/me", 0o700, 1000), directory("home/me/code", 0o750, 1000)],
        User="1000:1000",
    ),
    _case("a link, absolute", "/srv/app", [directory("data", 0o711, 5), link("srv/app", "/data/real")],
          [directory("data/real", 0o770, 7)]),
    _case("a link, relative", "/srv/app", [directory("srv"), directory("data"), directory("data/real", 0o2755, 3)],
          [link("srv/app", "../data/real")]),
    _case("a chain of links", "/a/b", [directory("a"), link("a/b", "/c"), link("c", "d/../e"), directory("d", 0o700),
          directory("e", 0o755, 4)]),
    _case("a link above", "/current/app", [directory("v1", 0o750, 9), directory("v1/app", 0o700, 9)],
          [link("current", "v1")]),
    _case("a link above, and a directory to be made", "/current/new/app", [directory("v1", 0o750, 9)],
          [link("current", "v1")]),
    _case("a link that climbs above the root", "/x/app", [directory("x"), link("x/app", "../../../y"),
          directory("y", 0o701, 2)]),
    _case("a link to nothing", "/app", [link("app", "missing/deeper"), directory("etc")]),
    _case("a link to the root", "/app", [link("app", "/"), directory("etc", 0o700)]),
    _case("links in a circle", "/a", [link("a", "b"), link("b", "a")]),
    _case("a link to a file", "/a", [link("a", "f"), file("f")]),
    _case("a file for a directory", "/f", [file("f")]),
    _case("a file above the directory", "/f/g", [file("f")]),
    _case("no directory named", None, _MERGED),
    _case("the root named", "/", _MERGED, User="nobody"),
    _case("links that were merged", "/lib/app", _MERGED),
    _case("a directory below a link to /usr", "/bin", _MERGED),
    _case("a group's directory", "/shared/job", [directory("shared", 0o2775, 0, 50),
          directory("shared/job", 0o2775, 0, 50)]),
    _case("below a group's directory, to be made", "/shared/new/deep", [directory("shared", 0o2775, 0, 50)]),
    _case("below a sticky directory", "/tmp/x", [directory("tmp", 0o1777)], [directory("tmp/x", 0o1777, 1000)]),
    _case("below a sticky directory, to be made", "/tmp/x", [directory("tmp", 0o1777)]),
    _case("not there", "/not/there/yet", [directory("etc")], User="1000"),
    _case("written in a roundabout way", "/app/./x//../y/", [directory("app"), directory("app/y", 0o700, 12)]),
    _case("nothing but names of files", "/srv/app", [file("srv/app/README"), file("srv/app/x/y/z")]),
    _case("deleted and made again", "/app", [directory("app", 0o700, 5), file("app/kept")], [whiteout("app")],
          [directory("app", 0o750, 6), file("app/README")]),
    _case("deleted and not made again", "/app", [directory("app", 0o700, 5), file("app/kept")], [whiteout("app")]),
    _case("emptied", "/app/x", [directory("app", 0o700, 5), directory("app/x", 0o711, 5), file("app/x/README")],
          [directory("app", 0o701, 8), opaque("app")]),
    _case("changed by a later layer", "/app", [directory("app", 0o700, 5)], [file("app/kept")],
          [directory("app", 0o1777, 0)], [file("etc/late")]),
    _case("a file replaced by a directory", "/app", [file("app")], [directory("app", 0o710, 4), file("app/kept")]),
    _case("a directory replaced by a link", "/app", [directory("app", 0o700, 5), file("app/kept")],
          [directory("new", 0o711, 4), link("app", "new")]),
    _case("one file under two names", "/app", [directory("app"), file("app/kept"),
          hard_link("app/README", "app/kept")]),
    _case("a name beyond ASCII", "/dat\u00e4/\u65e5 \u672c", [directory("dat\u00e4", 0o711, 1),
          directory("dat\u00e4/\u65e5 \u672c", 0o700, 1)]),
    _case("numbers beyond ustar", "/app", [directory("app", 0o755, 3_000_000_000, 2_500_000)]),
    _case("not a single layer", "/app"),
)  # fmt: skip


def choose_base(chance: random.Random) -> BaseCase:
    """Return one of the fixed bases, or one whose files and directories lie where the workspace's will."""
    return chance.choice(FIXED) if chance.random() < 0.7 else overlapping(chance)


def overlapping(chance: random.Random) -> BaseCase:
    """Return a base of random layers with the names that workspaces have."""
    place = chance.choice(["app", "app", "", "srv/app"])
    gentle = chance.random() < 0.6
    layers: list[tuple[Member, ...]] = []
    for _ in range(chance.randint(1, 3)):
        members: dict[str, Member] = {}
        if place and not layers:
            members[place] = directory(place, chance.choice([0o755, 0o700, 0o2775]), chance.choice([0, 1000]))
        for _ in range(chance.randint(1, 8)):
            member = _random_member(chance, place, gentle)
            if _fits(member, members, layers):
                members[member.name] = member
        layers.append(tuple(members[name] for name in sorted(members)))
    return BaseCase("overlapping", tuple(layers), {"WorkingDir": f"/{place}"} if place else {})


def _random_member(chance: random.Random, place: str, gentle: bool) -> Member:
    depth = chance.choice([1, 1, 1, 2, 2, 3])
    inner = [chance.choice(NAMES) for _ in range(depth)]
    name = "/".join([*filter(None, [place]), *inner])
    owner = chance.choice([0, 0, 33])
    if gentle:
        # What a workspace has as files are files here too, so that most builds succeed.
        if inner[-1] in TEXT:
            return file(name, mode=chance.choice([0o600, 0o755]), uid=owner)
        return directory(name, chance.choice([0o700, 0o1777, 0o2755]), owner)
    kind = chance.randrange(6)
    if kind < 2:
        return file(name, mode=chance.choice([0o600, 0o4755]), uid=owner)
    if kind < 4:
        return directory(name, chance.choice([0o700, 0o1777]), owner)
    return link(name, chance.choice([*NAMES[:6], "../" + chance.choice(NAMES), "/srv", "/missing/x"]))


def _fits(member: Member, members: Mapping[str, Member], below: Sequence[Sequence[Member]]) -> bool:
    """Tell whether a layer can hold *member* too: each path once, and nothing inside of what is no directory."""
    name, everything = member.name, [*members.values(), *(member for layer in below for member in layer)]
    outside = {member.name for member in everything if member.kind != tarfile.DIRTYPE}
    inside = any(other.startswith(f"{name}/") for other in members) and member.kind != tarfile.DIRTYPE
    return name not in members and not inside and not any(name.startswith(f"{path}/") for path in outside)


_pushed: dict[str, Pushed] = {}


def push_base(case: BaseCase, registry: Registry, scratch: Path, *, flavour: Any = "oci") -> Pushed:
    """Push a base, once for the same layers and config."""
    key = hashlib.sha256(repr((case.layers, json.dumps(case.config), registry.host, flavour)).encode()).hexdigest()
    if key not in _pushed:
        layers = tuple(_layer(layer, scratch) for layer in case.layers)
        image = Image("base", layers, case.config)
        _pushed[key] = image.push(registry, registry.unique("base"), "1", flavour=flavour)
    return _pushed[key]


def _layer(members: Sequence[Member], scratch: Path) -> Layer:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, mode, uid, gid, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, MTIME
            if kind == tarfile.REGTYPE:
                info.size = len(data)
            else:
                info.linkname = data.decode()
            tar.addfile(info, io.BytesIO(data))
    raw = packed.getvalue()
    stored = gzip.compress(raw, mtime=0)
    digest = hashlib.sha256(stored).hexdigest()
    place = scratch / f"layer-{digest}"
    place.write_bytes(stored)
    return Layer(place, f"sha256:{digest}", len(stored), f"sha256:{hashlib.sha256(raw).hexdigest()}")
