"""Lines become instructions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.dockerfile.parse import Instruction, parse_dockerfile
from topcoat.dockerfile.words import INSTRUCTIONS
from topcoat.errors import InvalidDockerfile


def read(text: str) -> list[Instruction]:
    """Return the instructions after a FROM."""
    parsed = parse_dockerfile(f"FROM a\n{text}".encode("utf-8", "surrogateescape"), "Dockerfile")
    assert parsed.error is None
    return [instruction for stage in parsed.stages for instruction in (stage.start, *stage.instructions)][1:]


def only(text: str) -> Instruction:
    (found,) = read(text)
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM a  AS\tb", ("a", "AS", "b")),
        ("COPY a b\\ c /d", ("a", "b\\", "c", "/d")),
        ('COPY ["a b", "/c"]', ("a b", "/c")),
        ('COPY ["a", 1]x', ('["a",', "1]x")),
        ("ENV a=1 b='x y' c=\\ z", ("a", "1", "b", "'x y'", "c", "\\ z")),
        ("ENV a  b c  ", ("a", "b c")),
        ("LABEL a=b=c", ("a", "b=c")),
        ("ARG a b=c 'd=e f'", ("a", "b=c", "'d=e f'")),
        ("WORKDIR  /a b ", ("/a b",)),
        ("CMD echo 'a  b'", ("echo 'a  b'",)),
        ('CMD ["a", "b c"]', ("a", "b c")),
        ('CMD ["a",]', ('["a",]',)),
        ("CMD []", ()),
        ("CMD", ()),
        ("ONBUILD COPY a b", ("COPY a b",)),
        ("EXPOSE 1 2/udp", ("1", "2/udp")),
        ('VOLUME ["/a", "/b"]', ("/a", "/b")),
        ('CMD ["\\ud800x"]', ("\ufffdx",)),
    ],
)
def test_each_instruction_has_words_of_its_own(text: str, words: tuple[str, ...]) -> None:
    assert only(text).words == words


def test_the_is_exec_form_is_reported_from_the_shell_form() -> None:
    assert only('ENTRYPOINT ["a"]').is_exec_form
    assert not only("ENTRYPOINT [a]").is_exec_form


def test_flags_are_apart_from_words_and_without_quotes() -> None:
    instruction = only('COPY --chown=1:2 --exclude=\'a b\' --link --exclude="c\\"" a b /c')
    assert instruction.flags == {"chown": ("1:2",), "exclude": ("a b", 'c"'), "link": ("true",)}
    assert instruction.words == ("a", "b", "/c")


def test_two_dashes_end_the_flags() -> None:
    instruction = only("COPY --link -- --a --b")
    assert (instruction.flags, instruction.words) == ({"link": ("true",)}, ("--a", "--b"))


def test_lines_are_continued_through_comments_and_empty_lines() -> None:
    text = "\n  # first\nRUN a \\\n# within\n\n   # and\n  b \\  \n c\nENV x=\\\\\nCMD d"
    parsed = read(text)
    assert [(instruction.name, instruction.line) for instruction in parsed] == [("RUN", 4), ("ENV", 10), ("CMD", 11)]
    assert parsed[0].words == ("a   b  c",)
    assert parsed[1].words == ("x", "\\\\")


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    parsed = parse_dockerfile(b'#escape=`\nFROM a\nRUN b `\n c\\\nENV d=`"', "Dockerfile")
    assert parsed.escape == "`"
    assert [instruction.words for instruction in parsed.stages[0].instructions] == [("b  c\\",), ("d", '`"')]


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1"),
        ("#  Syntax = a/b  and more \nFROM a", "a/b"),
        ("# escape=`\n# syntax=x\nFROM a", "x"),
        ("# a comment\n# syntax=x\nFROM a", ""),
        ("# unheard=of\n# syntax=x\nFROM a", ""),
        ("\n# syntax=x\nFROM a", ""),
        ("FROM a\n# syntax=x", ""),
        ("# syntax=x\n{}", "x"),
    ],
)
def test_the_syntax_directive_is_found_only_before_the_first_instruction(text: str, syntax: str) -> None:
    assert parse_dockerfile(text.encode(), "Dockerfile").syntax == syntax


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("# escape=x\nFROM a", 1, "escape token"),
        ("# escape=`\n# escape=\\\nFROM a", 2, "only one"),
        ("", 1, "no instructions"),
        ("# nothing\n\n", 2, "no instructions"),
        ("FROM a\nENV b", 2, "two arguments"),
        ("FROM a\nENV b=1 c", 2, "name=value"),
        ("FROM a\nCMD [1]", 2, "strings only"),
        ("FROM a\nCOPY <<EOF /x\nb\n", 2, "unterminated"),
        ("FROM a\nENV " + "x" * 70_000, 2, "longer"),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(text: str, line: int, message: str) -> None:
    error = parse_dockerfile(text.encode(), "Dockerfile").error
    assert isinstance(error, InvalidDockerfile)
    assert error.message.startswith(f"Dockerfile:{line}: ")
    assert message in error.message
    assert error.hint


def test_the_first_mistake_counts_and_arguments_are_declared_after_it_too() -> None:
    parsed = parse_dockerfile(b"ARG A\nFROM a\nCOPY x\nARG B=1 C\nNOTHING y", "Dockerfile")
    assert parsed.error
    assert parsed.error.message == "Dockerfile:3: COPY requires at least two arguments, sources and a destination"
    assert parsed.declared_args == {"A", "B", "C"}


def test_a_stage_has_the_instructions_up_to_the_next() -> None:
    parsed = parse_dockerfile(b"ARG I=1\nFROM --platform=x $I AS One\nENV a=b\nCMD c\nFROM d", "Dockerfile")
    assert [instruction.words for instruction in parsed.arguments] == [("I=1",)]
    assert [(stage.base, stage.platform, stage.name, len(stage.instructions)) for stage in parsed.stages] == [
        ("$I", "x", "one", 2),
        ("d", "", "", 0),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "COPY <<one <<-'two' /x/\na $b\n \\\none\n\t\tc\n\ttwo\nENV d=e",
        "RUN cat << EOF\nFROM x\nEOF\nENV d=e",
        'RUN 3<<E"O"F cat\n\nEOF\nENV d=e',
        "onbuild COPY <<EOF /x\nhello\nEOF\nENV d=e",
    ],
)
def test_the_body_of_a_here_document_belongs_to_its_instruction(text: str) -> None:
    parsed = read(text)
    assert [(instruction.name, instruction.has_here_document) for instruction in parsed][1:] == [("ENV", False)]
    assert parsed[0].has_here_document


@pytest.mark.parametrize(
    "text",
    [
        "ENV a=<<EOF",
        'COPY ["<<EOF", "/x"]',
        "RUN cat <<<EOF",
        "RUN cat <EOF",
        "RUN x<<EOF",
        "RUN echo 'a <<EOF'",
        "RUN cat <<",
    ],
)
def test_what_only_looks_like_a_here_document_has_no_body(text: str) -> None:
    parsed = read(f"{text}\nENV b=c")
    assert [instruction.name for instruction in parsed][1:] == ["ENV"]
    assert not parsed[0].has_here_document


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_read_or_refused(data: bytes) -> None:
    _read_or_refused(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(INSTRUCTIONS), "from", "#", "# escape=`", ""]),
            st.text(alphabet="ab=$/{}[]\",'\\`-<>EOF \n\t#", max_size=30),
        ),
        max_size=6,
    )
)
def test_no_dockerfile_is_anything_but_read_or_refused(lines: list[tuple[str, str]]) -> None:
    _read_or_refused("\n".join([" ".join(line) for line in lines]).encode())


def _read_or_refused(data: bytes) -> None:
    parsed = parse_dockerfile(data, "Dockerfile")
    assert parsed.error or parsed.stages
