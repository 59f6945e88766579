"""``topcoat build``: local code over an image, in a registry or in this machine's container engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_cfg, add_json, add_no_cache, add_workspace, parse_cfg

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from topcoat.cli.parser import Parser
    from topcoat.destinations.base import DeliveryResult
    from topcoat.specs import CfgVal

EXAMPLES = """\
  topcoat build --image registry.example.com/team/base:1 --image-repo registry.example.com/team/app
  topcoat build --image python:3.12-slim -cfg workspace_dir=/app
  docker run --rm "$(topcoat build --image python:3.12-slim)" python train.py
"""


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--image",
        metavar="BASE",
        help="image to lay the code over (required, unless a Dockerfile.torchx does not use IMAGE)",
    )
    parser.add_argument(
        "--image-repo",
        metavar="REPO",
        help="repository to push to; without it, the image goes into this machine's container engine",
    )
    add_workspace(
        parser, "directory, URL, or mapping '{src: dst, src2: dst2}' (default: the current directory)", default=None
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="platform of the base image, such as linux/arm64, or all")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="ask the registry for every blob of the image, and send those that it has lost",
    )
    add_cfg(parser, "options of the image: chown, modes, workspace_dir... (topcoat runopts local_docker)")
    add_no_cache(parser)
    add_json(parser)


def run(args: Namespace) -> int:
    """Build, and print ``repository:tag@digest``, or the id that the engine gave the image."""
    from topcoat.cli.progress import Progress
    from topcoat.errors import UsageError
    from topcoat.images.options import image_options
    from topcoat.pipeline import build_image
    from topcoat.specs.projects import Projects, parse_projects

    if args.image_repo == "":
        raise UsageError("--image-repo is empty", hint="name a repository, or leave it out for the local engine")
    workspace = Projects(parse_projects("." if args.workspace is None else args.workspace))
    if not workspace:
        raise UsageError("topcoat build has no code to lay over the image", hint="--workspace DIR")
    flags = {"image_repo": args.image_repo, "platform": args.platform, "verify": args.verify}
    options = image_options({**_parse_cfg(args.cfg), **{name: value for name, value in flags.items() if value}})
    with Progress(f"laying {workspace} over {args.image or 'its base'}", quiet=options.quiet):
        result = build_image(workspace, args.image or "", options)
    _print(result, as_json=args.json)
    return 0


def _parse_cfg(texts: Sequence[str]) -> dict[str, CfgVal]:
    if not texts:
        return {}
    from topcoat.images.options import image_opts

    return parse_cfg(image_opts(), texts)


def _print(delivery: DeliveryResult, *, as_json: bool) -> None:
    from topcoat.cli.output import json_result, result

    if not as_json:
        result(delivery.reference)
        return
    json_result(
        {
            "reference": delivery.reference,
            "image": delivery.image,
            "digest": delivery.digest or None,
            "sent": delivery.sent,
            "layers": delivery.layers,
        }
    )
