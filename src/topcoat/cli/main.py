"""``topcoat``: find the command, parse its arguments, run it.

Flags before the command's name are parsed here, without argparse, so that ``topcoat --help`` is fast and a command
loads no other command's parser.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, NoReturn

from topcoat.cli.commands import COMMANDS
from topcoat.cli.error_handler import ErrorHandler
from topcoat.cli.output import exact_result, result, write_stderr

if TYPE_CHECKING:
    from topcoat.cli.commands import Command
    from topcoat.cli.parser import Parser

GLOBAL_FLAGS = {
    "--debug": "show the traceback of an error (so does TOPCOAT_DEBUG=1)",
    "--log-level LEVEL": "show log messages of libraries from this level on (DEBUG, INFO, ...)",
    "--version": "print the version",
    "-h, --help": "print this help; topcoat COMMAND --help prints a command's",
}


# Commands that run only topcoat's own code: nothing has to be cleaned up when the process ends.
_SKIP_CLEANUP = ("build", "ls")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, that of the process by default, and return its exit code.

    0 for success, 1 for a failure, 2 for wrong usage, 130 for ^C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return ErrorHandler().run(lambda handler: _main(words, handler))


def entry() -> NoReturn:
    """Run the process's command line and end the process."""
    _open_standard_streams()
    # What a library did not clean up is no message for the user.
    sys.unraisablehook = lambda unraisable: None
    skip_cleanup = sys.argv[1:2] and sys.argv[1] in _SKIP_CLEANUP
    if skip_cleanup:
        # A scan makes tens of thousands of tuples without cycles; searching them would take as long as the scan.
        gc.set_threshold(1_000_000)
    with _signals():
        code = main()
    if skip_cleanup:
        # Freeing every object would take a tenth of the time of a warm build.
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open what the caller has closed (``>&-``), so that no other file gets its descriptor."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            # Writing a result to a stdout that is open for reading fails, as it has to; messages are dropped.
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def _signals() -> AbstractContextManager[None]:
    """Return ``signals_as_exceptions`` for commands, which may have to clean up; nothing for ``topcoat --help``."""
    if sys.argv[1:2] and not sys.argv[1].startswith("-"):
        from topcoat.cli.signals import signals_as_exceptions

        return signals_as_exceptions()
    return nullcontext()


def _main(words: list[str], handler: ErrorHandler) -> int:
    while words and words[0].startswith("-"):
        flag, equals, value = words.pop(0).partition("=")
        if flag in ("--log-level", "--log_level"):
            _show_log(value if equals else words.pop(0) if words else "")
            continue
        if flag in ("-h", "--help"):
            exact_result(help_text())
            return 0
        if flag == "--version":
            from topcoat.version import __version__

            result(f"topcoat {__version__}")
            return 0
        if flag != "--debug":
            from topcoat.errors import UsageError

            raise UsageError(f"unknown flag {flag!r} before the command", hint="topcoat --help")
        handler.debug = True
    if not words:
        write_stderr(help_text())
        return 2
    name = words[0]
    handler.json = "--json" in words[: words.index("--") if "--" in words else None]
    command, parser = find_command(name)
    args = parser.parse(words[1:])
    handler.debug |= args.debug
    from topcoat.cli.redirects import redirected_files
    from topcoat.leftovers import remove_leftovers

    remove_leftovers()
    with ExitStack() as stack:
        if files := redirected_files():
            from topcoat.scan.exclude import exclude_files

            stack.enter_context(exclude_files(files))
        if getattr(args, "no_cache", False):
            from topcoat.records import caches_unread

            stack.enter_context(caches_unread())
        return command.run(args) or 0


def _show_log(level: str) -> None:
    import logging

    from topcoat.errors import UsageError

    if not isinstance(logging.getLevelName(level.upper()), int):
        raise UsageError(f"invalid --log-level {level!r}", hint="choose DEBUG, INFO, WARNING, ERROR or CRITICAL")
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def find_command(name: str) -> tuple[Command, Parser]:
    """Return the command *name*, built in or of an installed package, and its parser with the configured defaults.

    Raises:
        UsageError: unknown command.
    """
    from topcoat.cli.commands import load
    from topcoat.cli.defaults import apply_defaults, configured
    from topcoat.cli.parser import Parser

    if name in COMMANDS:
        command, summary = load(name), COMMANDS[name]
    else:
        from topcoat.cli.plugins import load_command

        command, summary = load_command(name), ""
    parser = Parser(name, summary, getattr(command, "EXAMPLES", ""))
    command.add_arguments(parser)
    if section := configured(name):
        apply_defaults(parser, section)
    return command, parser


def help_text() -> str:
    """Return the text of ``topcoat --help``."""
    from topcoat.cli.plugins import command_names

    installed = [name for name in command_names() if name not in COMMANDS]
    width = max(map(len, [*COMMANDS, *installed]))
    lines = [
        "usage: topcoat [--debug] COMMAND [ARGUMENTS]",
        "",
        "Lay local code over a container image, as its last thin layer, and submit the job.",
        "",
        "commands:",
        *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()),
    ]
    if installed:
        lines += ["", "commands of installed packages:", *(f"  {name}" for name in installed)]
    width = max(map(len, GLOBAL_FLAGS))
    lines += ["", "flags:", *(f"  {flags:{width}}  {text}" for flags, text in GLOBAL_FLAGS.items())]
    return "\n".join(lines) + "\n"
