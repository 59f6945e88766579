"""A workspace that does not fit over its base: what BuildKit refuses is refused, and what it takes is taken."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.against_buildkit.buildx import Buildx, Refused
from tests.components.registries import Registry
from tests.support.layers import image, tar
from tests.support.pushing import fresh, push
from topcoat.errors import InvalidImage, PathConflict
from topcoat.specs import Workspace

_BASE = (
    "dir app",
    "dir app/dir 0700 5:6",
    "file app/dir/kept = kept",
    "dir app/empty",
    "file app/file = old",
    "link app/todir -> dir",
    "link app/tofile -> file",
    "link app/dangling -> nowhere",
    "link way -> app/dir",
    "link loop -> pool",
    "link pool -> loop",
)
_NAMES = ("dir", "empty", "file", "todir", "tofile", "dangling")


@pytest.fixture(scope="module")
def base(registry: Registry, base_layers: Path) -> str:
    """An image with something of every kind in ``/app``."""
    return image(base_layers, tar(*_BASE)).push(registry, registry.unique("collisions"), "1").reference


def _workspace(root: Path, name: str, kind: str) -> Workspace:
    root.mkdir()
    path = root / name
    if kind == "dir":
        path.mkdir()
        (path / "inner").write_text("inner")
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path.write_text("new")
    (root / ".torchxignore").write_text("")
    return Workspace({str(root): ""})


@pytest.mark.parametrize(("name", "kind"), list(product(_NAMES, ["dir", "file", "link"])))
def test_what_takes_the_place_of_what(
    registry: Registry, buildx_today: Buildx, base: str, workspace_root: Path, name: str, kind: str
) -> None:
    workspace = _workspace(workspace_root / "w", name, kind)
    dockerfile = workspace_root / "Dockerfile"
    dockerfile.write_text(f"FROM {base}\nCOPY . /app/\n")
    built = buildx_today.build(dockerfile, workspace_root / "w")

    if isinstance(built, Refused):
        assert "non-directory" in built.words or "cannot replace" in built.words, built.words
        with pytest.raises(PathConflict, match=f"/app/{name}"):
            push(workspace, base, fresh(registry), workspace_dir="/app")
        return
    patched = buildx_today.export(push(workspace, base, fresh(registry), workspace_dir="/app").image)
    assert set(patched) == set(built.tree)
    for path in built.tree:
        assert (patched[path].kind, patched[path].content) == (built.tree[path].kind, built.tree[path].content), path


@pytest.mark.parametrize("place", ["/app/file", "/app/file/x", "/app/tofile", "/loop/x", "/loop"])
def test_a_target_below_a_file_or_in_a_circle_of_links_is_refused(
    registry: Registry, buildx_today: Buildx, base: str, workspace_root: Path, place: str
) -> None:
    workspace = _workspace(workspace_root / "w", "new", "file")
    dockerfile = workspace_root / "Dockerfile"
    dockerfile.write_text(f"FROM {base}\nCOPY . {place}/\n")
    assert isinstance(buildx_today.build(dockerfile, workspace_root / "w"), Refused)
    with pytest.raises(InvalidImage):
        push(workspace, base, fresh(registry), workspace_dir=place)


@pytest.mark.parametrize("place", ["/app/todir", "/way", "/way/new", "/app/dangling", "/app/empty/a/b"])
def test_links_of_the_target_are_followed_as_buildkit_does(
    registry: Registry, buildx_today: Buildx, base: str, workspace_root: Path, place: str
) -> None:
    workspace = _workspace(workspace_root / "w", "new", "file")
    dockerfile = workspace_root / "Dockerfile"
    dockerfile.write_text(f"FROM {base}\nCOPY --chown=7:8 . {place}/\n")
    built = buildx_today.build(dockerfile, workspace_root / "w")
    assert not isinstance(built, Refused), built.words
    patched = buildx_today.export(push(workspace, base, fresh(registry), workspace_dir=place, chown="7:8").image)
    assert set(patched) == set(built.tree)
    # The files that the workspace brings have other modes and dates by default, and are compared elsewhere.
    for path, there in built.tree.items():
        node = patched[path]
        assert (node.kind, node.uid, node.gid) == (there.kind, there.uid, there.gid), path
        assert node.mode == there.mode or there.kind != "dir", path
