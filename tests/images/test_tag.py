"""The tag of an image stands for its file system, its settings and how its layers are compressed: no more, no less."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import workspaces
from topcoat.bases.base import Base, BaseIndex, FoundBase
from topcoat.destinations.code_layers import CodeLayers
from topcoat.images.image_build import ImageBuild, PlatformImage
from topcoat.images.options import image_options
from topcoat.images.patch_plan import locate_in_images, plan_patch
from topcoat.images.tag import base_tag_inputs, built_tag, patch_tag
from topcoat.oci.compression import Compression
from topcoat.oci.config import ImageConfig
from topcoat.oci.descriptor import Descriptor
from topcoat.oci.digest import sha256_digest
from topcoat.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Index, Manifest
from topcoat.oci.patch import Changes
from topcoat.pack.layer import PackOptions
from topcoat.rootfs.nodes import UNKNOWN, ImageNode
from topcoat.scan.scanner import IMAGE_IGNORE_FILES, Scan, ScanOptions, scan
from topcoat.specs import Workspace
from topcoat.tasks import TaskScope

_OCI, _DOCKER = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
_MEDIA_TYPES = {
    "none": (_OCI, _DOCKER),
    "gzip": (f"{_OCI}+gzip", f"{_DOCKER}.gzip"),
    "zstd": (f"{_OCI}+zstd", f"{_DOCKER}.zstd"),
}
_DIFF_IDS = {name: sha256_digest(name.encode()) for name in "abc"}
# The file system of a base follows from its top layer.
_TREES: Mapping[str, Mapping[bytes, ImageNode]] = {
    _DIFF_IDS["b"]: {b"w": ImageNode("dir"), b"v": ImageNode("dir", 0o2711, 7, 8)},
    _DIFF_IDS["c"]: {b"w": ImageNode("link", link=b"v"), b"v": ImageNode("dir", 0o2711, 7, 8)},
}


class _Tree:
    def __init__(self, nodes: Mapping[bytes, ImageNode]) -> None:
        self._nodes = nodes

    def __enter__(self) -> _Tree:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find(self, path: bytes) -> ImageNode | None:
        return self._nodes.get(path)

    def below(self, directory: bytes) -> Mapping[bytes, ImageNode]:
        return {}


class _Source:
    """Looks into the bases of `_base`."""

    def find(self, name: str, platform: str, tasks: TaskScope) -> FoundBase:
        raise AssertionError("no base is looked up here")

    def open_tree(self, base: Base, max_bytes: int | None) -> _Tree:
        nodes = _TREES[base.config.diff_ids[-1]]
        return _Tree(nodes if max_bytes is None or max_bytes >= 200_000_000 else dict.fromkeys(nodes, UNKNOWN))


class _Case(NamedTuple):
    """One build: the fields of `_base` begin with ``base_``, the others are those of `_plan`."""

    workspace: str
    options: Mapping[str, Any]
    for_engine: bool
    base_name: str
    base_top: str
    base_compressions: tuple[str, str]
    base_flavour: int
    base_settings: Mapping[str, Any]
    base_platform: Mapping[str, str]
    base_history: list[object] | None
    base_engine_id: str


def _base(case: _Case) -> Base:
    diff_ids = [_DIFF_IDS["a"], _DIFF_IDS[case.base_top]]
    config: dict[str, Any] = {**case.base_platform, "config": dict(case.base_settings)}
    config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    if case.base_history is not None:
        config |= {"history": case.base_history, "created": "2020-02-02T00:00:00Z"}
    # An engine lists diff ids, and tells nothing of how it stores them.
    stored = ("none", "none") if case.base_engine_id else case.base_compressions
    layers = [
        Descriptor(_MEDIA_TYPES[compression][case.base_flavour], sha256_digest(f"{diff_id} {compression}".encode()), 9)
        for diff_id, compression in zip(diff_ids, stored, strict=True)
    ]
    media_type = (OCI_MANIFEST, DOCKER_MANIFEST)[case.base_flavour]
    manifest = Manifest(media_type, Descriptor("config", sha256_digest(b""), 1), tuple(layers))
    place = ("", "") if case.base_engine_id else ("registry.example.com", case.base_name)
    digest = "" if case.base_engine_id else sha256_digest(repr(manifest).encode())
    return Base(case.base_name, digest, manifest, ImageConfig(config), *place, case.base_engine_id)


_WORKSPACES = ("plain", "touched", "private", "executable", "edited", "with src", "with link")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """The workspaces by name: each differs from the plain one in one way."""
    made = {}
    for name in _WORKSPACES:
        root = tmp_path_factory.mktemp("w")
        made[name] = workspaces.write(root, {".torchxignore": "*.log\n", "a.py": "pass\n", "run.log": name})
        file = root / "a.py"
        if name == "edited":
            file.write_text("PASS\n")
        elif name == "with src":
            (root / "src").mkdir()
        elif name == "with link":
            (root / "b.py").symlink_to("a.py")
        file.chmod({"private": 0o600, "executable": 0o755}.get(name, 0o644))
        root.chmod(0o755)
        for path in (file, root / ".torchxignore", *([root / "src"] if name == "with src" else [])):
            os.utime(path, (10**9 + (name == "touched"),) * 2)
    return made


@pytest.fixture(scope="module")
def scans() -> dict[object, Scan]:
    """The scans that were made, by workspace and options."""
    return {}


@pytest.fixture(scope="module")
def layers() -> dict[str, str]:
    """The diff ids of the code layers that were packed."""
    return {}


def _plan(case: _Case, scanned: Scan) -> ImageBuild:
    options, base = image_options(case.options), _base(case)
    compression: Compression = "none" if case.for_engine else options.compression
    locations = locate_in_images(_Source(), base, options)
    return plan_patch(_Source(), scanned, base, locations, options, compression)


def _content(case: _Case, planned: ImageBuild, layers: dict[str, str]) -> str:
    """Return what the tag has to stand for, of the image as it is built."""
    (image,) = planned.images
    config = json.loads(image.patch([]).config)
    config["config"]["Labels"].pop("dev.topcoat.layers")
    run = {key: value for key, value in config["config"].items() if value}
    code = _code(planned, image, layers)
    platform = str(image.base.config.platform.normal)
    if case.for_engine:
        stored = ["none"]
    elif case.base_engine_id:
        stored = ["gzip", "gzip", image.pack.compression]
    else:
        stored = [*case.base_compressions, image.pack.compression]
    return json.dumps([config["rootfs"]["diff_ids"], code, run, platform, stored], sort_keys=True)


def _code(planned: ImageBuild, image: PlatformImage, layers: dict[str, str]) -> str:
    """Return the digest of the tar of all code, packed as one layer."""
    options = image.pack._replace(compression="none")
    key = f"{planned.scan.snapshot.digest} {id(planned.scan)} {options}"
    if key not in layers:
        code_layers = CodeLayers(planned.scan)
        (layer,) = code_layers.plan(options, 2)
        packed = code_layers.pack(layer, options)
        layers[key] = packed.layer.diff_id
        code_layers.release(layer, packed)
    return layers[key]


def _some(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


_OPTIONS = _some(
    workspace_dir=st.sampled_from(["/w", "/w/", "/v", "/v/new", "/new"]),
    chown=st.sampled_from(["0", "0:0", "5:6"]),
    modes=st.sampled_from(["portable", "exact"]),
    mtime=st.sampled_from(["content", "preserve"]),
    compression=st.sampled_from(["gzip", "zstd"]),
    pythonpath=st.booleans(),
    hot=st.booleans(),
    quiet=st.booleans(),
    rebuild=st.booleans(),
    base_scan_limit=st.sampled_from([0, 200, 256]),
    image_repo=st.sampled_from(["registry.example.com/a", "registry.example.com/b"]),
)
_SETTINGS = _some(
    WorkingDir=st.sampled_from(["/w", "/w/", "/v", ""]),
    Env=st.sampled_from([["PATH=/bin"], ["PATH=/bin", "PYTHONPATH=/x"], None]),
    User=st.sampled_from(["", "1000"]),
    Cmd=st.sampled_from([["sh"], None]),
    Labels=st.sampled_from([{"team": "blue"}, {}, None]),
)
_CASES = st.builds(
    _Case,
    workspace=st.sampled_from(_WORKSPACES),
    options=_OPTIONS,
    for_engine=st.booleans(),
    base_name=st.sampled_from(["python:3", "mirror.example.com/python@sha256:" + "1" * 64]),
    base_top=st.sampled_from("bc"),
    base_compressions=st.sampled_from([("gzip", "gzip"), ("gzip", "zstd"), ("zstd", "zstd"), ("none", "gzip")]),
    base_flavour=st.sampled_from([0, 1]),
    base_settings=_SETTINGS,
    base_platform=st.sampled_from(
        [
            {"os": "linux", "architecture": "amd64"},
            {"os": "linux", "architecture": "arm64"},
            {"os": "linux", "architecture": "arm64", "variant": "v8"},
        ]
    ),
    base_history=st.sampled_from([None, [], [{"created_by": "RUN true"}]]),
    base_engine_id=st.sampled_from(["", "sha256:" + "e" * 64]),
)


def _variants(first: _Case, second: _Case) -> list[_Case]:
    """Return *first*, and *first* with each field, each option and each setting of the base as it is in *second*."""
    cases = [first]
    for name in _Case._fields:
        values = getattr(first, name), getattr(second, name)
        if isinstance(values[0], dict) and name != "base_platform":
            replaced = [_with_key_of(*values, key) for key in values[0].keys() | values[1].keys()]
        else:
            replaced = [values[1]]
        cases += [first._replace(**{name: value}) for value in replaced]
    return cases


def _with_key_of(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> dict[str, Any]:
    other = {name: value for name, value in first.items() if name != key}
    return {**other, key: second[key]} if key in second else other


@settings(max_examples=150, deadline=None)
@given(first=_CASES, second=_CASES)
def test_tags_are_equal_if_and_only_if_the_images_are(
    trees: dict[str, Workspace], scans: dict[object, Scan], layers: dict[str, str], first: _Case, second: _Case
) -> None:
    contents, tags = [], []
    for case in _variants(first, second):
        options = image_options(case.options)
        key = (case.workspace, options.modes, options.mtimes)
        if key not in scans:
            scans[key] = scan(trees[case.workspace], ScanOptions(IMAGE_IGNORE_FILES, options.modes, options.mtimes))
        planned = _plan(case, scans[key])
        contents.append(_content(case, planned, layers))
        tags.append(planned.tag)
    for one, other in itertools.combinations(range(len(tags)), 2):
        assert (tags[one] == tags[other]) == (contents[one] == contents[other])


_CASE = _Case(
    workspace="plain",
    options={},
    for_engine=False,
    base_name="python:3",
    base_top="b",
    base_compressions=("zstd", "zstd"),
    base_flavour=0,
    base_settings={"WorkingDir": "/w"},
    base_platform={"os": "linux", "architecture": "amd64"},
    base_history=None,
    base_engine_id="",
)


@pytest.fixture
def scanned(trees: dict[str, Workspace]) -> Scan:
    return scan(trees["plain"], ScanOptions(IMAGE_IGNORE_FILES))


@pytest.mark.parametrize("compressions", [("gzip", "gzip"), ("gzip", "zstd"), ("zstd", "gzip"), ("zstd", "none")])
def test_tag_changes_when_a_layer_of_the_base_is_recompressed(scanned: Scan, compressions: tuple[str, str]) -> None:
    """The tag of the zstd image would be adopted, and engines without zstd could not pull it."""
    old, new = _CASE, _CASE._replace(base_compressions=compressions)
    assert _base(old).config == _base(new).config
    assert _plan(old, scanned).tag != _plan(new, scanned).tag
    old, new = (case._replace(for_engine=True) for case in (old, new))
    assert _plan(old, scanned).tag == _plan(new, scanned).tag


def test_a_base_of_an_engine_gives_the_tag_of_the_same_base_with_gzip_in_a_registry(scanned: Scan) -> None:
    case = _CASE._replace(base_compressions=("gzip", "gzip"))
    assert _plan(case._replace(base_engine_id="sha256:e"), scanned).tag == _plan(case, scanned).tag
    assert _plan(_CASE._replace(base_engine_id="sha256:e"), scanned).tag != _plan(_CASE, scanned).tag


def _plan_index(cases: list[_Case], scanned: Scan) -> str:
    bases = tuple([_base(case) for case in cases])
    base = BaseIndex(Index(OCI_INDEX, tuple([Descriptor(OCI_MANIFEST, base.digest, 1) for base in bases])), bases)
    options = image_options({})
    locations = locate_in_images(_Source(), base, options)
    return plan_patch(_Source(), scanned, base, locations, options, "gzip").tag


def test_the_tag_of_an_index_depends_on_its_images_and_not_on_their_order(scanned: Scan) -> None:
    other = _CASE._replace(base_platform={"os": "linux", "architecture": "arm64"})
    tag = _plan_index([_CASE, other], scanned)
    assert _plan_index([other, _CASE], scanned) == tag
    assert _plan_index([_CASE._replace(base_name="mirror.example.com/python:3"), other], scanned) == tag
    for changed in (
        [_CASE],
        [_CASE, other._replace(base_compressions=("gzip", "zstd"))],
        [_CASE, other._replace(base_settings={"WorkingDir": "/w", "User": "7"})],
        [_CASE, other._replace(base_top="c")],
    ):
        assert _plan_index(changed, scanned) != tag
    assert tag not in (_plan(_CASE, scanned).tag, _plan(other, scanned).tag)


_BUILT: dict[str, Any] = {
    "snapshot": "sha256:1",
    "dockerfile": b"FROM python:3",
    "args": {"A": "b", "C": "d"},
    "platform": "linux/amd64",
    "bases": [base_tag_inputs(_base(_CASE))],
}


@pytest.mark.parametrize(
    "changed",
    [
        {"snapshot": "sha256:2"},
        {"dockerfile": b"FROM python:3\n"},
        {"args": {"A": "b"}},
        {"args": {"A": "d", "C": "b"}},
        {"platform": ""},
        {"bases": []},
        {"bases": _BUILT["bases"] * 2},
        {"bases": [base_tag_inputs(_base(_CASE._replace(base_top="c")))]},
        {"bases": [base_tag_inputs(_base(_CASE._replace(base_compressions=("zstd", "gzip"))))]},
    ],
    ids=str,
)
def test_the_tag_of_a_builders_image_changes_with_every_input(changed: dict[str, Any]) -> None:
    assert built_tag(**{**_BUILT, **changed}) != built_tag(**_BUILT)


def test_the_order_of_build_arguments_and_the_name_of_the_base_do_not_change_the_tag() -> None:
    other = _CASE._replace(base_name="mirror.example.com/python:3")
    same = {"args": {"C": "d", "A": "b"}, "bases": [base_tag_inputs(_base(other))]}
    assert built_tag(**{**_BUILT, **same}) == built_tag(**_BUILT)


@pytest.mark.parametrize(
    "changed",
    [
        Changes("/w", {"A": "b"}, {}, {"Cmd": ["x"]}, "me"),
        Changes("/v", {"A": "b"}, {}, {"Cmd": ["sh"]}, "me"),
        Changes("/w", {"A": "c"}, {}, {"Cmd": ["sh"]}, "me"),
        Changes("/w", {}, {}, {"Cmd": ["sh"]}, "me"),
        Changes("/w", {"A": "b"}, {}, {"Cmd": None}, "me"),
        Changes("/w", {"A": "b"}, {}, {}, "me"),
        Changes("/w", {"A": "b"}, {}, {"Cmd": ["sh"]}, "you"),
        Changes("/w", {"A": "b"}, {}, {"Cmd": ["sh"]}, None),
    ],
)
def test_the_settings_of_a_dockerfile_change_the_tag(changed: Changes) -> None:
    base, pack = _base(_CASE), PackOptions(b"", ())
    wanted = Changes("/w", {"A": "b"}, {}, {"Cmd": ["sh"]}, "me")
    assert patch_tag("sha256:1", base, pack, changed) != patch_tag("sha256:1", base, pack, wanted)
