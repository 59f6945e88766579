"""``topcoat configure``: write a ``.torchxconfig`` to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat configure -s local_docker -a
  topcoat configure --print
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    parser.add_argument("-s", "--schedulers", metavar="SCHED,...", help="these schedulers (default: all of them)")
    parser.add_argument("-a", "--all", action="store_true", help="optional run options too, with their defaults")
    add_json(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="print it instead of writing .torchxconfig")
    what.add_argument("--force", action="store_true", help="overwrite .torchxconfig")


def run(args: Namespace) -> int:
    """Write the file and print its name."""
    import io
    import os

    from topcoat.cli.output import exact_result, json_result, result
    from topcoat.errors import InvalidConfigFile
    from topcoat.runner.config import CONFIG_FILE, configure, dump

    schedulers = args.schedulers.split(",") if args.schedulers else None
    if args.print:
        text = io.StringIO()
        dump(text, schedulers, required_only=not args.all)
        json_result({"text": text.getvalue()}) if args.json else exact_result(text.getvalue())
        return 0
    if os.path.exists(CONFIG_FILE) and not args.force:
        raise InvalidConfigFile(f"{CONFIG_FILE} already exists", hint="--force overwrites it, --print shows a new one")
    path = str(configure(CONFIG_FILE, schedulers, required_only=not args.all, overwrite=args.force))
    json_result({"path": path}) if args.json else result(path)
    return 0
