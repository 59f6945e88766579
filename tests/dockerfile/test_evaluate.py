"""What a Dockerfile comes to without a builder: its stages, its variables, its settings, and what it leaves to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dockerfile.image import Image, origin
from topcoat.dockerfile.evaluate import Evaluated, StageBase, evaluate
from topcoat.dockerfile.parse import parse_dockerfile
from topcoat.errors import (
    DaemonUnavailable,
    ImageNotFound,
    InvalidDockerfile,
    MissingDependency,
    NeedsBuilder,
    NoSuchPlatform,
    RegistryError,
    TopcoatError,
)
from topcoat.oci.reference import Reference
from topcoat.rootfs.nodes import ImageNode
from topcoat.scan.scanner import Scan, ScanOptions, scan
from topcoat.scan.snapshot import Entry, Snapshot
from topcoat.specs import Workspace
from topcoat.testing.trees import build_tree

CONTEXT = {".torchxignore": "ignored\n", "train.py": "train", "ignored": "no", "pkg": {"a.py": "a"}}


@pytest.fixture
def context(tmp_path: Path) -> Scan:
    build_tree(tmp_path / "workspace", CONTEXT)
    return scan(Workspace({str(tmp_path / "workspace"): ""}), ScanOptions())


def carried_out(context: Scan, text: str, base: StageBase | None = None, **given: str) -> Evaluated:
    dockerfile = parse_dockerfile(text.encode(), "Dockerfile.torchx")
    return evaluate(dockerfile, context, given, lambda name, platform: base or origin())


def settings(context: Scan, text: str, base: StageBase | None = None, **given: str) -> dict[str, Any]:
    return dict(carried_out(context, f"FROM base\n{text}", base or origin(Env=["PATH=/bin"]), **given).settings)


def ports(names: list[str]) -> dict[str, Any]:
    return {name: {} for name in names}


def paths(evaluated: Evaluated) -> list[str]:
    return [entry.path.decode() for entry in evaluated.scan.snapshot]


def test_the_base_is_looked_up_by_its_expanded_name_and_only_that(context: Scan) -> None:
    collected = []

    def find(name: str, platform: str) -> StageBase:
        collected.append((name, platform))
        return origin()

    text = "ARG IMAGE\nARG TAG=1\nFROM not-used\nFROM --platform=linux/arm64 ${IMAGE}:$TAG AS one\nENV A=1"
    evaluate(parse_dockerfile(text.encode(), "Dockerfile"), context, {"IMAGE": "base"}, find)
    assert collected == [("base:1", "linux/arm64")]


def test_the_platform_that_is_wanted_is_asked_for(context: Scan) -> None:
    collected = []

    def find(name: str, platform: str) -> StageBase:
        collected.append(platform)
        return origin(platform="linux/arm64")

    text = b"FROM a\nARG TARGETARCH\nENV A=$TARGETARCH"
    evaluated = evaluate(parse_dockerfile(text, "Dockerfile"), context, {}, find, platform="linux/arm64")
    assert collected == ["linux/arm64"]
    assert "A=arm64" in evaluated.settings["Env"]
    other = parse_dockerfile(b"FROM --platform=linux/amd64 a", "Dockerfile")
    with pytest.raises(NeedsBuilder, match="Dockerfile:1: an image for linux/arm64"):
        evaluate(other, context, {}, find, platform="linux/arm64")


@pytest.mark.parametrize(
    ("text", "given", "env"),
    [
        ("ENV A=1 B=$A C='$A'", {}, ["A=1", "B=", "C=$A"]),
        ("ENV A=1\nENV B=${A}2 A=3", {}, ["A=3", "B=12"]),
        ("ENV A b  c", {}, ["A=b  c"]),
        ("ARG X=1\nENV A=$X", {}, ["A=1"]),
        ("ARG X=1\nENV A=$X", {"X": "given"}, ["A=given"]),
        ("ENV A=$X", {"X": "not declared"}, ["A="]),
        ("ARG X\nENV A=${X:-none}", {}, ["A=none"]),
        ("ENV X=env\nARG X=arg\nENV A=$X", {}, ["X=env", "A=arg"]),
        ("ARG X=arg\nENV X=env\nENV A=$X", {}, ["X=env", "A=env"]),
        ("ARG HTTP_PROXY\nENV A=$HTTP_PROXY", {"HTTP_PROXY": "http://p"}, ["A=http://p"]),
        ("ARG TARGETPLATFORM TARGETOS=x\nENV A=$TARGETPLATFORM/$TARGETOS", {}, ["A=linux/amd64/x"]),
        ("ARG TARGETSTAGE\nENV A=$TARGETSTAGE", {}, ["A=default"]),
        ("ARG A-B=1\nENV A=${A}", {}, ["A="]),
        ("ENV PATH=/mine:$PATH", {}, []),
    ],
)
def test_variables_have_the_values_that_are_in_scope(
    context: Scan, text: str, given: dict[str, str], env: list[str]
) -> None:
    path = "/mine:/bin" if "/mine" in text else "/bin"
    assert settings(context, text, **given)["Env"] == [f"PATH={path}", *env]


def test_arguments_of_the_whole_file_reach_a_stage_that_declares_them(context: Scan) -> None:
    text = "ARG V=1\nARG W=$V.2\nFROM base\nARG V\nARG W\nENV A=$V B=$W C=${X:-no}"
    assert carried_out(context, text).settings["Env"][1:] == ["A=1", "B=1.2", "C=no"]
    assert carried_out(context, text.replace("ARG V\n", "", 1)).settings["Env"][1:] == ["A=", "B=1.2", "C=no"]


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ('CMD ["a", "b"]', {"Cmd": ["a", "b"], "ArgsEscaped": True}),
        ("CMD a $b", {"Cmd": ["/bin/sh", "-c", "a $b"], "ArgsEscaped": True}),
        ("CMD []", {"Cmd": None, "ArgsEscaped": True}),
        ('ENTRYPOINT ["a"]', {"Entrypoint": ["a"], "Cmd": None}),
        ('CMD ["b"]\nENTRYPOINT ["a"]', {"Entrypoint": ["a"], "Cmd": ["b"], "ArgsEscaped": True}),
        ("ENTRYPOINT []", {"Cmd": None}),
        ("LABEL a=b c='d e'\nLABEL one=2", {"Labels": {"one": "2", "a": "b", "c": "d e"}}),
        ("EXPOSE 80 53/UDP", {"ExposedPorts": ports(["22/tcp", "80/tcp", "53/udp"])}),
        ("ENV P='5 6'\nEXPOSE $P", {"ExposedPorts": ports(["22/tcp", "5/tcp", "6/tcp"]),
                                     "Env": ["PATH=/bin", "P=5 6"]}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("USER 5:6", {"User": "5:6"}),
        ("WORKDIR a/../b", {"WorkingDir": "/app/b"}),
        ("WORKDIR /x/\nWORKDIR ..", {"WorkingDir": "/"}),
        ("WORKDIR /x/", {"WorkingDir": "/x/"}),
        ("ENV PATH=/bin", {}),
    ],
)  # fmt: skip
def test_an_instruction_changes_the_settings(context: Scan, text: str, changes: dict[str, Any]) -> None:
    base = origin(Env=["PATH=/bin"], Cmd=["base"], WorkingDir="/app", Labels={"one": "1"}, ExposedPorts={"22/tcp": {}})
    evaluated = settings(context, text, base)
    assert evaluated == changes


def test_a_command_in_shell_form_runs_in_the_shell_of_the_base(context: Scan) -> None:
    base = origin(Env=["PATH=/bin"], Shell=["/bin/bash", "-c"])
    assert settings(context, "CMD x y", base)["Cmd"] == ["/bin/bash", "-c", "x y"]


def test_a_base_without_path_gets_the_usual_one(context: Scan) -> None:
    assert settings(context, "USER 1", origin())["Env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]


def test_the_maintainer_is_the_author(context: Scan) -> None:
    assert carried_out(context, "FROM a\nMAINTAINER Me <me@x>").author == "Me <me@x>"
    assert carried_out(context, "FROM a\nENV A=1").author is None


def test_a_working_directory_is_made_and_belongs_to_the_user(context: Scan) -> None:
    image = Image({"home/me": ImageNode("dir", 0o700, 1000, 1000), "link": ImageNode("link", link=b"home/me")})
    evaluated = carried_out(context, "FROM a\nUSER 1000:5\nWORKDIR /link/new\nUSER 0\nWORKDIR deep", origin(image))
    assert [(entry.path, entry.mode, entry.owner) for entry in evaluated.scan.snapshot] == [
        (b"home", 0o755, None),
        (b"home/me", 0o700, (1000, 1000)),
        (b"home/me/new", 0o755, (1000, 5)),
        (b"home/me/new/deep", 0o755, None),
    ]
    assert evaluated.working_dir == "/link/new/deep"


def test_what_is_made_in_a_set_group_directory_is_its_groups(context: Scan) -> None:
    image = Image({"data": ImageNode("dir", 0o2770, 1, 7)})
    evaluated = carried_out(context, "FROM a\nWORKDIR /data/x\nCOPY --chown=5:6 train.py /data/y/", origin(image))
    assert [(entry.path, entry.mode, entry.owner) for entry in evaluated.scan.snapshot] == [
        (b"data", 0o2770, (1, 7)),
        (b"data/x", 0o2755, (0, 7)),
        (b"data/y", 0o2755, (5, 6)),
        (b"data/y/train.py", 0o644, (5, 6)),
    ]


def test_a_users_name_needs_a_builder_only_if_a_directory_is_created(context: Scan) -> None:
    image = Image({"app": ImageNode("dir")})
    assert carried_out(context, "FROM a\nUSER me\nWORKDIR /app", origin(image)).settings["User"] == "me"
    with pytest.raises(NeedsBuilder, match=r"torchx:3: .*me"):
        carried_out(context, "FROM a\nUSER me\nWORKDIR /app/new", origin(image))


def test_a_dockerfile_without_files_has_no_layer(context: Scan) -> None:
    image = Image({})
    evaluated = carried_out(context, "FROM a\nENV A=1\nUSER 5", origin(image))
    assert paths(evaluated) == []
    assert image.asked == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM a\nENV A=1\nRUN true", 3, "RUN runs a command"),
        ("FROM scratch\nCOPY . /", 1, "scratch"),
        ("FROM b AS b\nFROM a\nCOPY --from=b /x /y", 3, "--from"),
        ("FROM a\nCOPY --link . /", 2, "--link"),
        ("FROM a\nCOPY --exclude=*.py . /", 2, "--exclude"),
        ("FROM a\nSTOPSIGNAL SIGINT", 2, "STOPSIGNAL"),
        ('FROM a\nSHELL ["bash", "-c"]', 2, "SHELL"),
        ("FROM a\nCOPY pkg/[ab].py /x", 2, "class of characters"),
        ("FROM a\nCOPY pkg/*.txt /x", 2, "nothing in /pkg"),
        ("FROM a\nENV A=${B:?needed}", 2, "substitution"),
        ("ARG B=1\nARG A=${B#1}\nFROM a", 2, "substitution"),
        ("FROM a\nEXPOSE 8000-8002", 2, "range"),
        ("FROM a\nEXPOSE 80:8080", 2, "port of the host: 80:8080"),
        ("FROM a\nONBUILD ENV A=1", 2, "ONBUILD"),
        ("FROM a\nHEALTHCHECK --interval=1m CMD x", 2, "HEALTHCHECK"),
        ("FROM a\nCOPY <<EOF /x\nbody\nEOF", 2, "here-document"),
        ("FROM a\nCOPY --parents pkg/a.py /", 2, "--parents"),
        ("FROM a\nADD --checksum=sha256:00 https://h/x /x", 2, "--checksum"),
        ("FROM a\nADD git@h:x.git /x", 2, "fetches"),
        ("FROM a\nCOPY --chown=me . /x", 2, "only the image has the number of the user or group me"),
        ("FROM a\nCOPY --chmod=u+x . /x", 2, "--chmod=u\\+x is not an octal number"),
        ("FROM a\nONBUILD RUN x\nFROM a\nRUN x", 4, "RUN"),
        ("# syntax=example/other:1\nFROM a", 1, "example/other:1"),
        ("# syntax=example/other:1\nlet x = [1]\n", 1, "example/other:1"),
        ("FROM a AS one\nFROM one", 2, "the stage starts from an earlier one"),
        ("FROM a\nADD --unpack train.py /x", 2, "--unpack"),
    ],
)
def test_what_only_a_builder_can_do_is_handed_over(context: Scan, text: str, line: int, message: str) -> None:
    with pytest.raises(NeedsBuilder, match=message) as caught:
        carried_out(context, text)
    assert caught.value.message.startswith(f"Dockerfile.torchx:{line}: ")


def test_the_instruction_that_needs_a_builder_is_shown_on_one_line_and_shortened(context: Scan) -> None:
    with pytest.raises(NeedsBuilder) as caught:
        carried_out(context, "FROM a\nRUN pip  install \\\n  torch")
    assert caught.value.message == "Dockerfile.torchx:2: RUN runs a command in the image (RUN pip install torch)"
    with pytest.raises(NeedsBuilder) as caught:
        carried_out(context, "FROM a\nRUN " + "x" * 100)
    assert caught.value.message.endswith(f"(RUN {'x' * 53}...)")


def test_a_builder_is_not_needed_for_a_stage_that_nothing_starts_from(context: Scan) -> None:
    assert paths(carried_out(context, "FROM a AS tests\nRUN pytest\nFROM a\nCOPY train.py /")) == ["train.py"]


def test_a_base_with_triggers_is_handed_to_a_builder(context: Scan) -> None:
    with pytest.raises(NeedsBuilder, match=r"^Dockerfile\.torchx:2: the base image has ONBUILD triggers: RUN x"):
        carried_out(context, "# base\nFROM a", origin(OnBuild=["RUN x", "ENV A=1"]))


@pytest.mark.parametrize("syntax", ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile"])
def test_the_own_syntax_is_understood(context: Scan, syntax: str) -> None:
    assert paths(carried_out(context, f"# syntax={syntax}\nFROM a\nCOPY train.py /")) == ["train.py"]
    # A later version of it may know what this one does not.
    with pytest.raises(NeedsBuilder, match=r"Dockerfile\.torchx:3: unknown flag: --unheard"):
        carried_out(context, f"# syntax={syntax}\nFROM a\nCOPY --unheard train.py /")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FRMO a", 1, "unknown instruction: FRMO"),
        ("ENV A=1\nFROM a", 1, "no build stage"),
        ("ARG A", 0, "has no FROM"),
        ("FROM a b", 1, "one or three"),
        ("FROM a AS 1", 1, "invalid name"),
        ("FROM $NONE", 1, "should not be blank"),
        ("FROM --platform=$NONE a", 1, "empty platform"),
        ("FROM --platform=x/ a", 1, "platform"),
        ("FROM a\nCOPY a", 2, "at least two"),
        ("FROM a\nCOPY --chwon=1 a b", 2, "unknown flag: --chwon"),
        ("FROM a\nCOPY --chown a b", 2, "missing a value"),
        ("FROM a\nCOPY --chmod=1 --chmod=2 a b", 2, "duplicate"),
        ("FROM a\nCOPY --parents=maybe a b", 2, "boolean"),
        ("FROM a\nCOPY --unpack a b", 2, "unknown flag"),
        ("FROM a\nCOPY --chmod=999 train.py b", 2, "invalid --chmod '999'"),
        ("FROM a\nCOPY --chmod=10000 train.py b", 2, "invalid --chmod '10000'"),
        ("FROM a\nCOPY nowhere /x", 2, "/nowhere not found"),
        ("FROM a\nCOPY ignored /x", 2, "/ignored not found"),
        ("FROM a\nCOPY ../../nowhere /x", 2, "/nowhere not found"),
        ("FROM a\nCOPY https://h/x /x", 2, "URL"),
        ("FROM a\nENV A='x", 2, "single-quote"),
        ("FROM a\nENV =x", 2, "blank"),
        ("FROM a\nARG A=${", 2, "missing"),
        ("ARG A=1\nARG B=${\nFROM a", 2, "missing"),
        ("FROM a\nWORKDIR", 2, "exactly one"),
        ("FROM a\nWORKDIR /file/x", 2, "file"),
        ("FROM a\nEXPOSE 70000", 2, "invalid port"),
        ("FROM a\nEXPOSE 1/x", 2, "protocol"),
        ("FROM a\nVOLUME $NONE", 2, "empty"),
        ("FROM a\nRUN true\nCOPPY . .", 3, "unknown instruction: COPPY"),
        ("FROM a\nRUN true\nCOPY --chwon=1 . .", 3, "unknown flag: --chwon"),
        ("FROM a\nRUN --mont=x true", 2, "unknown flag: --mont"),
        ("FROM --platform=$NONE a\nRUN true", 1, "empty platform"),
        ("# one\n\nFROM a\nCOPY train.py \\\n  # two\n  nowhere \\\n  /x/", 4, "nowhere"),
    ],
)
def test_a_mistake_is_reported_with_file_and_line(context: Scan, text: str, line: int, message: str) -> None:
    image = Image({"file": ImageNode("file")})
    with pytest.raises(InvalidDockerfile, match=message) as caught:
        carried_out(context, text, origin(image))
    assert caught.value.message.startswith(f"Dockerfile.torchx:{line}: " if line else "Dockerfile.torchx ")
    assert caught.value.hint


def test_what_goes_wrong_with_the_base_keeps_its_own_error(context: Scan) -> None:
    def find(name: str, platform: str) -> StageBase:
        if name == "A:!":
            Reference.parse(name)
        raise MissingDependency("the docker package is not installed", hint="install it")

    with pytest.raises(InvalidDockerfile, match=r"Dockerfile:1: .*A:!"):
        evaluate(parse_dockerfile(b"FROM A:!", "Dockerfile"), context, {}, find)
    with pytest.raises(MissingDependency):
        evaluate(parse_dockerfile(b"FROM a", "Dockerfile"), context, {}, find)


def test_a_misspelt_word_is_suggested(context: Scan) -> None:
    for text, meant in (("FRMO a", "FROM"), ("FROM a\nCOPY --chwon=1 a b", "--chown or --chmod")):
        with pytest.raises(InvalidDockerfile) as caught:
            carried_out(context, text)
        assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize(
    "error",
    [
        RegistryError("refused", hint="log in", status=429, registry_code="TOOMANYREQUESTS", temporary=True),
        ImageNotFound("refused", hint="log in"),
        DaemonUnavailable("refused", hint="log in"),
    ],
)
def test_an_image_that_is_not_found_is_reported_with_file_line_and_image(context: Scan, error: TopcoatError) -> None:
    def find(name: str, platform: str) -> StageBase:
        raise error

    before = dict(vars(error))
    with pytest.raises(type(error)) as caught:
        evaluate(parse_dockerfile(b"ARG TAG=2\nFROM x:$TAG", "Dockerfile"), context, {}, find)
    assert str(caught.value) == "Dockerfile:2: FROM x:2: refused"
    assert vars(caught.value) == {**before, "message": str(caught.value)}
    assert vars(error) == before


def test_the_hint_for_an_image_that_cannot_be_looked_up_fits_what_is_written(context: Scan) -> None:
    def hint(text: str, error: TopcoatError) -> str | None:
        def find(name: str, platform: str) -> StageBase:
            raise error

        with pytest.raises(type(error)) as caught:
            evaluate(parse_dockerfile(text.encode(), "Dockerfile"), context, {}, find)
        assert isinstance(caught.value, TopcoatError)
        return caught.value.hint

    missing, elsewhere = ImageNotFound("no", hint="look"), NoSuchPlatform("no", hint="use the run option")
    assert hint("FROM a AS build\nFROM buidl", missing) == "did you mean the stage build?; or else look"
    assert hint("FROM $REG/x:$IMAGE", missing) == (
        "put ARG REG=VALUE before the first FROM: REG is not declared there; "
        "put ARG IMAGE before the first FROM: IMAGE is not declared there"
    )
    assert hint("FROM a", elsewhere) == "use the run option"
    assert hint("FROM --platform=s390x a", elsewhere) == (
        "name another platform in FROM --platform=s390x, or leave the flag out"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("COPY . .", "begin with the two lines ARG IMAGE and FROM $IMAGE"),
        ("# nothing", "begin with the two lines ARG IMAGE and FROM $IMAGE"),
        ("FROM $IMAGE", "put ARG IMAGE before the first FROM: IMAGE is not declared there"),
        ("FROM a\nARG IMAGE\nFROM ${IMAGE}", "put ARG IMAGE before the first FROM: IMAGE is not declared there"),
        ("FROM $GIVEN", "put ARG GIVEN before the first FROM: GIVEN is not declared there"),
        ("FROM $OTHER", "put ARG OTHER=VALUE before the first FROM: OTHER is not declared there"),
        ("ARG OTHER\nFROM $OTHER", "OTHER has no value: give it one with build_args=OTHER:VALUE"),
    ],
)
def test_the_hint_says_how_a_dockerfile_begins(context: Scan, text: str, hint: str) -> None:
    with pytest.raises(InvalidDockerfile) as caught:
        carried_out(context, text, GIVEN="base")
    assert caught.value.hint == hint


def test_following_the_hint_of_a_dockerfile_without_from_helps(context: Scan) -> None:
    assert "train.py" in paths(carried_out(context, "ARG IMAGE\nFROM $IMAGE\nCOPY . .", IMAGE="base"))


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("FROM base\nENV A=xxxxxxxxxx\n", "ENV A=$A$A"),
        ("FROM base\nARG A=xxxxxxxxxx\n", "ARG A=${A:-y}$A"),
        ("FROM base\nENV A=xxxxxxxxxx\n", "LABEL a=$A$A$A$A\nENV A=$A$A"),
        ("ARG A=xxxxxxxxxx\n", "ARG A=$A$A"),
    ],
)
def test_a_variable_that_doubles_is_an_error_with_its_line(context: Scan, head: str, line: str) -> None:
    text = head + f"{line}\n" * 60 + ("" if "FROM" in head else "FROM base\n")
    with pytest.raises(InvalidDockerfile, match=r"Dockerfile.torchx:\d+: variables make more than 8388608 characters"):
        carried_out(context, text)


def test_a_dockerfile_has_a_maximum_number_of_instructions(context: Scan) -> None:
    with pytest.raises(InvalidDockerfile, match=r"Dockerfile.torchx:10001: there are more than 10000 instructions"):
        carried_out(context, "FROM base\n" * 20_000)


def test_paths_with_two_thousand_components_are_evaluated(context: Scan) -> None:
    deep = "d/" * 2000
    entries = [Entry(deep[: 2 * number - 1].encode(), "dir", 0o755, 0, b"", 0) for number in range(1, 2001)]
    workspace = context.narrow(Snapshot([*context.snapshot.entries, *entries]))
    evaluated = carried_out(workspace, f"FROM base\nWORKDIR /{'w/' * 2000}\nCOPY . .\n")
    assert max(entry.path.count(b"/") for entry in evaluated.scan.snapshot) == 3999
    with pytest.raises(NeedsBuilder, match="nothing in /d of the workspace matches"):
        carried_out(workspace, "FROM base\nCOPY d/*/*.py /x/\n")


def test_a_source_with_many_wildcards_takes_little_time(context: Scan) -> None:
    name = b"a" * 200
    snapshot = Snapshot([Entry(name, "link", 0o777, 0, b"/train.py", 0), *context.snapshot.entries])
    text = f"FROM base\nCOPY {'*a' * 20}* /x/\nCOPY t*.py {'*a' * 20}*b* /y/\n"
    assert "x/" + name.decode() in paths(carried_out(context.narrow(snapshot), text))
