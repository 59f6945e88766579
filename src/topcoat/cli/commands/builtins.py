"""``topcoat builtins``: list the components that have a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat builtins
  topcoat builtins --print utils.sh
  topcoat run utils.sh --help
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", metavar="NAME", help="print a component as a file that loads, to start your own from")
    add_json(what)


def run(args: Namespace) -> int:
    """Print a line for each component, or the source of one."""
    from topcoat.cli.output import exact_result, json_result, result, table
    from topcoat.components.finder import get_builtin_source, get_components

    if args.print:
        exact_result(get_builtin_source(args.print))
        return 0
    components = get_components()
    if args.json:
        json_result({name: component.description for name, component in components.items()})
    else:
        result(table((name, component.description) for name, component in components.items()))
    return 0
