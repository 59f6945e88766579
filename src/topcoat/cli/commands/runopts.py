"""``topcoat runopts``: list the options that ``-cfg`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json, open_runner

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.specs import runopts

EXAMPLES = """\
  topcoat runopts
  topcoat runopts local_docker
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("scheduler", nargs="?", metavar="SCHED", help="only this scheduler")
    add_json(parser)


def run(args: Namespace) -> int:
    """Print the options of one scheduler or of all, with types, defaults and help."""
    from topcoat.cli.output import json_result, result
    from topcoat.errors import SchedulerError
    from topcoat.notices import notice

    options: dict[str, runopts] = {}
    with open_runner() as runner:
        for name in [args.scheduler] if args.scheduler else runner.scheduler_backends():
            try:
                options[name] = runner.scheduler_run_opts(name)
            except (ImportError, SchedulerError) as error:
                # A missing dependency, or a broken package: list the others.
                if args.scheduler:
                    raise
                notice(f"the scheduler {name} is left out: {error}")
    if args.json:
        json_result({name: _facts(opts) for name, opts in options.items()})
    else:
        result("\n\n".join(f"{name}:\n{opts!r}" for name, opts in options.items()))
    return 0


def _facts(opts: runopts) -> dict[str, object]:
    from topcoat.specs import get_type_name

    return {
        key: {
            "type": get_type_name(opt.opt_type),
            "default": opt.default,
            "required": opt.is_required,
            "help": opt.help,
        }
        for key, opt in opts
    }
