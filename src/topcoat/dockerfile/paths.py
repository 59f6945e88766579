"""Paths of a Dockerfile: cleaned as Go does it, resolved inside an image, matched by wildcards."""

from __future__ import annotations

import re
from collections.abc import Callable

from topcoat.errors import InvalidImage
from topcoat.rootfs.nodes import BaseTree
from topcoat.rootfs.target import resolve_target
from topcoat.scan.ignore import clean

# As many as BuildKit follows.
_MOST_LINKS = 255
_LITERAL = r"[^\\\]\-]|\\."
_ELEMENT = re.compile(
    rf"(?P<star>\*)|(?P<one>\?)|\[(?P<not>\^|(?!\^))(?P<class>(?:(?:{_LITERAL})(?:-(?:{_LITERAL}))?)+)\]"
    r"|\\(?P<escaped>.)|(?P<char>[^\[\\])",
    re.DOTALL,
)
_RANGE = re.compile(rf"({_LITERAL})(?:-({_LITERAL}))?", re.DOTALL)


def encode(text: str) -> bytes:
    """Return the bytes that a part of a Dockerfile was read from."""
    return text.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """Return *path* as text, bytes that are not UTF-8 as surrogates."""
    return path.decode("utf-8", "surrogateescape")


def inside(path: str, directory: str = "/") -> bytes:
    """Return *path* as seen from *directory*, cleaned, relative to the root; empty for the root itself."""
    return encode(clean(f"/{path}" if path.startswith("/") else f"/{directory}/{path}").lstrip("/"))


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of *name* in *directory*; either may be empty."""
    return directory + b"/" + name if directory and name else directory or name


def resolve(tree: BaseTree, path: bytes) -> bytes:
    """Follow all links of *path* within *tree*, that of its last component too; what is missing stays as it is.

    Raises:
        ValueError: something on the way is no directory, or links go round in a circle.
    """
    for _ in range(_MOST_LINKS):
        above, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return land_in(tree, path)
        above = land_in(tree, above)
        path = join(above, name)
        node = tree.find(path)
        if node is None or node.kind != "link":
            return path
        # As in `resolve_target`: ``..`` of a relative link takes back a name even where that is a link.
        path = node.link if node.link.startswith(b"/") else inside(decode(node.link), decode(above))
    raise ValueError(f"/{decode(path)} is behind too many links")


def land_in(tree: BaseTree, path: bytes) -> bytes:
    """Return the directory that *path* leads to in *tree*, whether it exists or not.

    Raises:
        ValueError: something on the way is no directory, or links go round in a circle.
    """
    try:
        return resolve_target(tree, path).target
    except InvalidImage as error:
        raise not_a_directory(error) from None


def not_a_directory(error: InvalidImage) -> ValueError:
    """Return *error* without the words that are true of a base image alone."""
    return ValueError(error.message.replace(" of the base image", "").replace(" in the base image", ""))


def has_wildcards(path: str) -> bool:
    """Tell whether *path* has a wildcard that no backslash escapes."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", path, flags=re.DOTALL)) is not None


def matcher(pattern: str) -> Callable[[str], object]:
    r"""Return what tells whether a path matches *pattern*, by Go's ``filepath.Match``: ``* ? [a-z] [^a-z] \c``.

    ``*`` and ``?`` stay within a path's component, a class does not.

    Raises:
        ValueError: the pattern is malformed.
    """
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        found = _ELEMENT.match(pattern, at)
        if not found:
            raise ValueError(f"{pattern}: syntax error in pattern")
        at = found.end()
        if found["star"]:
            parts.append("[^/]*")
        elif found["one"]:
            parts.append("[^/]")
        elif found["class"]:
            parts.append(_class(found["class"], negated=bool(found["not"])))
        else:
            parts.append(re.escape(found["escaped"] or found["char"]))
    return re.compile("".join(parts), re.DOTALL).fullmatch


def _class(members: str, *, negated: bool) -> str:
    ranges = [(low[-1], high[-1:] or low[-1]) for low, high in _RANGE.findall(members)]
    # A range that runs backwards holds nothing.
    held = "".join([f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high])
    if not held:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{held}]"
