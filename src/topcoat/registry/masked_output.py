"""Show what a credential helper printed when it failed, without a secret that may be in it."""

from __future__ import annotations

import re

from topcoat.foreign_text import escaped

_MASK = "***"
_MAX_SHOWN = 300
_MIN_OPAQUE = 24
_NAMED = re.compile(r"(?i)((?:secret|password|passwd|passphrase|token|credentials?|auth)\S*?\s*(?:[:=]|\bis\b)\s*)\S+")
_WORD = re.compile(r"\S+")


def masked_output(output: bytes) -> str:
    """Return *output* on one line, cut to its end, with ``***`` for all that may be a secret.

    That is JSON, a line of one word, a value with a telling name, and a word that mixes letters and digits or is long.
    """
    # The text of a helper that fails half way may be the beginning of its JSON object.
    text, brace, _ = output[-(1 << 16) :].decode(errors="replace").partition("{")
    lines = [_masked_line(line) for line in text.splitlines() if line.strip()]
    return escaped(" ".join([*lines, *([_MASK] if brace else [])])[-_MAX_SHOWN:])


def _masked_line(line: str) -> str:
    words = line.split()
    if len(words) == 1:
        return _MASK
    return _WORD.sub(lambda match: _masked_word(match[0]), _NAMED.sub(rf"\1{_MASK}", " ".join(words)))


def _masked_word(word: str) -> str:
    core = word.strip(".,:;()'\"`")
    is_mixed = any(char.isdigit() for char in core) and any(char.isalpha() for char in core)
    return _MASK if len(core) >= _MIN_OPAQUE or is_mixed else word
