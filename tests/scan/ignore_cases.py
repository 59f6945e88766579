"""What an ignore file means, case by case. The same table is put to the builders' own matcher."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """An ignore file, paths that it leaves out, and paths that it keeps."""

    title: str
    file: str | bytes
    out: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def content(self) -> bytes:
        return self.file if isinstance(self.file, bytes) else self.file.encode()


def _case(title: str, file: str | bytes, out: str, kept: str) -> Case:
    return Case(title, file, tuple(out.split("|")) if out else (), tuple(kept.split("|")) if kept else ())


READING = [
    _case("nothing", "", "", "a|a/b"),
    _case("blank lines and comments", "\n# a\n\n#a\n\t\n  \n", "", "a|# a|#a"),
    _case("a comment starts in the first column", " #x\na#b", "#x|a#b", "a|x"),
    _case("a byte order mark is no part of the first line", b"\xef\xbb\xbfa\nb", "a|b", "\ufeffa"),
    _case("only one byte order mark is", b"\xef\xbb\xbf\xef\xbb\xbfa", "\ufeffa", "a"),
    _case("a comment may follow the byte order mark", b"\xef\xbb\xbf#a", "", "#a|a"),
    _case("lines end in CRLF", "a\r\n\r\n!a/b\r\n# c\r\nd", "a|a/c|d", "a/b|c"),
    _case("the last line needs no end", "a\nb", "a|b", "c"),
    _case("space around a pattern goes", " \t a b \v\f\u00a0\u2003\n", "a b", "a|b| a b"),
    _case("separators that only Python strips stay", "\x1ca\n", "\x1ca", "a"),
    _case("space between the sign and the pattern goes", "*\n!  a", "b", "a|a/b"),
    _case("space inside stays", "a b", "a b", "a|b"),
    _case("a trailing slash goes", "data/", "data|data/x", "database|x/data"),
    _case("a leading slash goes", "/a\n/b/c", "a|b/c", "x/a|b"),
    _case("dots and doubled slashes go", "./a\nb//c\nfoo/../d\n./e/./f/", "a|b/c|d|e/f", "b|foo|e"),
    _case("going above the root finds nothing", "../a\n/../b", "b", "a"),
    _case("dot and slash match nothing", ".\n/\n./\n/.", "", "a|.a|a/b"),
    _case("a pattern that is empty after cleaning is ignored", "/ /\n", "", "a| "),
    _case("cleaning can bring out a sign", "*\n./!a\n/!b", "c|!a", "a|b"),
    _case("two signs mean a name with one", "*\n!!a", "a|b", "!a"),
    _case("a space after a leading slash goes", "/ a", "a", " a"),
]

GRAMMAR = [
    _case("a name is a whole path", "a", "a|a/b|a/b/c", "ab|b/a|A"),
    _case("rules hold below a matched directory", "a/b", "a/b|a/b/c/d", "a|a/c"),
    _case("a star stops at slashes", "*.csv\ndir/*.txt", "a.csv|.csv|dir/a.txt", "d/a.csv|dir/x/a.txt|a.csvx"),
    _case("a star matches dot files", "*", "a|.a|a/b", ""),
    _case("a star matches nothing too", "a*b", "ab|axb|a.b", "a/b|ab.c"),
    _case("a question mark is one character", "a?b", "axb|a.b|a\u00e9b|a\U0001f600b", "ab|a/b|axxb|ae\u0301b"),
    _case("a class", "[abc]x", "ax|cx", "dx|abx|x"),
    _case("a range", "[a-c]x", "ax|bx", "-x|dx"),
    _case("a negated class", "[^a]x", "bx|^x", "ax|x"),
    _case("a negated class matches a slash", "a[^b]c", "a/c|axc", "abc"),
    _case("an exclamation mark in a class is a member", "[!a]x", "!x|ax", "bx"),
    _case("escapes in a class", r"[\]a]x" + "\n" + r"[\-y]z", "]x|ax|-z|yz", r"\x|bx"),
    _case("an escaped wildcard is a character", "\\*\n\\?a\n\\[b", "*|?a|[b", "x|xa|b"),
    _case("an escaped sign or hash is a character", "\\!a\n\\#b", "!a|#b", "a|b"),
    _case("an escaped letter is read by the expression engine", r"a\d" + "\n" + r"\x62\143", "a1|bc", "ad|x62143"),
    _case("case counts", "README", "README", "readme"),
    _case("letters count as they are coded", "\u00e9", "\u00e9", "e\u0301"),
    _case("two stars and a slash: at any depth", "**/x", "x|a/x|a/b/x|x/y", "ax|a/xx"),
    _case("two stars and a path: at any depth", "**/a/b", "a/b|x/a/b|x/y/a/b/c", "a|b|xa/b|a/x/b"),
    _case("two stars before a name: any path with that end", "**x", "x|ax|a/bx|a/x", "xa"),
    _case("two stars before a name and a star", "**x*", "x|x1|a/x1", "myx1|a/myx1"),
    _case("a directory and two stars: what is below", "d/**", "d/a|d/a/b", "d|da"),
    _case("a name and two stars: a beginning", "d**", "d|da|d/a|da/b", "a|ad"),
    _case("two stars in between", "a/**/b", "a/b|a/x/b|a/x/y/b", "ab|a/xb|x/a/b"),
    _case("two stars in between, without slashes", "a**b", "ab|ax/b|a/x/b|a/b", "axb"),
    _case("two stars alone", "**", "a|a/b", ""),
    _case("two stars twice", "**/a/**/b", "a/b|x/a/b|x/a/y/b", "a|b|xa/b"),
    _case("three stars", "a/***", "a/b|a/b/c", "a"),
    _case("nothing else is special", "a.b\na+(b)\n$c", "a.b|a+(b)|$c", "axb|aab|c"),
    _case("case, space and unicode in one", "M\u00fcnchen *\n\u65e5?", "M\u00fcnchen 1|\u65e5\u672c", "m\u00fcnchen 1"),
]

ORDER = [
    _case("the last match wins", "a\n!a\na", "a", ""),
    _case("an exception before its rule does nothing", "!a\na", "a", ""),
    _case("an exception alone does nothing", "!a", "", "a|b"),
    _case("a file below an excluded directory comes back", "data\n!data/keep", "data|data/x", "data/keep|data/keep/y"),
    _case("everything but", "*\n!keep/y\n!top", "a|keep|keep/x", "keep/y|keep/y/z|top"),
    _case("everything but, at any depth", "*\n!**/*.py", "a|d|d/a.txt", "a.py|d/b.py|d/e/c.py"),
    _case("everything below but", "*\n!keep/**", "a|keep", "keep/x|keep/x/y"),
    _case("one file of a directory", "docs\n!docs/README.md", "docs|docs/a", "docs/README.md"),
    _case("brought back and taken out again", "a\n!a/b\na/b/c", "a|a/x|a/b/c", "a/b|a/b/x"),
    _case("an exception holds below a directory", "d\n!d/keep\n**/*.tmp", "d|d/keep/a.tmp", "d/keep|d/keep/a"),
    _case("a file whose name starts with the sign", "*\n!!foo", "foo", "!foo"),
]

# The walk asks a rule about a directory once, when it gets there. An exception that had nothing to bring back
# then, or a rule that had nothing left to take out, is not asked again for what is below.
WALK = [
    _case("an exception met too early does not hold below", "d/*\n!d", "d/x", "d"),
    _case("nor does one at another depth", "**/x\n!a\nb", "a/x", "a|a/y"),
    _case("a rule met while already out is not remembered", "a\na*\n!a", "", "a|a/b"),
    _case("what is carried wins over the order below", "d\n!d/e\nd/e/f\n!d/e", "d/e/f|d/x", "d/e|d/e/x"),
]

# One row for each way in which an earlier reading of the grammar differed from the builders' own.
REGRESSIONS = [
    _case("a vertical bar separates two expressions", "a|b*", "a|ax|xb|b/c|x/bc", "x|cx"),
    Case("a vertical bar in a plain name is one", "x|y", ("x|y",), ("x", "y")),
    _case("braces repeat in an expression", "ab{2}?", "abbx", "ab{2}x|abb"),
    _case("braces with words in them are characters", "*.{py,js}", "a.{py,js}", "a.py|a.js"),
    _case("braces in a plain name are characters", "a{2}", "a{2}", "aa"),
    _case("a character by its number in braces", r"\x{61}b", "ab", "x{61}b"),
    _case("a start that may repeat no times does not hold", "{0}a*", "a|xa|x/ab", "b"),
    _case("a class of a star ends early", "[*]x", "[]x|]x|^[]x", "*x"),
    _case("a class of a question mark ends early", "[?]x", "[]x|^]x", "?x"),
    _case("a malformed class after a star passes", "a*[]b]", "ab|a]|axxb|a[]b]", "a|b|ac"),
    _case("a caret stays an anchor in an expression", "^a*\nc/^b*", "a|ab", "^a|^ab|c/b|c/^b"),
    _case("a caret in a plain name is one", "a^b", "a^b", "ab"),
    _case("a quote swallows the end", r"a\Q*", "a[^/]*$|a[^/]*$x", "a|ab"),
    _case("a named class", "[[:alpha:]]1", "a1|Z1", ":1|11|[1"),
    _case("digits are ASCII", "\\d\n", "1", "\u0661"),
    _case("any directory has no line break in its name", "**/*.py", "a/x.py", "a\nb/x.py"),
    _case("unless what follows is a plain name", "**/x", "a\nb/x", ""),
    _case("a star matches a line break", "a*b", "a\nb", ""),
    _case("bytes that are not UTF-8 in a plain name", b"\xff", "\udcff", "\udcfe|\ufffd"),
    _case("bytes that are not UTF-8 in an expression are all the same", b"\xff*", "\udcff|\udcfex|\ufffd", "a"),
    _case("a question mark is one such byte", "a?", "a\udcff", "a\udcff\udcfe"),
    _case("a negated class matches such a byte", "a[^b]", "a\udcff", ""),
    _case(
        "a class with the replacement character matches such a byte", "a[\uff00-\uffff]", "a\udcff|a\ufffd", "a\ue000"
    ),
    _case("a class without it does not", "a[\ud7ff-\ue000]", "a\ue000", "a\udcff"),
    _case("the beginning of a character is a beginning", b"a\xc3**", "a\u00e9|a\udcc3", "a\u00a9"),
    _case("the end of a character is an end", b"**\xa9", "a\u00e9|\udca9", "a\u00e8"),
    _case("a byte order mark inside is skipped by an expression", "a\n\ufeffb*", "bc", "\ufeffb"),
    _case("but not in a plain name", "a\n\ufeffb", "\ufeffb", "b"),
    _case("nor where the pattern starts with two stars", b"a\n\xef\xbb\xbf**b", "c\u00ff**b|\udcbf**b", "b|ab|\ufeffb"),
    _case(
        "nor is a backslash at the end a wildcard there", b"a\n\xef\xbb\xbf**{9999}\\", "\u00ff**{9999}\\", "b{9999}\\"
    ),
    _case("pieces between stars", "a*bc*bd*c", "abcbdc|abcbcbdxc", "abcbd|abxcbdc|abc/bdc"),
    _case("a slash that a class matches between stars", "*[^x]b*c", "ab/bc|abbc", "xbc|ab/c"),
    _case("a repetition of what repeats no times", r"a?{600}\Q\E{0}\Q\E{9}", "a", "ab"),
    _case("a vertical tab is space, but not for the escape", "a\\s\nb[[:space:]]", "a\t|b\v", "a\v"),
    _case("a class after a star may end with a dash", "a*[b-]", "a-|ab|axb", "a|ac"),
    _case("a class after a class and a star passes unseen", "[^.]*[]b]", "ab|b]", ".b|a|b"),
    _case("and after a class that needs more than one character", "[.]x*[]b]", ".xb|.x]", ".x"),
]

UPSTREAM = [
    _case("slashes and dots around a name", "data/\n/out\n./tmp\nfoo/../x", "data/a|out|tmp|x", "foo"),
    _case("stars stop at slashes", "*.csv\ndir/*.txt\na?b", "t.csv|dir/a.txt", "d/t.csv|dir/e/a.txt|a/b"),
    _case("any depth includes none", "**/x\na/**/b", "x|y/x|a/b|a/c/b", ""),
    _case("a kept file below an excluded directory", "data\n!data/keep", "data/a", "data/keep"),
    _case("a hash inside a line", "foo#bar", "foo#bar", "foo"),
    _case("escapes and negated classes", "\\*\n[^a]", "*|b", "a|bc"),
    _case("a file that is really named with a sign", "!foo", "", "!foo|foo"),
]

SPEC_PAGE = _case(
    "the example of the TorchX page",
    """\
# Exclude version control and IDE files
.git
.vscode
__pycache__

# Exclude data directories
data/
*.csv

# But include a specific config file
!data/config.yaml
""",
    ".git/HEAD|.vscode/settings.json|__pycache__/a.pyc|data|data/train.bin|table.csv",
    "data/config.yaml|pkg/__pycache__/a.pyc|pkg/table.csv|train.py",
)

CASES = [*READING, *GRAMMAR, *ORDER, *WALK, *REGRESSIONS, *UPSTREAM, SPEC_PAGE]

MALFORMED: list[tuple[str, bytes]] = [
    ("a sign alone", b"!"),
    ("a sign and space", b" ! \t"),
    ("a sign and the root", b"!/"),
    ("an open class", b"["),
    ("an open class in a name", b"a[b"),
    ("an empty class", b"[]"),
    ("a class that starts with its end", b"[]a]"),
    ("a class that ends with a dash", b"[x-]"),
    ("a class that starts with a dash", b"[-x]"),
    ("a range of a range", b"[a-b-c]"),
    ("a range that runs backwards", b"[z-a]"),
    ("a malformed class after two stars", b"**/[]"),
    ("a malformed class after a star that a dot gets to", b".*[]b]"),
    ("after an escaped one", b"\\.*[]b]"),
    ("after a question mark", b"?*[]b]"),
    ("after a class with a dot", b"[a.]*[]b]"),
    ("after a class of a range with a dot", b"[+-/]*[]b]"),
    ("after a negated class without a dot", b"*[^a]*[]b]"),
    ("a class of a byte that is not UTF-8", b"[\xff]"),
    ("an unknown named class", b"[[:nope:]]"),
    ("a backslash at the end", b"a\\"),
    ("an escaped space at the end", b"a\\ "),
    ("an escape that the expression engine does not know", b"a\\q"),
    ("an escaped letter beyond ASCII", "\\\u00e9".encode()),
    ("an escaped symbol beyond ASCII", "\\\u2192".encode()),
    ("a back reference", b"a\\1"),
    ("a half hexadecimal escape", b"\\x6*"),
    ("a repeated wildcard", b"*{2}"),
    ("a repetition of nothing", b"*|{2}"),
    ("too many repetitions", b"?{1001}"),
    ("too many repetitions in all", b"?{40}\\Q\\E{40}"),
    ("too many repetitions in between", b"?{600}\\Q\\E{0,}\\Q\\E{2}"),
    ("repetitions backwards", b"?{2,1}"),
    ("a line of 64 KiB", b"a" * 65536),
    ("a comment of 64 KiB", b"#" + b"a" * 65535),
]
