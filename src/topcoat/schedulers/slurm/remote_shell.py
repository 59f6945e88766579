"""What the shell of another machine gets and says: words that every shell passes on, scripts for files, errors."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence

from topcoat.foreign_text import escaped
from topcoat.system_text import system_bytes

_PLAIN_BYTES = frozenset(range(32, 127)) - frozenset(b"'\\!")

# The tools' own messages; LC_ALL=C is set.
_ERRORS = {
    os.strerror(number): number
    for number in (
        errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EEXIST, errno.ENOTDIR,
        errno.EISDIR, errno.ENAMETOOLONG, errno.EBUSY,
    )
}  # fmt: skip
# What tar says if only a part of a block fits on the disk.
_ERRORS["Wrote only"] = errno.ENOSPC
_CHECK = """
fail() { printf '%s\\n' "$1" >&2; exit 1; }
check() {
  [ -e "$1" ] || fail 'No such file or directory'
  [ -r "$1" ] || fail 'Permission denied'
}
"""
READ = _CHECK + 'check "$1"; [ ! -d "$1" ] || fail "Is a directory"; tail -c +"$2" -- "$1" | head -c "$3"'
LIST = _CHECK + 'check "$1"; [ -d "$1" ] || fail "Not a directory"; cd -- "$1" && find . ! -name . -prune -print0'
# Directories that a job made read-only; a file may have other names elsewhere.
REMOVE = """
rm -rf -- "$1" 2>/dev/null || { find "$1" -type d ! -perm -u+rwx -exec chmod u+rwx {} \\; ; rm -rf -- "$1"; }
"""
WRITE = """
new=$(mktemp "${1%/*}/.topcoat-XXXXXX") || exit 1
cat >"$new" && chmod "$2" "$new" && mv -f -- "$new" "$1" || { rm -f -- "$new"; exit 1; }
"""


def remote_words(command: Sequence[str]) -> str:
    """Return *command* as one word that every login shell (sh, csh, fish) leaves as it is; ``printf %b`` decodes it."""
    # In single quotes, csh would still expand "!", and does not allow a newline.
    return f"'{one_line(command)}'"


def one_line(command: Sequence[str]) -> str:
    """Return *command* as a line of plain characters; ``printf %b`` decodes it."""
    text = system_bytes(shlex.join(command))
    return "".join([chr(byte) if byte in _PLAIN_BYTES else f"\\0{byte:03o}" for byte in text])


def os_error(stderr: bytes, path: str) -> OSError:
    """Return the ``OSError`` that the tool of a remote machine reported for *path*."""
    text = stderr.decode(errors="replace")
    for message, number in _ERRORS.items():
        if message in text:
            return OSError(number, os.strerror(number), path)
    return OSError(errno.EIO, escaped(last_line(stderr)) or "the command failed", path)


def last_line(output: bytes) -> str:
    """Return the last line that a program printed."""
    return output.decode(errors="replace").strip().rpartition("\n")[2].strip()
