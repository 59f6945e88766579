"""Modes as ``--chmod`` takes them: octal, or symbolic as in chmod(1), with the rules of BSD's setmode(3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

ModeChange = Callable[[int, bool], int]
"""Gives the new permission bits for old ones; the flag says whether they are a directory's."""

_OCTAL = re.compile(r"[0-7]+")
_WHO = {"a": 0o6777, "u": 0o4700, "g": 0o2070, "o": 0o007}
_PERMS = {"r": 0o444, "w": 0o222, "x": 0o111}
_SET_ID, _STICKY, _EXECUTE, _ALL = 0o6000, 0o1000, 0o111, 0o6777
_SHIFTS = {"u": 6, "g": 3, "o": 0}


def octal_mode(text: str) -> int | None:
    """Return the number that *text* is, None where it is no octal number.

    Raises:
        ValueError: more than 07777, or meant as a number and not octal.
    """
    found = int(text, 8) if _OCTAL.fullmatch(text) else None
    if (found is not None and found > 0o7777) or (found is None and text[:1].isdecimal()):
        raise ValueError(f"invalid chmod parameter {text!r}: an octal number is between 0 and 07777")
    return found


def mode_change(text: str) -> ModeChange:
    """Return what *text* does to the mode of each path.

    Raises:
        ValueError: it is no mode.
    """
    number = octal_mode(text)
    if number is not None:
        return lambda mode, is_directory: number
    steps = tuple(_steps(text))

    def change(mode: int, is_directory: bool) -> int:
        executable = bool(mode & _EXECUTE) or is_directory
        for step in steps:
            mode = step(mode, executable)
        return mode

    return change


_Step = Callable[[int, bool], int]


def _steps(text: str) -> Iterator[_Step]:
    """Yield what each clause does; a step is told whether the path was executable to begin with."""
    for clause in text.split(","):
        found = re.fullmatch(r"([augo]*)((?:[-+=][rstwXxugo]*)+)", clause)
        if not found:
            raise ValueError(f"invalid chmod parameter {text!r}: for example 0644, u+x or go=rX,u+w")
        who = 0
        for letter in found[1]:
            who |= _WHO[letter]
        for operator, letters in re.findall(r"([-+=])([rstwXxugo]*)", found[2]):
            yield from _operation(who, operator, letters)


def _operation(who: int, operator: str, letters: str) -> Iterator[_Step]:
    bits = execute = 0
    done = operator != "="
    for letter in letters:
        if letter in _PERMS:
            bits |= _PERMS[letter]
        elif letter == "X":
            bits, execute = (bits | _EXECUTE, execute) if operator == "-" else (bits, _EXECUTE)
        elif letter in "st":
            # Set-id and sticky bits are not the others'.
            if not who or who & ~0o007:
                bits |= _SET_ID if letter == "s" else _STICKY
                who |= _STICKY if letter == "t" else 0
        else:
            if bits:
                yield _plain(who, operator, bits)
            done = True
            if execute:
                yield _if_executable(who, execute)
            yield _copied(who, operator, letter)
            bits = execute = 0
    if bits or not done:
        yield _plain(who, operator, bits)
    if execute:
        yield _if_executable(who, execute)


def _plain(who: int, operator: str, bits: int) -> _Step:
    chosen = who & bits if who else bits
    if operator == "+":
        return lambda mode, executable: mode | chosen
    if operator == "-":
        return lambda mode, executable: mode & ~chosen
    return lambda mode, executable: mode & ~(who or _ALL) | chosen


def _if_executable(who: int, bits: int) -> _Step:
    chosen = who & bits if who else bits
    return lambda mode, executable: mode | chosen if executable else mode


def _copied(who: int, operator: str, source: str) -> _Step:
    """Return the step that copies the bits of one class, as in ``g=u``."""
    shifts = [shift for shift in _SHIFTS.values() if not who or who & (0o4 << shift)]

    def step(mode: int, executable: bool) -> int:
        value = mode >> _SHIFTS[source] & 0o7
        for shift in shifts:
            if operator != "+":
                mode &= ~((0o7 if operator == "=" else value) << shift)
            if operator != "-":
                mode |= value << shift
        return mode

    return step
