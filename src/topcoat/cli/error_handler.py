"""Turn exceptions into messages and exit codes. Only this module prints tracebacks."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from topcoat.cli.output import discard, expect_json, json_error, say, write_stderr
from topcoat.notices import notices_once, show_notices

INTERRUPTED = 130
_LIMITS = {
    errno.EMFILE: "raise the limit: ulimit -n 4096",
    errno.ENFILE: "end some of the programs of this machine",
    errno.ENOMEM: "free some memory",
    errno.EAGAIN: "end some of your programs, or raise the limit: ulimit -u",
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
}
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


class ErrorHandler:
    """Run a command and report what it raises.

    Attributes:
        debug: whether to show tracebacks; ``TOPCOAT_DEBUG`` and ``--debug`` set it.
        json: whether to print an error on stdout as JSON too (``--json``).
    """

    def __init__(self) -> None:
        self.debug = os.environ.get("TOPCOAT_DEBUG", "") not in ("", "0")
        self.json = False

    def run(self, command: Callable[[ErrorHandler], int]) -> int:
        """Return the exit code of *command*, or that of the exception that it raised."""
        expect_json()
        previous = show_notices(say)
        try:
            with notices_once():
                code = self._run(command)
        except BrokenPipeError:
            discard(sys.stdout)
            discard(sys.stderr)
            return BROKEN_PIPE
        finally:
            show_notices(previous)
        return _flush(code)

    def _run(self, command: Callable[[ErrorHandler], int]) -> int:
        try:
            return command(self)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        except KeyboardInterrupt as interrupt:
            return int(getattr(interrupt, "exit_code", INTERRUPTED))
        except BrokenPipeError:
            raise
        except Exception as error:
            return self._report(error)

    def _report(self, error: Exception) -> int:
        from topcoat.errors import TopcoatError

        if self.debug:
            import traceback

            write_stderr("".join(traceback.format_exception(error)))
        if isinstance(error, TopcoatError):
            say(f"error: {error.message}", hint=error.hint or "")
            if self.json:
                with suppress(TopcoatError, OSError):
                    json_error(error)
            return error.exit_code
        if isinstance(error, OSError) and error.errno in _LIMITS:
            where = f": {error.filename}" if error.filename else ""
            say(f"error: {error.strerror}{where}", hint=_LIMITS[error.errno])
            return 1
        bug = "this is a bug in topcoat: run it again with --debug and report it"
        say(f"error: unexpected {type(error).__name__}: {error}", hint="" if self.debug else bug)
        return 1


def _flush(code: int) -> int:
    """Flush stdout while a failure can still be reported; return *code*, or the exit code of that failure."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:
        discard(sys.stdout)
        if not code:
            say(f"error: cannot write the result: {error.strerror}")
        return code or 1
    return code
