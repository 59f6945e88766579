"""``topcoat gc``: show what can be freed, and free it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from topcoat.cli.arguments import add_json, open_runner

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.schedulers.api import Freeable

EXAMPLES = """\
  topcoat gc
  topcoat gc --yes
"""


class Item(NamedTuple):
    """Something that can be freed: of a scheduler, or of topcoat's own directories if *scheduler* is empty."""

    scheduler: str
    freeable: Freeable


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    parser.add_argument("-s", "--scheduler", metavar="SCHED", help="only what this scheduler keeps")
    parser.add_argument("--yes", action="store_true", help="free it; without it, gc only shows it")
    add_json(parser)


def run(args: Namespace) -> int:
    """Show a line for each item; with ``--yes``, free it. Nothing of a job that runs, and nothing that a job wrote."""
    from topcoat.cli.output import json_result, result, say, table
    from topcoat.cli.sizes import human_size

    with open_runner() as runner:
        found = items = list(_items(runner, args.scheduler))
        if args.yes:
            items = [item for item in found if _free(runner, item)]
    total = sum(item.freeable.size or 0 for item in items)
    if args.json:
        facts = [{"scheduler": scheduler or None, **item._asdict()} for scheduler, item in items]
        json_result({"freed": args.yes, "size": total, "items": facts})
        return int(len(items) < len(found))
    rows = [(human_size(item.size), scheduler, item.name) for scheduler, item in items]
    if rows:
        result(table([("SIZE", "SCHEDULER", "WHAT"), *rows]))
    text = f"{'freed' if args.yes else 'can be freed:'} {human_size(total)}"
    say(text if args.yes or not items else f"{text}; topcoat gc --yes frees it")
    return int(len(items) < len(found))


def _items(runner: Runner, scheduler: str | None) -> Iterator[Item]:
    from topcoat.cli.disk import cache_items
    from topcoat.cli.job_names import used_places
    from topcoat.cli.output import say
    from topcoat.errors import TopcoatError

    for place in used_places(scheduler):
        try:
            yield from (Item(place.scheduler, item) for item in runner.freeable(*place))
        except TopcoatError as error:
            say(f"what {place} keeps is missing here: {error}", hint=error.hint or "")
    if not scheduler:
        yield from (Item("", item) for item in cache_items())


def _free(runner: Runner, item: Item) -> bool:
    """Free an item, and tell whether that was possible; the next one may be."""
    from topcoat.cli.disk import free_cache_item
    from topcoat.cli.output import say
    from topcoat.errors import TopcoatError

    try:
        if item.scheduler:
            runner.free(item.scheduler, item.freeable)
        else:
            free_cache_item(item.freeable)
    except TopcoatError as error:
        say(f"{item.freeable.name} stays: {error}", hint=error.hint or "")
        return False
    return True
