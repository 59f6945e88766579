"""``topcoat build``: local code over an image, in a registry or in this machine's container engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_cfg, add_json, add_workspace, parse_cfg

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from topcoat.cli.parser import Parser
    from topcoat.destinations.base import DeliveryResult
    from topcoat.scan.sources import ScanRoot
    from topcoat.specs import CfgVal
    from topcoat.specs.projects import Projects

EXAMPLES = """\
  topcoat build --image registry.example.com/team/base:1 --image-repo registry.example.com/team/app
  topcoat build --image python:3.12-slim -cfg workspace_dir=/app
  docker run --rm "$(topcoat build --image python:3.12-slim)" python train.py
"""

_DOCKERFILE = "Dockerfile.torchx"


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    parser.add_argument("--image", metavar="BASE", help="image to lay the code over (required)")
    parser.add_argument(
        "--image-repo",
        metavar="REPO",
        help="repository to push to; without it, the image goes into this machine's container engine",
    )
    add_workspace(
        parser, "directory, URL, or mapping '{src: dst, src2: dst2}' (default: the current directory)", default=None
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="platform of the base image, such as linux/arm64, or all")
    add_cfg(parser, "options of the image: chown, modes, workspace_dir... (topcoat runopts local_docker)")
    add_json(parser)


def run(args: Namespace) -> int:
    """Build, and print ``repository:tag@digest``, or the id that the engine gave the image."""
    from topcoat.cli.progress import Progress
    from topcoat.errors import UsageError
    from topcoat.specs.projects import Projects, parse_projects

    if not args.image:
        raise UsageError("topcoat build has no image to lay code over", hint="--image BASE")
    if args.image_repo == "":
        raise UsageError("--image-repo is empty", hint="name a repository, or leave it out for the local engine")
    workspace = Projects(parse_projects("." if args.workspace is None else args.workspace))
    if not workspace:
        raise UsageError("topcoat build has no code to lay over the image", hint="--workspace DIR")
    given = {"image_repo": args.image_repo, "platform": args.platform}
    cfg = {**_parse_cfg(args.cfg), **{name: value for name, value in given.items() if value}}
    build = _build_dockerfile if _has_dockerfile(workspace) else _patch
    with Progress(f"laying {workspace} over {args.image}", quiet=bool(cfg.get("quiet"))):
        delivered = build(workspace, args.image, cfg)
    _print(delivered, as_json=args.json)
    return 0


def _parse_cfg(texts: Sequence[str]) -> dict[str, CfgVal]:
    if not texts:
        return {}
    from topcoat.images.options import image_opts

    return parse_cfg(image_opts(), texts)


def _patch(
    workspace: Projects, image: str, cfg: dict[str, CfgVal], projects: Sequence[ScanRoot] | None = None
) -> DeliveryResult:
    from topcoat.images.build import build_image
    from topcoat.images.options import image_options, image_repository
    from topcoat.notices import notice
    from topcoat.registry.clients import Clients

    options, repository, clients = image_options(cfg), image_repository(cfg), Clients()
    if repository is None:
        from topcoat.destinations.docker import DockerDestination
        from topcoat.engines.engine import connect

        engine = DockerDestination(connect(), clients)
        return build_image(workspace, image, engine, options, projects=projects)
    from topcoat.destinations.registry import RegistryDestination

    destination = RegistryDestination(repository, clients, notify=notice)
    return build_image(workspace, image, destination, options, projects=projects)


def _has_dockerfile(workspace: Projects) -> bool:
    """Tell whether *workspace* may have a ``Dockerfile.torchx``, without the imports that its build takes."""
    return any("://" in source or _is_there(source, target) for source, target in workspace.resolved())


def _is_there(source: str, target: str) -> bool:
    return target == _DOCKERFILE or (not target and os.path.lexists(os.path.join(source, _DOCKERFILE)))


def _build_dockerfile(workspace: Projects, image: str, cfg: dict[str, CfgVal]) -> DeliveryResult:
    from topcoat.destinations.push_records import until_settled
    from topcoat.images.plans import find_dockerfile
    from topcoat.scan.sources import find_scan_roots
    from topcoat.specs.workspace import Workspace
    from topcoat.workspace.docker_workspace import DockerWorkspaceMixin

    projects = find_scan_roots(workspace)
    if find_dockerfile(projects) is None:
        return _patch(workspace, image, cfg, projects)
    mixin, just_found, whole = DockerWorkspaceMixin(), [projects], Workspace(workspace.projects)

    def attempt() -> DeliveryResult:
        # Starting over, they are looked up anew: a listing that was kept would hide what has changed.
        return mixin._plan(image, whole, cfg, just_found.pop() if just_found else None).carry_out()

    return until_settled(attempt)


def _print(delivered: DeliveryResult, *, as_json: bool) -> None:
    from topcoat.cli.output import json_result, result

    reference = f"{delivered.image}@{delivered.digest}" if delivered.digest else delivered.image
    if not as_json:
        result(reference)
        return
    json_result(
        {
            "reference": reference,
            "image": delivered.image,
            "digest": delivered.digest or None,
            "sent": delivered.sent,
            "layers": delivered.layers,
        }
    )
