"""Hypothesis strategies for names, entries and snapshots."""

from __future__ import annotations

from hypothesis import strategies as st

from topcoat.scan.snapshot import Entry

NAME_BYTES = b"ab.-_ \n\t\xff\xc3\xa9~0"

names = (
    st.lists(st.sampled_from(sorted(NAME_BYTES)), min_size=1, max_size=6)
    .map(bytes)
    .filter(lambda name: name not in (b".", b".."))
)
"""File names as bytes: spaces, newlines, bytes that are no UTF-8."""

paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)

times = st.integers(min_value=-(10**9), max_value=4 * 10**18)
owners = st.one_of(st.none(), st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1)))
digests = st.binary(min_size=32, max_size=32)

files = st.builds(
    Entry,
    path=paths,
    kind=st.just("file"),
    mode=st.sampled_from([0o644, 0o755, 0o600, 0o4755]),
    size=st.one_of(st.just(0), st.integers(1, 5000), st.integers(1 << 20, 1 << 40)),
    content=digests,
    mtime=times,
    owner=owners,
)
links = st.builds(
    Entry,
    path=paths,
    kind=st.just("link"),
    mode=st.just(0o777),
    size=st.just(0),
    content=paths,
    mtime=times,
    owner=owners,
)
directories = st.builds(
    Entry,
    path=paths,
    kind=st.just("dir"),
    mode=st.sampled_from([0o755, 0o700, 0o2775]),
    size=st.just(0),
    content=st.just(b""),
    mtime=times,
    owner=owners,
)
entries = st.one_of(files, links, directories)


def as_tree(found: list[Entry]) -> dict[bytes, Entry]:
    """Make a consistent tree of *found*: the directories above each entry are there, nothing lies below a file."""
    tree: dict[bytes, Entry] = {}
    for entry in found:
        above = [entry.path[:at] for at, byte in enumerate(entry.path) if byte == 0x2F]
        if entry.path in tree or any(path in tree and tree[path].kind != "dir" for path in above):
            continue
        for path in above:
            tree.setdefault(path, Entry(path, "dir", 0o755, 0, b"", 0))
        tree[entry.path] = entry
    return tree


trees = st.lists(entries, max_size=25).map(as_tree)
"""Entries by their path, with their parents."""
