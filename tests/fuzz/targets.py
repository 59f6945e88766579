"""What the fuzzer runs: a parser of bytes that others wrote, for any bytes.

Each target returns for a value or an error that the parser documents. It fails for any other exception, and if one of
the invariants that it checks does not hold. `corpus` has inputs for each target, in a directory of its name.
"""

from __future__ import annotations

import configparser
import io
import itertools
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.dockerfile.image import origin
from topcoat.dockerfile.evaluate import evaluate
from topcoat.dockerfile.external_images import external_images
from topcoat.dockerfile.parse import parse_dockerfile
from topcoat.errors import InvalidConfigFile, InvalidHandle, InvalidIgnorePattern, InvalidImage, TopcoatError
from topcoat.http.errors import NotHTTP
from topcoat.http.response_head import parse_fields, parse_status
from topcoat.oci.compression import decompressed
from topcoat.oci.config import ImageConfig
from topcoat.oci.digest import canonical_json
from topcoat.oci.manifest import parse as parse_manifest
from topcoat.oci.reference import Reference
from topcoat.oci.validate import find_mismatches
from topcoat.registry.headers import parse_challenges, parse_range_size, parse_range_start, parse_retry_after
from topcoat.rootfs.merged_layers import MergedLayers
from topcoat.rootfs.untar import members
from topcoat.runner.config_file import parse_config
from topcoat.scan.automaton import Automaton
from topcoat.scan.ignore import IgnoreRules
from topcoat.scan.pattern import matcher
from topcoat.scan.scanner import Scan
from topcoat.scan.snapshot import Snapshot
from topcoat.scan.tree import LocalTree
from topcoat.schedulers.local.job_records import JOB, read_job, read_status
from topcoat.specs.handle import make_app_handle, parse_app_handle

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}

_PATHS = ("a", "b/a", "a/b/c", "src/a.py", ".git", "data/x.csv", "a/a/a/a/a/a/a/b", "é", "\udcff")
_temporary = tempfile.TemporaryDirectory(prefix="topcoat-fuzz-")
_DIRECTORY = Path(_temporary.name)


def target(function: Target) -> Target:
    """Add *function* to the targets."""
    TARGETS[function.__name__] = function
    return function


@target
def ignore_file(data: bytes) -> None:
    try:
        rules = IgnoreRules.parse([("file", data)])
    except InvalidIgnorePattern:
        return
    for path in _PATHS:
        state, excluded = rules.ROOT_STATE, False
        for part in itertools.accumulate(path.split("/"), "{}/{}".format):
            excluded, state = rules.decide(part, state)
        rule = rules.explain(path)
        assert excluded == (rule is not None and rule.excluded)
        for slow in [rule.term for rule in rules.rules if rule.term.alternatives]:
            fast = matcher([slow._replace(alternatives=())])
            assert Automaton(slow.alternatives).matches(path) == bool(fast(path))


@target
def reference(data: bytes) -> None:
    try:
        parsed = Reference.parse(data.decode("utf-8", "surrogateescape"))
    except TopcoatError:
        return
    assert Reference.parse(str(parsed)) == parsed
    str(parsed).encode("ascii")


@target
def manifest(data: bytes) -> None:
    with suppress(InvalidImage):
        parsed = parse_manifest(data)
        assert parse_manifest(parsed.raw or b"", parsed.media_type) == parsed
    find_mismatches(data, b"{}")


@target
def image_config(data: bytes) -> None:
    with suppress(InvalidImage):
        config = ImageConfig.parse(data)
        assert config.identity == ImageConfig.parse(canonical_json(dict(config.document))).identity
        assert all(isinstance(item, str) for pair in config.env.items() for item in pair)
        assert config.working_dir.startswith("/")


@target
def challenge(data: bytes) -> None:
    lines = data.decode("latin-1").split("\n")
    for parsed in parse_challenges(lines):
        assert parsed.scheme == parsed.scheme.lower()
        assert all(name == name.lower() for name in parsed.params)
    for line in lines:
        assert parse_retry_after(line) >= 0
        for parse in (parse_range_start, parse_range_size):
            number = parse(line)
            assert number is None or 0 <= number < 10**18


@target
def response_head(data: bytes) -> None:
    first, *rest = data.split(b"\r\n")
    with suppress(NotHTTP):
        head = parse_status(first)._replace(fields=parse_fields(rest))
        assert 100 <= head.status <= 999
        assert head.persists in (True, False)
        for method in ("GET", "HEAD"):
            length = head.framing(method).length
            assert length is None or 0 <= length < 10**18


@target
def tar_headers(data: bytes) -> None:
    results: list[object] = []
    for size in (1 << 20, 512, 100):
        stream = io.BytesIO(data)
        read: list[object] = []
        merged = MergedLayers()
        try:
            for member in members(lambda wanted, stream=stream, size=size: stream.read(min(wanted, size))):  # type: ignore[misc]
                read.append(member)
                merged.add(member)
                assert not {b"..", b"."} & set(member.path.split(b"/"))
                assert member.path == member.path.strip(b"/")
                assert member.mode <= 0o7777
                assert min(member.uid, member.gid, member.size) >= 0
            merged.end_layer()
            merged.end()
        except InvalidImage as error:
            read.append(error.message)
        results.append(read)
    assert results[0] == results[1] == results[2]


@target
def compressed_layer(data: bytes) -> None:
    with suppress(OSError, InvalidImage):
        tar = decompressed(io.BytesIO(data))
        # One small input can be a gigabyte.
        limit = itertools.count()
        for _ in members(lambda wanted: tar.read(wanted) if next(limit) < 16 else b""):
            pass


@target
def job_record(data: bytes) -> None:
    file = _DIRECTORY / JOB
    file.write_bytes(data)
    with suppress(ValueError):
        record: dict[str, Any] = read_job(_DIRECTORY)
        assert isinstance(record["replicas"], list)
    with suppress(ValueError):
        record = read_status(file)
        assert isinstance(record["replicas"], list)


@target
def config_file(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        parsed = parse_config(io.StringIO(text), "conf")
    except InvalidConfigFile:
        return
    standard = configparser.ConfigParser()
    standard.optionxform = str  # type: ignore[assignment,method-assign]
    standard.read_string(text)
    for section, settings in parsed.sections.items():
        assert {key: setting.text for key, setting in settings.items()} == dict(standard.items(section))
        assert all(setting.where.rpartition(":")[2].isdecimal() for setting in settings.values())


@target
def dockerfile(data: bytes) -> None:
    parsed = parse_dockerfile(data, "Dockerfile.torchx")
    assert parsed.error or parsed.stages
    external_images(parsed, {"IMAGE": "base"})
    with suppress(TopcoatError):
        scan = Scan(Snapshot([]), LocalTree(os.fspath(_DIRECTORY)))
        evaluated = evaluate(parsed, scan, {"IMAGE": "base"}, lambda name, platform: origin())
        canonical_json(dict(evaluated.settings))
        assert evaluated.working_dir.startswith("/")


@target
def handle(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with suppress(InvalidHandle):
        parsed = parse_app_handle(text)
        assert make_app_handle(*parsed) == text
        assert "/" not in parsed.app_id
