"""``topcoat init``: write a ``.torchxignore`` to start from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLES = """\
  topcoat init
  topcoat init ~/code/app
"""

_HEAD = """\
# Files that are not shipped to a job. `topcoat ls` lists the files that are shipped.
#
# The grammar is that of .dockerignore: a pattern without **/ matches at the top level only, * does not match a slash,
# ! includes a path again, and the last line that matches a path decides.

# Version control, environments and caches, at any depth.
"""

_TAIL = """
# Jobs seldom need these: remove the # before what yours do not need.
# data/
# outputs/
# wandb/
# **/*.ckpt
# **/*.pt
# **/.env

# Include something again.
# !data/config.yaml
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)
    parser.add_argument("directory", nargs="?", default=".", help="where to write it (default: the current directory)")


def run(args: Namespace) -> int:
    """Write the file and print its path; an existing one is not changed."""
    from topcoat.cli.output import json_result, result
    from topcoat.errors import UsageError, WorkspaceNotFound
    from topcoat.scan.ignore import DEFAULT_PATTERNS
    from topcoat.workspace.walk import TORCHX_IGNORE

    path = os.path.join(args.directory, TORCHX_IGNORE)
    text = _HEAD + "".join(f"{pattern}\n" for pattern in DEFAULT_PATTERNS) + _TAIL
    try:
        # Mode x never overwrites, even if another process creates the file now.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{os.path.normpath(path)} already exists", hint="edit it, or remove it first") from None
    except FileNotFoundError:
        raise WorkspaceNotFound(f"{args.directory} does not exist") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    json_result({"path": os.path.normpath(path)}) if args.json else result(os.path.normpath(path))
    return 0
