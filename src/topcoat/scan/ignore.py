"""Ignore files: the ``.dockerignore`` grammar, applied path by path as BuildKit does during its walk.

The rules are one list. A path is kept at first; a plain rule may exclude it, a ``!`` rule may bring it back, and the
last rule that applies wins. A rule applies to a path if its pattern matches the path, or if the rule applied to the
directory above. A plain rule is tried only while the path is kept, a ``!`` rule only while it is excluded; a rule that
was not tried for a directory does not apply to the paths below it because of that directory.

So a walk passes one bit for each rule from a directory to its children. Consecutive rules of the same sign can share a
bit, because later rules and the children depend only on whether any of them applied. Such a run of rules is one regular
expression, and the state of a walk is an integer with one bit for each run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import groupby
from typing import ClassVar, NamedTuple

from topcoat.errors import InvalidIgnorePattern
from topcoat.scan.pattern import Term, compile_pattern, decode, encode, matcher

State = int
"""What a walk passes from a directory to its children."""

DEFAULT_PATTERNS = (
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.venv",
    "**/venv",
    "**/node_modules",
    "**/__pycache__",
    "**/*.pyc",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ruff_cache",
    "**/.hypothesis",
    "**/.tox",
    "**/.nox",
    "**/.ipynb_checkpoints",
    "**/.DS_Store",
)
"""Excluded if a workspace has no ignore file: version control, environments, caches."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAX_LINE_BYTES = 64 * 1024 - 1
# Go's unicode.IsSpace; str.strip() alone would also take U+001C to U+001F.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_WILDCARDS = frozenset("*[]?^\\")


class Match(NamedTuple):
    """The rule that decided about a path.

    Attributes:
        pattern: the line as written, without the white space around it.
        file: the ignore file's name as passed to the parser.
        line: line number in the file, from 1.
        excluded: whether the path is excluded; False for a ``!`` rule.
    """

    pattern: str
    file: str
    line: int
    excluded: bool


class Rule(NamedTuple):
    """One line of an ignore file.

    Attributes:
        line: the line, as `IgnoreRules.explain` returns it.
        pattern: cleaned, without the ``!``.
        term: the compiled pattern.
    """

    line: Match
    pattern: str
    term: Term


class _Run(NamedTuple):
    bit: State
    negated: bool
    matches: Callable[[str], object]


class IgnoreRules:
    """The rules of a workspace, in order.

    Paths are relative to the workspace's root, separated by ``/``, without a leading one, decoded with
    ``surrogateescape``. Matching is case-sensitive on every platform.

    Attributes:
        rules: the rules.
        touches: tells whether any plain rule matches a path. If none does and the directory's state is 0, the path is
            kept.
    """

    __slots__ = ("_reopened", "_runs", "rules", "touches")

    ROOT_STATE: ClassVar[State] = 0

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        runs: list[_Run] = []
        for negated, run in groupby(self.rules, key=lambda rule: not rule.line.excluded):
            runs.append(_Run(1 << len(runs), negated, matcher(rule.term for rule in run)))
        plain = [rule.term for rule in self.rules if rule.line.excluded]
        self._runs = tuple(runs)
        self.touches: Callable[[str], object] = matcher(plain) if plain else _nothing
        self._reopened = _reopened(self.rules)

    @classmethod
    def parse(cls, sources: Iterable[tuple[str, bytes]]) -> IgnoreRules:
        """Read ignore files, as pairs of name (for messages) and content, as one list.

        Raises:
            InvalidIgnorePattern: lists every malformed line of all files, by file and line; or a file holds NUL bytes.
        """
        sources = list(sources)
        for name, content in sources:
            if b"\0" in content or content.startswith(_UTF16):
                number = content.partition(b"\0")[0].count(b"\n") + 1
                raise InvalidIgnorePattern(
                    f"{name}:{number}: malformed pattern with a NUL byte: the file may be in UTF-16, in which "
                    "no rule would match",
                    hint="save it as UTF-8",
                )
        return cls._build(
            (name, number, line)
            for name, content in sources
            for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1)
        )

    @classmethod
    def from_patterns(cls, patterns: Iterable[str], name: str) -> IgnoreRules:
        """Read *patterns* as the lines of an ignore file called *name*.

        Raises:
            InvalidIgnorePattern: as for `parse`.
        """
        return cls._build((name, number, encode(pattern)) for number, pattern in enumerate(patterns, 1))

    @classmethod
    def _build(cls, lines: Iterable[tuple[str, int, bytes]]) -> IgnoreRules:
        rules: list[Rule] = []
        errors: list[str] = []
        for name, number, line in lines:
            try:
                rules += _read(name, number, line)
            except ValueError as error:
                shown = line.strip().decode(errors="backslashreplace")
                shown = shown if len(shown) < 80 else shown[:77] + "..."
                errors.append(f"{name}:{number}: malformed pattern {shown}: {error}")
        if errors:
            raise InvalidIgnorePattern(
                "\n".join(errors),
                hint="correct or remove the line; a class is [abc], [a-z] or [^a-z], a backslash escapes punctuation",
            )
        return cls(tuple(rules))

    def __len__(self) -> int:
        return len(self.rules)

    def decide(self, path: str, parent: State) -> tuple[bool, State]:
        """Tell whether *path* is excluded, and return the state for the paths below it.

        Args:
            path: a path of the workspace.
            parent: the state of its directory; `ROOT_STATE` for the members of the root.
        """
        if not parent and not self.touches(path):
            return False, 0
        excluded = False
        for bit, negated, matches in self._runs:
            if parent & bit or (excluded is negated and matches(path)):
                parent |= bit
                excluded = not negated
        return excluded, parent

    def can_prune(self, path: str) -> bool:
        """Tell whether a walk may skip the excluded directory *path*, because no ``!`` rule reaches below it.

        As in BuildKit, only if every ``!`` rule is a plain path, optionally with ``/*`` or ``/**`` at the end.
        """
        return self._reopened is not None and path not in self._reopened

    def explain(self, path: str) -> Match | None:
        """Return the rule that decided about *path*, None if no rule applies."""
        decisive: Match | None = None
        applied: set[int] = set()
        for end in [*(at for at, char in enumerate(path) if char == "/"), len(path)]:
            excluded, decisive = False, None
            for index, rule in enumerate(self.rules):
                if index in applied or (excluded is not rule.line.excluded and _single(rule.term)(path[:end])):
                    applied.add(index)
                    excluded, decisive = rule.line.excluded, rule.line
        return decisive


def ignore_hint(path: str) -> str:
    """Return what to type so that *path* is left out."""
    line = re.sub(r"[*?\[\]\\^|{}]|\A[#!]", r"\\\g<0>", path)
    # White space at the ends is not part of a rule.
    line = re.sub(r"\A\s|\s\Z|[\0-\x1f\x7f]", "?", line)
    return f"add the line {line} to .torchxignore (`topcoat init` writes one)"


def _read(name: str, number: int, line: bytes) -> list[Rule]:
    """Read one line: at most one rule. The two steps are the file reader's and the matcher's."""
    if len(line) > _MAX_LINE_BYTES:
        raise ValueError(f"the line is longer than {_MAX_LINE_BYTES} bytes")
    text = decode(line.removeprefix(_BOM) if number == 1 else line)
    written = text.strip(_SPACE)
    if text.startswith("#") or not written:
        return []
    sign = "!" if written.startswith("!") else ""
    pattern = written[len(sign) :].strip(_SPACE)
    if pattern:
        pattern = clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    pattern = (sign + pattern).strip(_SPACE)
    if not pattern:
        return []
    pattern = clean(pattern)
    excluded = not pattern.startswith("!")
    if not excluded:
        pattern = pattern[1:]
        if not pattern:
            raise ValueError("nothing follows the exclamation mark")
    return [Rule(Match(written, name, number, excluded), pattern, compile_pattern(pattern))]


def clean(path: str) -> str:
    """Return *path* as Go's ``path.Clean`` does: unlike ``normpath``, ``//a`` becomes ``/a``."""
    root = "/" if path.startswith("/") else ""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".", "..") or (part == ".." and not root):
            parts.append(part)
    return root + "/".join(parts) or "."


def _reopened(rules: Iterable[Rule]) -> frozenset[str] | None:
    """Return the path of every ``!`` rule and the directories above; None if one has wildcards."""
    paths: set[str] = set()
    for rule in rules:
        if rule.line.excluded:
            continue
        path = rule.pattern.removesuffix("/**").removesuffix("/*")
        if not _WILDCARDS.isdisjoint(path):
            return None
        paths.add(path)
        paths.update(path[:at] for at, char in enumerate(path) if char == "/")
    return frozenset(paths)


@lru_cache(maxsize=4096)
def _single(term: Term) -> Callable[[str], object]:
    return matcher([term])


def _nothing(path: str) -> bool:
    return False
