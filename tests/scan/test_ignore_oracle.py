"""The ignore rules against the Go code that container builders run: random rules, random trees, no difference.

``TOPCOAT_ORACLE_CASES`` sets the number of (pattern list, path) pairs, ``TOPCOAT_ORACLE_SEED`` another start.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.components.host import ENVIRON
from tests.scan.ignore_cases import CASES as TABLE
from tests.scan.ignore_cases import MALFORMED, Case
from tests.scan.oracle.client import Answer, Oracle

from topcoat.errors import InvalidIgnorePattern
from topcoat.scan.ignore import IgnoreRules

CASES = int(ENVIRON.get("TOPCOAT_ORACLE_CASES") or 10_000)
CORPUS = Path(__file__).parents[1] / "fuzz/corpus/ignore_file"
SEED = int(ENVIRON.get("TOPCOAT_ORACLE_SEED") or 0)

_NAMES = r"""
a b c x ab abc data docs src keep foo.csv x.py .git .env README.md __pycache__ a.b..c ..a a... ABC a1 7 aa aab E Q
! !a #a [a] ] ^ ^a $ {a} a{2} (a|b) | a+ \ \a - * ** ? _ é 日本 😀
"""
_ATOMS = r"""
* ** ? / **/ /** /**/ */ /* *** **** **/**/ . .. /../ // ./ /./ a b c x ab 1 - ! # ^ $ ( ) | + { } _ ~ && --
{1} {2} {0} {0,} {1,2} {2,} {,2} {2,1} {01} {1000} {1001} {40}\Q\E{40} {0}\Q\E{9} |* *| a|b ^| |^ |**/ }{
[a] [^a] [!a] [a-c] [^a-c] [ab.] [^/] [.] [*] [?] [**] [a*] [**/] [[] [\]] [] []a] [a-] [-a] [a-b-c] [c-a] [ ] [^
[^] [\-] [\d] [^\w] [+-9] [!-~] [/] [--/] [.-0] [|] [{2}] [a\].] [[:alpha:]] [^[:alpha:]] [[:^digit:]] [[:nope:]]
[[:a] [a[:space:]] [[:punct:][:upper:]] [\pL] [\PN] [^\D] [\x61-c] [\Q] [à-ï] [^é]
\a \* \? \[ \] \\ \. \/ \! \# \d \D \w \W \s \S \b \B \A \z \Z \Q \E \C \n \t \v \x61 \x6 \141 \0 \1 \12 \8 \é
\pL \PL \pl \pN \p^ \px \p{L} \p{^lu} \P{N} [\p{^L}\pN] \p{x \p{} \x{61} \x{0} \x{} \x{110000} [\x{62}-c] \p{Cs} \P{cs}
\- \_ \^ \$ \| \{ \ \E* \Q*\E \Qa|b\E é 日 😀
"""
NAMES = _NAMES.split()
NAMES += ["a b", " ", " a", "a ", "\t", "a\nb", "\n", "\x7f", "\u0085", "\u00a0a", "\u2028", "\x1c", "\u00c3"]
NAMES += ["e\u0301", "\ufeff", "\ufeffa", "\ufffd", "a\ufffd", "\u00a9"]
RAW_NAMES = [b"\xff", b"a\xff", b"\xc3", b"a\xc3", b"\xa9", b"\xa9a", b"\xe6\x97", b"\xed\xa0\x80", b"\xfe.py", b"\xbf"]
ATOMS = _ATOMS.split()
# Without NUL: topcoat refuses it, for it is UTF-16, and the builder does not.
ATOMS += ["\\ ", " ", "\t", "[^\t]", "\x1c", "\r", "\x0b", "\u0085", "\u00a0", "\u2003", "\ufeff", "\ufffd"]
ATOMS += ["[\ufffd]", "[^\ufffd]", "[\u0080-\uffff]", "[\u0080-\U0010ffff]", "[\ud7ff-\ue000]"]
RAW_ATOMS = [b"\xff", b"\xc3", b"\xa9", b"\xe6", b"\x97\xa5", b"[\xff]", b"\\\xff", b"[^\xff]", b"\xed\xa0\x80"]
LEADS = [*[b""] * 5, b"/", b"./", b"//", b" ", b"**/", b"**/", b"**", b"*", b"\t", b"../", b"/../", b"/ ", b"#"]
TAILS = [*[b""] * 5, b"/", b" ", b"\r", b"/**", b"/*", b"**", b"*", b"/.", b"//", b"/..", b" /", b"\\"]
SIGNS = [b"", b"", b"", b"!", b"!", b"! ", b"!!", b" !", b"!/", b"/!", b"./!", b"\xef\xbb\xbf"]
SIMPLE_SIGNS = [b"", b"!"]


class Generator:
    """Random trees, and random ignore files about the names in them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def name(self) -> bytes:
        roll = self.random.random()
        if roll < 0.05:
            return self.random.choice(RAW_NAMES)
        if roll < 0.4:
            return self.random.choice(NAMES[:10]).encode()
        if roll < 0.5:
            made = b"".join(self.name() for _ in range(2))
            return made if len(made) < 40 else b"a"
        return self.random.choice(NAMES).encode()

    def tree(self, size: int) -> list[bytes]:
        """Return the paths of a tree, directories with a slash at the end."""
        directories = [b""]
        kinds: dict[bytes, bool] = {}
        while len(kinds) < size:
            path = self.random.choice(directories[-6:]) + self.name()
            if path in kinds:
                path += b"%d" % len(kinds)
            kinds[path] = self.random.random() < 0.45
            if kinds[path]:
                directories.append(path + b"/")
        return [path + (b"/" if directory else b"") for path, directory in kinds.items()]

    def pattern(self, paths: list[bytes], *, odd: bool) -> bytes:
        pattern = self._from_path(self.random.choice(paths)) if self.random.random() < 0.75 else self._atoms()
        if not odd:
            lead = self.random.choice([b"", b"", b"", b"**/", b"/"])
            return self.random.choice(SIMPLE_SIGNS) + lead + pattern
        pattern = self.random.choice(LEADS) + pattern + self.random.choice(TAILS)
        return self.random.choice(SIGNS) + pattern

    def _atoms(self) -> bytes:
        return b"".join(self._atom() for _ in range(self.random.randint(1, 6)))

    def _atom(self) -> bytes:
        if self.random.random() < 0.05:
            return self.random.choice(RAW_ATOMS)
        return self.random.choice(ATOMS).encode("utf-8", "surrogatepass")

    def _from_path(self, path: bytes) -> bytes:
        """Return *path* with some of it replaced by wildcards, classes and escapes that may still match."""
        text = path.rstrip(b"/").decode("utf-8", "surrogateescape")
        parts = text.split("/")
        parts = parts[self.random.choice([0, 0, 0, self.random.randrange(len(parts))]) :]
        if self.random.random() < 0.3:
            parts = parts[: self.random.randint(1, len(parts))]
        made = [self._component(part) for part in parts]
        if self.random.random() < 0.25:
            made.insert(self.random.randint(0, len(made)), b"**")
        return b"/".join(made)

    def _component(self, part: str) -> bytes:
        roll = self.random.random()
        if roll < 0.45:
            return part.encode("utf-8", "surrogateescape")
        if roll < 0.6:
            return self.random.choice([b"*", b"**", b"?", b"*.*", b"[^a]*", b"?*"])
        made = b""
        for char in part:
            raw = char.encode("utf-8", "surrogateescape")
            roll = self.random.random()
            if roll < 0.5:
                made += raw
            elif roll < 0.6:
                made += b"\\" + raw
            elif roll < 0.7:
                made += b"*"
            elif roll < 0.75:
                made += b"**"
            elif roll < 0.85:
                made += b"?"
            elif roll < 0.9:
                made += b"[" + raw + b"]"
            elif roll < 0.95:
                made += b"[^" + self.random.choice([b"q", b"a", raw]) + b"]"
            else:
                made += self._atom()
        return made

    def lines(self, paths: list[bytes]) -> list[bytes]:
        count = self.random.choice([1, 1, 2, 2, 3, 4, 5, 8, 12])
        odd = self.random.random() < 0.6
        return [self.pattern(paths, odd=odd).replace(b"\n", b"") for _ in range(count)]


def _parse(content: bytes) -> IgnoreRules | None:
    try:
        return IgnoreRules.parse([("ignore", content)])
    except InvalidIgnorePattern:
        return None


def _decide(rules: IgnoreRules, path: str) -> bool:
    """Decide about *path* from the root down, as a walk does."""
    state, excluded = rules.ROOT_STATE, False
    for end in [*(at for at, char in enumerate(path) if char == "/"), len(path)]:
        excluded, state = rules.decide(path[:end], state)
    return excluded


def _emitted(rules: IgnoreRules, tree: list[bytes]) -> list[bytes]:
    """Walk *tree*: what is kept, with the excluded directories above it, sorted."""
    members: dict[str, list[str]] = {}
    for path in map(os.fsdecode, tree):
        parent, slash, _ = path.rstrip("/").rpartition("/")
        members.setdefault(parent + slash, []).append(path)
    kept: set[str] = set()
    pending = [("", rules.ROOT_STATE)]
    while pending:
        directory, state = pending.pop()
        for path in members.get(directory, []):
            bare = path.rstrip("/")
            excluded, below = rules.decide(bare, state)
            if not excluded:
                kept.add(bare)
                kept.update(bare[:at] for at, char in enumerate(bare) if char == "/")
            if path.endswith("/") and not (excluded and rules.can_prune(bare)):
                pending.append((path, below))
    return sorted(map(os.fsencode, kept))


def _check(oracle: Oracle, content: bytes, tree: list[bytes]) -> int:
    """Compare everything about one ignore file and one tree; return how many matches depend on the walk."""
    paths = [path.rstrip(b"/") for path in tree]
    oracle_result: Answer = oracle.ask(content, paths, tree=tree)
    rules = _parse(content)
    assert (rules is not None) == (not oracle_result.error and oracle_result.valid), (content, oracle_result.error)
    if rules is None:
        return 0
    patterns = [("" if rule.line.excluded else "!") + rule.pattern for rule in rules.rules]
    assert [pattern.encode("utf-8", "surrogateescape") for pattern in patterns] == oracle_result.patterns, content
    for path, expected in zip(paths, oracle_result.walked, strict=True):
        name = os.fsdecode(path)
        assert _decide(rules, name) == expected, (content, path)
        rule = rules.explain(name)
        assert (rule is not None and rule.excluded) == expected, (content, path)
    assert _emitted(rules, tree) == sorted(oracle_result.emitted), (content, tree)
    if not any(pattern.startswith(b"!") for pattern in oracle_result.patterns):
        assert oracle_result.walked == oracle_result.whole
    return sum(walked != whole for walked, whole in zip(oracle_result.walked, oracle_result.whole, strict=True))


def test_random_rules_and_trees_agree_with_the_builders_matcher(ignore_oracle: Oracle) -> None:
    generator = Generator(SEED)
    pairs = lists = refused = excluded_by_walk = 0
    while pairs < CASES:
        tree = generator.tree(50)
        good = []
        for line in generator.lines(tree):
            # A malformed line says nothing about paths; that both refuse it is all there is to compare.
            if _parse(b"\n" + line) is None:
                refused += 1
                oracle_result = ignore_oracle.ask(b"\n" + line)
                assert oracle_result.error or not oracle_result.valid, line
            else:
                good.append(line)
        start = generator.random.choice([b"", b"", b"", b"\xef\xbb\xbf", b"# comment\n"])
        ending = generator.random.choice([b"\n", b"\n", b"\r\n"])
        excluded_by_walk += _check(ignore_oracle, start + ending.join(good), tree)
        pairs += len(tree)
        lists += 1
    print(
        f"{pairs} pairs, {lists} lists, {refused} lines refused, {excluded_by_walk} differ from MatchesOrParentMatches"
    )
    assert refused


def test_patterns_with_many_wildcards_agree_with_the_builders_matcher_on_deep_paths(ignore_oracle: Oracle) -> None:
    generator = Generator(SEED)
    choose, pairs = generator.random.choice, 0
    while pairs < CASES // 10:
        paths = [b"/".join(choice.encode() for choice in generator.random.choices("abc", k=60)) for _ in range(10)]
        lines = []
        for _ in range(4):
            parts = [choose([b"**", b"**", b"*", b"a", b"b", b"[^c]", b"a**", b"?{0,3}"]) for _ in range(15)]
            lines.append(choose(SIMPLE_SIGNS) + b"/".join(parts))
        _check(ignore_oracle, b"\n".join(lines), [path + b"/" for path in paths])
        pairs += 10


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_inputs_of_the_fuzzer_agree_with_the_builders_matcher(ignore_oracle: Oracle, path: Path) -> None:
    tree = [b"src/", b"src/a.py", b"a/", b"a/b/", b"a/b/c", b"x", b"b.pyc", b"keep.pyc", "é".encode(), b"\xff", b"7"]
    _check(ignore_oracle, path.read_bytes().replace(b"\0", b""), tree)


@pytest.mark.parametrize("case", TABLE, ids=[case.title for case in TABLE])
def test_the_table_of_cases_agrees_with_the_builders_matcher(ignore_oracle: Oracle, case: Case) -> None:
    paths = [*case.out, *case.kept]
    oracle_result = ignore_oracle.ask(case.content, map(os.fsencode, paths))
    assert not oracle_result.error
    assert [path for path, excluded in zip(paths, oracle_result.walked, strict=True) if excluded] == list(case.out)


@pytest.mark.parametrize(("title", "content"), MALFORMED, ids=[title for title, _ in MALFORMED])
def test_the_builders_refuse_every_line_of_the_table_of_malformed_lines(
    ignore_oracle: Oracle, title: str, content: bytes
) -> None:
    oracle_result = ignore_oracle.ask(content)
    assert oracle_result.error or not oracle_result.valid


def test_a_real_tree_is_walked_as_the_listed_one(ignore_oracle: Oracle, tmp_path: Path) -> None:
    generator = Generator(SEED)
    for index in range(20):
        root = tmp_path / str(index)
        root.mkdir()
        tree = generator.tree(30)
        for path in tree:
            here = os.path.join(os.fsencode(root), path)
            if path.endswith(b"/"):
                os.mkdir(here)
            else:
                Path(os.fsdecode(here)).touch()
        content = b"\n".join(line for line in generator.lines(tree) if _parse(b"\n" + line))
        oracle_result = ignore_oracle.ask(content, root=str(root))
        assert sorted(oracle_result.emitted) == sorted(ignore_oracle.ask(content, tree=tree).emitted)


@pytest.mark.parametrize("length", [65535, 65536, 65537])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nb\n"])
@pytest.mark.parametrize("start", [b"#", b"a\n#", b"\xef\xbb\xbf#", b"*"])
def test_the_maximum_line_length_is_that_of_the_builders(
    ignore_oracle: Oracle, length: int, ending: bytes, start: bytes
) -> None:
    last = start.rpartition(b"\n")[2]
    content = start + b"/" * (length - len(last) - len(ending.partition(b"\n")[0])) + ending
    oracle_result = ignore_oracle.ask(content)
    assert (_parse(content) is None) == bool(oracle_result.error), oracle_result.error
