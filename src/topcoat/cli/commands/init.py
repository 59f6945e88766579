"""``topcoat init``: a ``.torchxignore`` to start from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLES = """\
  topcoat init
  topcoat init ~/code/app
"""

_HEAD = """\
# What stays behind when this directory is shipped to a job. `topcoat ls` shows what is left.
#
# The grammar is that of .dockerignore: a pattern without **/ is for the top level, * stops at a slash, ! brings back,
# and the last line that matches a path decides about it.

# Version control, environments and caches, wherever they are.
"""

_TAIL = """
# What jobs hardly ever need: take the # away where it is so for yours.
# data/
# outputs/
# wandb/
# **/*.ckpt
# **/*.pt
# **/.env

# Bring something back.
# !data/config.yaml
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", nargs="?", default=".", help="where to write it (default: the current directory)")


def run(args: Namespace) -> int:
    """Write the file and print its path; one that is there is left alone."""
    from topcoat.cli.output import result
    from topcoat.errors import UsageError, WorkspaceNotFound
    from topcoat.scan.ignore import DEFAULT_PATTERNS
    from topcoat.workspace.walk import TORCHX_IGNORE

    path = os.path.join(args.directory, TORCHX_IGNORE)
    text = _HEAD + "".join(f"{pattern}\n" for pattern in DEFAULT_PATTERNS) + _TAIL
    try:
        # Mode x: a file that is there is never overwritten, nor one that comes this very moment.
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{os.path.normpath(path)} is there already", hint="edit it, or remove it first") from None
    except FileNotFoundError:
        raise WorkspaceNotFound(f"{args.directory} does not exist") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    result(os.path.normpath(path))
    return 0
