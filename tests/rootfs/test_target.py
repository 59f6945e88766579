"""Where a directory of an image really is, and the directories on the way there as the image has them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from topcoat.errors import InvalidImage
from topcoat.pack.layer import Directory
from topcoat.pack.tar import Ownership
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.rootfs.target import ResolvedTarget, resolve_target


class _Tree:
    """A base image as a dictionary of its paths."""

    def __init__(self, nodes: Mapping[str, ImageNode]) -> None:
        self._nodes = {path.encode(): node for path, node in nodes.items()}
        self.asked: list[bytes] = []

    def find(self, path: bytes) -> ImageNode | None:
        self.asked.append(path)
        for end in range(len(path)):
            if path[end : end + 1] == b"/":
                above = self._nodes.get(path[:end])
                assert above is None or above.kind in ("dir", "unknown"), f"{path!r} goes through {above}"
        return self._nodes.get(path)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        raise AssertionError("not reached")


def _dir(mode: int = 0o755, uid: int = 0, gid: int = 0) -> ImageNode:
    return ImageNode("dir", mode, uid, gid)


def _link(target: str) -> ImageNode:
    return ImageNode("link", 0o777, 0, 0, target.encode())


def _land(directory: str, owner: Ownership | None = None, **nodes: ImageNode) -> ResolvedTarget:
    tree = _Tree({path.replace("__", "/"): node for path, node in nodes.items()})
    return resolve_target(tree, directory.encode(), owner) if owner else resolve_target(tree, directory.encode())


def _paths(landing: ResolvedTarget) -> list[str]:
    assert landing.target == (landing.parents[-1].path if landing.parents else b"")
    return [parent.path.decode() for parent in landing.parents]


@pytest.mark.parametrize(
    ("directory", "parents"),
    [
        ("app", [Directory(b"app", 0o755)]),
        ("home/user", [Directory(b"home"), Directory(b"home/user", 0o700, Ownership(1000, 1001))]),
        ("tmp", [Directory(b"tmp", 0o1777)]),
        ("srv/team", [Directory(b"srv"), Directory(b"srv/team", 0o2775, Ownership(0, 50))]),
    ],
)
def test_directories_keep_the_attributes_of_the_base(directory: str, parents: list[Directory]) -> None:
    target = _land(
        directory,
        Ownership(7, 8),
        app=_dir(),
        home=_dir(),
        home__user=_dir(0o700, 1000, 1001),
        tmp=_dir(0o1777),
        srv=_dir(),
        srv__team=_dir(0o2775, 0, 50),
    )
    assert target == ResolvedTarget(directory.encode(), tuple(parents))


def test_new_directories_belong_to_the_owner_of_the_code() -> None:
    target = _land("srv/me/code", Ownership(1000, 2000), srv=_dir(0o711, 5, 6))
    assert target.parents == (
        Directory(b"srv", 0o711, Ownership(5, 6)),
        Directory(b"srv/me", 0o755, Ownership(1000, 2000)),
        Directory(b"srv/me/code", 0o755, Ownership(1000, 2000)),
    )
    assert _land("new").parents == (Directory(b"new", 0o755, Ownership(0, 0)),)


def test_new_directories_inherit_the_group_of_a_set_group_id_directory() -> None:
    shared = _dir(0o2775, 5, 50)
    made = [Directory(path, 0o2755, Ownership(0, 50)) for path in (b"shared/new", b"shared/new/deep")]
    assert _land("shared/new/deep", shared=shared).parents[1:] == tuple(made)
    assert _land("shared/new", Ownership(0, 0), shared=shared).parents[1] == made[0]._replace(owner=Ownership(0, 0))


def test_the_root_has_no_parents_and_needs_no_lookup() -> None:
    assert _land("") == ResolvedTarget(b"", ())


@pytest.mark.parametrize(
    ("directory", "target", "parents"),
    [
        ("abs", "data/code", ["data", "data/code"]),
        ("rel", "data/code", ["data", "data/code"]),
        ("chain", "data/code", ["data", "data/code"]),
        ("chain/in/it", "data/code/in/it", ["data", "data/code", "data/code/in", "data/code/in/it"]),
        ("data/up/data", "data", ["data"]),
        ("data/over/code", "data/code", ["data", "data/code"]),
        ("toroot", "", []),
        ("toroot/data", "data", ["data"]),
        ("dangling", "not/there", ["not", "not/there"]),
        ("dotted", "data/code", ["data", "data/code"]),
        ("escape", "data", ["data"]),
    ],
)
def test_links_of_the_base_are_followed(directory: str, target: str, parents: list[str]) -> None:
    resolved = _land(
        directory,
        data=_dir(),
        data__code=_dir(0o700),
        abs=_link("/data/code"),
        rel=_link("data/code"),
        chain=_link("./abs"),
        data__up=_link(".."),
        data__over=_link("../data/."),
        toroot=_link("/"),
        dangling=_link("/not/there"),
        dotted=_link(".//data/./code/"),
        escape=_link("../../../data"),
    )
    assert resolved.target.decode() == target
    assert _paths(resolved) == parents


def test_two_dots_in_a_link_remove_a_name_as_in_buildkit() -> None:
    # The kernel would go through the link b, and end in x/c.
    assert _land("a", a=_link("b/../c"), b=_link("x/y"), x=_dir(), x__y=_dir()).target == b"c"


def test_a_usr_merged_base_keeps_its_links() -> None:
    target = _land("bin/tools", bin=_link("usr/bin"), usr=_dir(), usr__bin=_dir())
    assert _paths(target) == ["usr", "usr/bin", "usr/bin/tools"]


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "/a"}, {"a": "a/x"}, {"a": "./b/c", "b": "a"}])
def test_cyclic_links_are_an_error(links: dict[str, str]) -> None:
    with pytest.raises(InvalidImage, match="too many links"):
        _land("a", **{name: _link(target) for name, target in links.items()})


@pytest.mark.parametrize("node", [ImageNode("file"), ImageNode("other"), _link("/file")])
def test_a_file_in_the_path_is_an_error(node: ImageNode) -> None:
    with pytest.raises(InvalidImage, match=r"/a/b/d cannot be a directory: /(a/b|file) of the base") as raised:
        _land("a/b/d", a=_dir(), a__b=node, file=ImageNode("file"))
    assert raised.value.hint
    assert "workspace_dir" in raised.value.hint


def test_an_unknown_directory_is_assumed_to_be_roots() -> None:
    target = _land("a/b/c", Ownership(5, 5), a=_dir(0o711, 1, 1), a__b=UNKNOWN, a__b__c=UNKNOWN)
    assert target.assumed == (b"a/b", b"a/b/c")
    assert target.parents[1:] == (Directory(b"a/b"), Directory(b"a/b/c"))


def test_an_unknown_directory_outside_the_resolved_path_is_not_assumed() -> None:
    assert _land("a/b", a=UNKNOWN, a__b=_link("/x")).assumed == ()
