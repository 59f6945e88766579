"""Paths of a Dockerfile: cleaned as Go does it, resolved inside an image, matched by wildcards."""

from __future__ import annotations

import re
from collections.abc import Callable

from topcoat.errors import InvalidImage, NeedsBuilder
from topcoat.rootfs.nodes import BaseTree
from topcoat.rootfs.target import resolve_target
from topcoat.scan.automaton import Automaton
from topcoat.scan.ignore import clean
from topcoat.scan.pattern import decode, encode
from topcoat.scan.re2 import BEGIN, END, STAR, Element

# BuildKit's limit.
_MAX_LINKS = 255


def inside(path: str, directory: str = "/") -> bytes:
    """Return *path* relative to the root, cleaned; a relative *path* starts from *directory*. The root is empty."""
    return encode(clean(f"/{path}" if path.startswith("/") else f"/{directory}/{path}").lstrip("/"))


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of *name* in *directory*; either may be empty."""
    return directory + b"/" + name if directory and name else directory or name


def resolve(tree: BaseTree, path: bytes) -> bytes:
    """Follow all links of *path* within *tree*, also that of its last component. A missing path stays as it is.

    Raises:
        ValueError: a component is not a directory, or the links form a loop.
    """
    for _ in range(_MAX_LINKS):
        above, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return land_in(tree, path)
        above = land_in(tree, above)
        path = join(above, name)
        node = tree.find(path)
        if node is None or node.kind != "link":
            return path
        # As in `resolve_target`: ``..`` of a relative link removes a component, even if that is a link.
        path = node.link if node.link.startswith(b"/") else inside(decode(node.link), decode(above))
    raise ValueError(f"too many links in the path /{decode(path)}")


def land_in(tree: BaseTree, path: bytes) -> bytes:
    """Return the directory that *path* resolves to in *tree*, even if it does not exist; see `resolve`."""
    try:
        return resolve_target(tree, path).target
    except InvalidImage as error:
        raise not_a_directory(error) from None


def not_a_directory(error: InvalidImage) -> ValueError:
    """Return *error* without the words that name a base image."""
    return ValueError(error.message.replace(" of the base image", "").replace(" in the base image", ""))


def has_wildcards(path: str) -> bool:
    """Tell whether *path* has a wildcard that no backslash escapes."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", path, flags=re.DOTALL)) is not None


def matcher(pattern: str) -> Callable[[str], object]:
    r"""Return a function that matches a path with *pattern*, as Go's ``filepath.Match`` does: ``* ? \c``.

    Raises:
        ValueError: the pattern ends with a backslash.
        NeedsBuilder: it has a class, ``[a-z]``.
    """
    tokens = re.findall(r"\\.|[^\\]", pattern, re.DOTALL)
    if "".join(tokens) != pattern:
        raise ValueError(f"{pattern}: syntax error in pattern")
    if "[" in tokens:
        raise NeedsBuilder(f"the wildcard {pattern} has a class of characters")
    elements = [
        STAR if token == "*" else Element("[^/]" if token == "?" else re.escape(token[-1]), True) for token in tokens
    ]
    return Automaton([(BEGIN, *elements, END)]).matches
