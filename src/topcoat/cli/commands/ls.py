"""``topcoat ls``: list the files that a job would get."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json, add_workspace

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser

EXAMPLES = """\
  topcoat ls
  topcoat ls --directory-rules --workspace ~/code/app
  topcoat ls -0 | tar --null --no-recursion -T - -czf ../code.tar.gz
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-0", "--null", action="store_true", help="end each path with a NUL byte instead of a newline")
    add_json(how)
    rules = parser.add_mutually_exclusive_group()
    rules.add_argument(
        "--image-rules",
        action="store_true",
        help="as for an image and for local: .dockerignore, then .torchxignore (the default)",
    )
    rules.add_argument(
        "--directory-rules",
        action="store_true",
        help="as for a job directory of a cluster: .torchxignore alone",
    )
    add_workspace(
        parser, "directory, URL, or mapping '{src: dst, src2: dst2}' (default: the current directory)", default=None
    )


def run(args: Namespace) -> int:
    """Print the paths, sorted, directories with a trailing slash."""
    from topcoat.cli.output import emit, json_result, result
    from topcoat.cli.progress import Progress
    from topcoat.foreign_text import escaped
    from topcoat.scan.job_dirs import without_job_dirs
    from topcoat.scan.names import decode
    from topcoat.scan.scanner import DIRECTORY_IGNORE_FILES, IMAGE_IGNORE_FILES, ScanOptions, scan
    from topcoat.specs.workspace import Workspace

    files = DIRECTORY_IGNORE_FILES if args.directory_rules else IMAGE_IGNORE_FILES
    with Progress("scanning"):
        workspace = Workspace.from_str(args.workspace or ".")
        snapshot = without_job_dirs(scan(workspace, ScanOptions(files)), workspace).snapshot
    if args.json:
        entries = [
            {"path": decode(entry.path), "kind": entry.kind, "mode": f"{entry.mode:04o}", "size": entry.size}
            for entry in snapshot
        ]
        json_result({"digest": snapshot.digest, "size": snapshot.size, "entries": entries})
        return 0
    if sys.stdout.isatty() and not args.null:
        for entry in snapshot:
            result(escaped(decode(entry.path), sys.maxsize) + "/" * (entry.kind == "dir"))
        return 0
    end = b"\0" if args.null else b"\n"
    paths = [entry.path + b"/" * (entry.kind == "dir") + end for entry in snapshot]
    # Bytes, because a path need not be valid text.
    emit(b"".join(paths), sys.stdout)
    return 0
