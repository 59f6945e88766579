"""A command of the package: ``topcoat demo``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--times", type=int, default=1, help="how often")


def run(args: Namespace) -> int:
    """Say so."""
    print("demo " * args.times)
    return 3
