"""``topcoat describe``: print the definition of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topcoat.cli.arguments import add_job, add_json, open_runner

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.specs import AppDef

EXAMPLES = """\
  topcoat describe
  topcoat describe local://topcoat/train-x1y2z3w4
"""


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add_job(parser)
    add_json(parser)


def run(args: Namespace) -> int:
    """Print what the scheduler knows of the application's definition."""
    from dataclasses import asdict

    from topcoat.cli.follow import unknown_app
    from topcoat.cli.job_names import find_job
    from topcoat.cli.output import json_result, result

    handle = find_job(args.job)
    with open_runner() as runner:
        app = runner.describe(handle)
    if app is None:
        raise unknown_app(handle)
    if args.json:
        json_result({"handle": handle, **asdict(app)})
    else:
        result(_text(app))
    return 0


def _text(app: AppDef) -> str:
    import shlex

    lines = [app.name]
    for role in app.roles:
        facts = {
            "command": shlex.join([role.entrypoint, *role.args]),
            "image": role.image,
            "replicas": str(role.num_replicas),
            "workspace": str(role.workspace or ""),
            "retries": f"{role.max_retries} ({role.retry_policy.value})" if role.max_retries else "",
            "ports": ", ".join(f"{name}={port}" for name, port in role.port_map.items()),
            "mounts": ", ".join(map(str, role.mounts)),
        }
        if role.resource.cpu > 0 or role.resource.memMB > 0 or role.resource.gpu > 0:
            facts["resource"] = f"cpu {role.resource.cpu}, gpu {role.resource.gpu}, memMB {role.resource.memMB}"
        lines.append(f"role {role.name}")
        lines += [f"  {name}: {value}" for name, value in facts.items() if value]
        lines += ["  env:", *(f"    {name}={value}" for name, value in sorted(role.env.items()))] if role.env else []
    lines += [f"{name}: {value}" for name, value in sorted(app.metadata.items())]
    return "\n".join(lines)
