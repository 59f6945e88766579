"""Ignore files: what is read, what is left out, which rule said so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scan.ignore_cases import CASES, MALFORMED, Case

from topcoat.errors import InvalidIgnorePattern
from topcoat.scan.ignore import DEFAULT_PATTERNS, IgnoreRules, Match, ignore_hint
from topcoat.scan.pattern import compile_pattern, matcher


def _rules(*lines: str) -> IgnoreRules:
    return IgnoreRules.parse([("ignore", "\n".join(lines).encode("utf-8", "surrogateescape"))])


def _ancestry(path: str) -> list[str]:
    return [*(path[:at] for at, char in enumerate(path) if char == "/"), path]


def _decide(rules: IgnoreRules, path: str) -> bool:
    state, excluded = rules.ROOT_STATE, False
    for here in _ancestry(path):
        excluded, state = rules.decide(here, state)
    return excluded


def _kept(rules: IgnoreRules, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not _decide(rules, path)]


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_an_ignore_file_excludes(case: Case) -> None:
    rules = IgnoreRules.parse([("ignore", case.content)])
    assert [path for path in (*case.out, *case.kept) if _decide(rules, path)] == list(case.out)


@pytest.mark.parametrize(("title", "content"), MALFORMED, ids=[title for title, _ in MALFORMED])
def test_a_malformed_line_is_refused_with_file_and_line(title: str, content: bytes) -> None:
    with pytest.raises(InvalidIgnorePattern, match=r"^\.dockerignore:3: malformed pattern ") as caught:
        IgnoreRules.parse([(".dockerignore", b"# comment\na\n" + content)])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[z-a]", "invalid range z-a: the end is before the start"),
        ("[[:nope:]]", "unknown class [:nope:]"),
        ("a\\q", "invalid escape \\q"),
        ("\\p{Greek}", "unknown class \\p{Greek}: expected a general category of Unicode"),
        ("\\x{110000}", "invalid character \\x{110000}"),
        ("\\x{dc80}", "invalid character \\x{dc80}"),
        ("?{2,1}", "invalid repeat count {2,1}; write \\{ for a literal brace"),
        ("a*[[", "a class starts with [ and does not end with ]"),
        ("[]", "a class that is not like [a-z], or a backslash at the end"),
        ("!", "nothing follows the exclamation mark"),
    ],
)
def test_an_error_states_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidIgnorePattern) as caught:
        _rules(pattern)
    assert str(caught.value) == f"ignore:1: malformed pattern {pattern}: {reason}"


def test_every_malformed_line_of_every_file_is_reported() -> None:
    with pytest.raises(InvalidIgnorePattern) as caught:
        IgnoreRules.parse([("one", b"a\n[\nb\n!"), ("two", b"c"), ("three", b"[\xff]\n")])
    assert [line.rpartition(" malformed")[0] for line in str(caught.value).split("\n")] == [
        "one:2:",
        "one:4:",
        "three:1:",
    ]
    assert str(caught.value).encode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_ignore_file_in_another_encoding_is_an_error(encoding: str) -> None:
    with pytest.raises(InvalidIgnorePattern, match="f:1: malformed pattern with a NUL byte") as caught:
        IgnoreRules.parse([("f", "secrets\n".encode(encoding))])
    assert caught.value.hint == "save it as UTF-8"
    with pytest.raises(InvalidIgnorePattern):
        IgnoreRules.parse([("f", "秘密".encode("utf-16"))])


@pytest.mark.parametrize(
    "path", ["a.log", "#a", "!a", "a*b[1]?", " a ", "a\\b", "d/é.log", "a|b", "a{2}*", "^x", "x\ny", "a\x1b[31m"]
)
def test_the_line_of_a_hint_leaves_the_path_out(path: str) -> None:
    hint = ignore_hint(path)
    line = hint.removeprefix("add the line ").removesuffix(" to .torchxignore (`topcoat init` writes one)")
    rules = IgnoreRules.parse([("f", line.encode())])
    assert rules.decide(path, 0)[0]
    assert not rules.decide("other", 0)[0]
    assert line.isprintable()


def test_a_line_of_the_maximum_length_is_read() -> None:
    assert len(IgnoreRules.parse([("ignore", b"#" + b"a" * 65534 + b"\n" + b"b" * 65535)])) == 1


def test_several_files_are_one_list() -> None:
    rules = IgnoreRules.parse(
        [(".dockerignore", b"*.csv\n*.md"), (".torchxignore", b"\xef\xbb\xbf!a.csv\r\n!README.md\n")]
    )
    assert _kept(rules, ["a.csv", "b.csv", "README.md", "x.md"]) == ["a.csv", "README.md"]
    assert len(rules) == 4


def test_rules_are_true_unless_empty() -> None:
    assert not _rules("", "# nothing")
    assert _rules("a")


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (("a", "b"), "c", None),
        (("a", "b"), "b", Match("b", "ignore", 2, True)),
        (("# one", "", " /a/ "), "a/b/c", Match("/a/", "ignore", 3, True)),
        (("a", "!a/b"), "a/b/c", Match("!a/b", "ignore", 2, False)),
        (("a", "! a/b"), "a/c", Match("a", "ignore", 1, True)),
        (("!a",), "a", None),
        (("a", "*"), "a", Match("a", "ignore", 1, True)),
        (("*", "!b", "*.py"), "b/x.py", Match("!b", "ignore", 2, False)),
        (("*", "!b", "b/*.py"), "b/x.py", Match("b/*.py", "ignore", 3, True)),
    ],
)
def test_explain_returns_the_deciding_rule(patterns: tuple[str, ...], path: str, expected: Match | None) -> None:
    assert _rules(*patterns).explain(path) == expected


@pytest.mark.parametrize(
    ("exceptions", "pruned", "descended"),
    [
        ((), ["a", "a/b"], []),
        (("!a/b/c",), ["b", "a/x", "a/b/c/d"], ["a", "a/b", "a/b/c"]),
        (("!a/b/**", "!c/*/**"), ["b", "a/c"], ["a", "a/b", "c"]),
        (("!a/*/b",), [], ["a", "b"]),
        (("!**/a",), [], ["b"]),
        (("!a?",), [], ["b"]),
        (("!a^",), [], ["b"]),
        (("!x]",), [], ["b"]),
        (("!ab",), ["a"], ["ab"]),
    ],
)
def test_a_directory_is_pruned_if_no_exception_reaches_below_it(
    exceptions: tuple[str, ...], pruned: list[str], descended: list[str]
) -> None:
    rules = _rules("**", *exceptions)
    assert [path for path in [*pruned, *descended] if rules.can_prune(path)] == pruned


def test_the_default_patterns_match_at_any_depth() -> None:
    rules = IgnoreRules.from_patterns(DEFAULT_PATTERNS, "built-in patterns")
    out = [
        ".git/HEAD",
        "sub/.git",
        "venv/bin/python",
        "a/b/node_modules/x/y.js",
        "__pycache__/a.pyc",
        "a/b.pyc",
        "a/.DS_Store",
    ]
    kept = [
        ".gitignore",
        ".github/x.yml",
        "src/venv.py",
        "environments/a",
        "a/pyc",
        "git",
        ".env",
        "pkg.egg-info/PKG-INFO",
    ]
    assert _kept(rules, out + kept) == kept
    assert rules.explain("a/b.pyc") == Match("**/*.pyc", "built-in patterns", 8, True)


def test_a_pattern_of_many_stars_takes_little_time() -> None:
    assert not matcher([compile_pattern("*a" * 30 + "*b")])("a" * 250)


# Characters that mean something, in pieces small enough to form classes, escapes and wildcards often.
_SNIPPETS = [
    "*",
    "**",
    "?",
    "/",
    "[",
    "]",
    "^",
    "-",
    "!",
    "\\",
    "a",
    "b",
    "[a-b]",
    "[^a]",
    "{2}",
    "|",
    "#",
    " ",
    ".",
    "\udcff",
    "é",
]
_lines = st.lists(st.lists(st.sampled_from(_SNIPPETS), max_size=8).map("".join), max_size=6)
_names = st.text(st.sampled_from("ab.é\udcff*\n"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)


def _good(lines: list[str]) -> list[str]:
    good = []
    for line in lines:
        try:
            _rules("", line)
        except InvalidIgnorePattern:
            continue
        good.append(line)
    return good


def _error(content: bytes) -> str:
    try:
        IgnoreRules.parse([("ignore", content)]).decide("a/b", IgnoreRules.ROOT_STATE)
    except InvalidIgnorePattern as error:
        return str(error)
    return ""


@given(st.binary() | _lines.map(lambda lines: "\n".join(lines).encode("utf-8", "surrogateescape")))
def test_any_bytes_are_rules_or_an_error(content: bytes) -> None:
    error = _error(content)
    assert not error or re.match(r"ignore:\d+: malformed pattern ", error)
    assert "\udcff" not in error


@given(_lines, _paths)
def test_a_walk_agrees_with_rules_applied_one_by_one(lines: list[str], path: str) -> None:
    rules = _rules("", *_good(lines))
    # As `MatchesUsingParentResults` does it: one bit for each rule, a rule is asked where it could change something.
    spoke = [False] * len(rules)
    state = rules.ROOT_STATE
    for here in _ancestry(path):
        expected = False
        for index, rule in enumerate(rules.rules):
            if not spoke[index] and expected is not rule.line.excluded:
                spoke[index] = bool(matcher([rule.term])(here))
            if spoke[index]:
                expected = rule.line.excluded
        excluded, state = rules.decide(here, state)
        assert excluded == expected


@given(_lines, _paths)
def test_explain_agrees_with_the_walk(lines: list[str], path: str) -> None:
    rules = _rules("", *_good(lines))
    match = rules.explain(path)
    assert (match is not None and match.excluded) == _decide(rules, path)


@given(_lines, _paths, _paths)
def test_nothing_is_kept_below_a_pruned_directory(lines: list[str], directory: str, below: str) -> None:
    rules = _rules("", *_good(lines))
    if _decide(rules, directory) and rules.can_prune(directory):
        assert _decide(rules, f"{directory}/{below}")


@given(_paths.filter(lambda path: path == path.strip()), _paths)
def test_an_escaped_path_matches_itself_and_what_is_below(path: str, other: str) -> None:
    escaped = re.sub(r"[^\w/\x80-\U0010ffff]", r"\\\g<0>", path)
    rules = IgnoreRules.from_patterns([escaped], "test")
    assert _decide(rules, path)
    assert _decide(rules, other) == (other == path or other.startswith(path + "/"))


_PAGE = (Path(__file__).parents[2] / "docs" / "ignore.md").read_text(encoding="utf-8")


def _documented() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the examples of the documentation: an ignore file, what it excludes, what it keeps."""
    file = ""
    for part in re.split(r"\n\n+", _PAGE):
        if part.startswith("```dockerignore"):
            file = part.partition("\n")[2].removesuffix("```")
        header, *rows = part.split("\n")
        for row in rows[1:] if header == "| pattern | excludes | keeps |" else []:
            pattern, out, kept = (cell.strip() for cell in row.strip("|").split("|"))
            names = re.compile("`(.+?)`").findall
            yield "".join(names(pattern)) or file, names(out), names(kept)


@pytest.mark.parametrize(("file", "out", "kept"), list(_documented()))
def test_the_tables_of_the_documentation_are_right(file: str, out: list[str], kept: list[str]) -> None:
    assert out
    assert _kept(_rules(*file.split("\n")), [*out, *kept]) == kept


def test_the_documentation_has_its_examples() -> None:
    assert len(list(_documented())) > 25
    built_in = _PAGE.partition("excludes, at any depth: ")[2].partition(". ")[0]
    assert [f"**/{name}" for name in re.findall("`(.+?)`", built_in)] == list(DEFAULT_PATTERNS)
