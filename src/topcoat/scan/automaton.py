"""Match a pattern with many wildcards in time that is linear in the path, as Go's ``regexp`` does.

Python's ``re`` tries one way after the other: six ``**`` over a deep path take minutes. Here all ways are followed at
the same time. The states that a path can be in are computed when a path gets there, and kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from topcoat.scan.re2 import BEGIN, END, STAR, TAIL, TREE, Element

# Of a pattern, with its repeats written out.
MAX_STATES = 100_000
# Kept situations; when there are more, all are forgotten.
_MAX_KEPT = 10_000

_WORD = re.compile(r"\w", re.ASCII)
_UNKNOWN = frozenset([-1])
Before = Literal["", "w", "-"]
"""What precedes a position: nothing, a word character, another one."""


class _State(NamedTuple):
    """What a state accepts next: another state for free, maybe under a condition, or one character.

    Attributes:
        free: the states that are reached without a character.
        condition: the source of an assertion that *free* needs; empty for none.
        char: the source of an expression for one character; empty for none.
        target: the state after that character.
    """

    free: tuple[int, ...] = ()
    condition: str = ""
    char: str = ""
    target: int = -1


class Automaton:
    """All alternatives of a pattern."""

    def __init__(self, alternatives: Sequence[Sequence[Element]]) -> None:
        self._states: list[_State] = [_State()]
        starts = []
        for elements in alternatives:
            starts.append(len(self._states))
            if elements[:1] != (BEGIN,):
                # Without an anchor of its own an alternative matches anywhere.
                self._loop("(?s:.)")
            for element in elements:
                self._add(element)
            self._states.append(_State())
        self._ends = frozenset([*(start - 1 for start in starts[1:]), len(self._states) - 1])
        self._starts = frozenset(starts)
        self._kept: dict[tuple[frozenset[int], Before, str], frozenset[int] | None] = {}

    def matches(self, path: str) -> bool:
        """Tell whether the pattern matches *path*."""
        states, kept = self._starts, self._kept
        before: Before = ""
        for char in path:
            key = states, before, char
            after = kept.get(key, _UNKNOWN)
            if after is _UNKNOWN:
                after = self._keep(*key)
            if after is None or not after:
                return after is None
            states, before = after, "w" if _is_word(char) else "-"
        return not self._ends.isdisjoint(self._reach(states, before, ""))

    def _keep(self, states: frozenset[int], before: Before, char: str) -> frozenset[int] | None:
        """Return, and keep, the states after *char*; None if the pattern matches already."""
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        reached = self._reach(states, before, char)
        after = None
        if self._ends.isdisjoint(reached):
            found = [self._states[state] for state in reached]
            after = frozenset([state.target for state in found if state.char and _accepts(state.char, char)])
        self._kept[states, before, char] = after
        return after

    def _reach(self, states: frozenset[int], before: Before, char: str) -> set[int]:
        """Return *states* and what is reached from them for free, before *char* (empty: the end)."""
        reached, pending = set(states), list(states)
        while pending:
            state = self._states[pending.pop()]
            if state.condition and not _holds(state.condition, before, char):
                continue
            new = [target for target in state.free if target not in reached]
            reached.update(new)
            pending += new
        return reached

    def _add(self, element: Element) -> None:
        """Add the states of *element*, from the next state to the one after."""
        if len(self._states) > MAX_STATES:
            raise ValueError(f"it repeats too much: more than {MAX_STATES} states")
        here = len(self._states)
        if element is TREE:
            # A branch around the loop and its slash.
            self._states += [_State((here + 1, here + 4)), _State((here + 2, here + 3)), _State((), "", ".", here + 1)]
            self._states += [_State((), "", "/", here + 4)]
        elif element is STAR:
            self._loop("[^/]")
        elif element is TAIL:
            self._loop(".")
        elif element.inner is not None:
            self._repeat(element.inner, element.least, element.most)
        elif element.is_assertion:
            self._states.append(_State((here + 1,), element.source))
        else:
            self._states.append(_State((), "", element.source, here + 1))

    def _loop(self, char: str) -> None:
        here = len(self._states)
        self._states += [_State((here + 1, here + 2)), _State((), "", char, here)]

    def _repeat(self, element: Element, least: int, most: int | None) -> None:
        for _ in range(least):
            self._add(element)
        optional: list[int] = []
        for _ in range(1 if most is None else most - least):
            optional.append(len(self._states))
            self._states.append(_State())
            self._add(element)
        end = len(self._states)
        for at in optional:
            self._states[at] = _State((at + 1, end + 1 if most is None else end))
        if most is None:
            self._states.append(_State((optional[0],)))


@cache
def _compiled(source: str) -> Callable[[str], object]:
    return re.compile(source, re.ASCII).match


@cache
def _is_word(char: str) -> bool:
    return _WORD.match(char) is not None


def _accepts(source: str, char: str) -> bool:
    return _compiled(source)(char) is not None


def _holds(condition: str, before: Before, char: str) -> bool:
    if condition == BEGIN.source:
        return not before
    if condition == END.source:
        return not char
    is_boundary = (before == "w") != (bool(char) and _is_word(char))
    return is_boundary if condition == r"\b" else not is_boundary
