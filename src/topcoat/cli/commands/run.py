"""``topcoat run``: submit a component or a command with local code."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from topcoat.cli.arguments import (
    add_cfg,
    add_json,
    add_no_cache,
    add_scheduler,
    add_workspace,
    open_runner,
    parse_cfg,
    scheduler_name,
)
from topcoat.cli.output import json_result, result, say
from topcoat.cli.role_flags import (
    add_role_flags,
    refuse_role_flags,
    role_app,
    warn_about_program,
    warn_about_resources,
)
from topcoat.errors import TopcoatError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from topcoat.cli.parser import Parser
    from topcoat.runner import Runner
    from topcoat.runner.dry_run import Submission
    from topcoat.specs import AppDef, AppDryRunInfo, CfgVal

EXAMPLES = """\
  topcoat run -- python train.py --lr 0.1
  topcoat run --num-replicas 2 --env DEBUG=1 -- python worker.py
  topcoat run -s local_docker --image python:3.12-slim -- python train.py
  topcoat run utils.python --script train.py -- --lr 0.1
  topcoat run jobs.py:train --epochs 3
  topcoat run --dryrun -- python train.py
"""

# The schedulers that run jobs as plain processes.
_LOCAL = ("local", "local_cwd")
_OWN_FLAGS = (
    "-s",
    "--scheduler",
    "-cfg",
    "--workspace",
    "--dryrun",
    "--dry-run",
    "--wait",
    "--log",
    "--detach",
    "--no-cache",
    "--json",
)


def add_arguments(parser: Parser) -> None:
    """Declare the flags."""
    parser.usage = "topcoat run [flags] (COMPONENT [ARGS ...] | [role flags] -- CMD [ARGS ...])"
    parser.settings = ("component",)
    add_scheduler(parser)
    add_cfg(parser, "run options of the scheduler (topcoat runopts)")
    add_workspace(
        parser,
        "directory, URL, or mapping '{src: dst, src2: dst2}': the local code of the first role (default: the current "
        "directory, if the scheduler takes a workspace and the role has none); '' for none",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--dryrun", action="store_true", help="print what would be submitted, and submit nothing")
    parser.add_argument("--wait", action="store_true", help="wait for the job's end; the exit code is 1 if it fails")
    parser.add_argument("--log", action="store_true", help="print the job's logs on stderr while waiting for its end")
    parser.add_argument(
        "--detach", action="store_true", help="do not wait; without it, local* schedulers wait and print the logs"
    )
    parser.add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="connect this terminal to the job's one replica: breakpoint(), input() and progress bars work",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="start the job again with the new code when shipped files have changed (local, local_docker); ^C ends it",
    )
    parser.add_argument("--tee-logs", action="store_true", help="begin each log line with its role and replica")
    parser.add_argument(
        "--stdin", action="store_true", help="read component, arguments and options from stdin, as one JSON object"
    )
    add_no_cache(parser)
    add_json(parser)
    parser.add_argument("--parent-run-id", metavar="ID", help="for experiment trackers")
    add_role_flags(parser)
    parser.alias("--dryrun", "--dry-run")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: Namespace) -> int:
    """Submit, print the handle, and wait if the flags say so."""
    if args.detach and (args.wait or args.log):
        raise UsageError("--detach cannot be combined with --wait or --log", hint="give one or the other")
    if args.watch and (args.interactive or args.detach or args.json or args.dryrun or args.stdin):
        raise UsageError("--watch cannot be combined with -i, --detach, --json, --dryrun or --stdin")
    if args.interactive and (args.detach or args.log or args.json or args.dryrun or args.stdin):
        raise UsageError("-i cannot be combined with --detach, --log, --json, --dryrun or --stdin")
    scheduler_args: dict[str, Any] = {}
    arguments: dict[str, Any] | list[str]
    if args.stdin:
        from topcoat.cli.stdin_args import read_stdin_args

        component, arguments, scheduler_args = read_stdin_args(args, _given_flags(args))
    else:
        component, arguments = _component(args)
        if component and "--help" in arguments[: arguments.index("--") if "--" in arguments else None]:
            return _component_help(component)
    scheduler = scheduler_name(args.scheduler)
    with open_runner() as runner:
        cfg = _cfg(runner, scheduler, args, scheduler_args)
        if component:
            app = _component_app(component, arguments, args.configured.get("image"))
        else:
            app = role_app(args, list(arguments))
            warn_about_program(next(iter(arguments)))
        if scheduler in _LOCAL:
            warn_about_resources(args, app, scheduler, shares_gpus=bool(cfg.get("auto_set_cuda_visible_devices")))
        workspace = _workspace(runner, scheduler, app, args)
        if args.dryrun:
            info = runner.dryrun(app, scheduler, cfg, workspace, args.parent_run_id)
            from topcoat.cli.dry_run import print_dry_run

            print_dry_run(info, as_json=args.json)
            return 0
        from topcoat.runner.dry_run import Submission

        submission = Submission(scheduler, runner.name(), cfg, workspace, args.parent_run_id)
        if args.watch:
            return _watch(runner, app, submission)
        handle = _submit(runner, app, submission, interactive=args.interactive)
        if args.interactive:
            from topcoat.cli.wait import attach_to

            return attach_to(runner, handle, app, cancel=_is_local(scheduler))
        return _after_submit(runner, handle, local=_is_local(scheduler), args=args)


def _component(args: Namespace) -> tuple[str, list[str]]:
    """Return the component's name and its arguments, or an empty name and the command."""
    words: list[str] = args.words
    if words and words[0] == "--":
        return "", words[1:]
    if words:
        refuse_role_flags(args, words[0])
        return words[0], words[1:]
    component = args.configured.get("component")
    if not component:
        raise UsageError(
            "no component and no command given", hint="topcoat run -- python train.py, or a component: topcoat builtins"
        )
    return component, []


def _component_help(component: str) -> int:
    from topcoat.components.finder import get_component
    from topcoat.specs.signature import component_help

    result(component_help(get_component(component).fn, component).rstrip())
    return 0


def _component_app(component: str, arguments: dict[str, Any] | list[str], image: str | None) -> AppDef:
    """Return the application of *component*; *image* is the configured default of its parameter ``image``."""
    from inspect import signature

    from topcoat.components.finder import get_component
    from topcoat.errors import InvalidComponent, UnknownComponent
    from topcoat.runner.config import get_configs
    from topcoat.specs import materialize_appdef
    from topcoat.suggest import run_as_command

    if component.endswith(".py"):
        # Not looked up: train.py would be the function py of the module train, which the import would run.
        hint = f"{run_as_command(component)}; to run a component of the file: topcoat run {component}:FUNCTION"
        raise UnknownComponent(f"unknown component {component!r}", hint=hint)
    try:
        function = get_component(component).fn
        defaults = get_configs("component", component)
        if image and "image" in signature(function).parameters:
            defaults.setdefault("image", image)
        return materialize_appdef(function, arguments, defaults)
    except UnknownComponent as error:
        from shutil import which

        if which(component) is not None:
            hint = f"to run it as a command: topcoat run -- {component} ..."
        elif os.path.isfile(component):
            hint = run_as_command(component)
        else:
            raise
        raise UnknownComponent(error.message, hint=hint) from error
    except InvalidComponent as error:
        # A common mistake: flags of topcoat run after the component's name.
        misplaced = [flag for flag in _OWN_FLAGS if error.message.endswith(f"has no parameter {flag}")]
        if not misplaced:
            raise
        hint = f"as a flag of topcoat run, {misplaced[0]} goes before {component}"
        raise InvalidComponent(error.message, hint=hint) from error


def _given_flags(args: Namespace) -> list[str]:
    """Return the flags and words on the command line that ``--stdin`` replaces."""
    from topcoat.cli.parser import Parser

    parser = Parser("run", "")
    add_arguments(parser)
    may_stay = {"stdin", "dryrun", "json", "debug", "detach", "help"}
    return [
        (action.option_strings or ["a component or command"])[-1]
        for action in parser.actions
        if action.dest not in may_stay and getattr(args, action.dest, None) not in (None, [], action.default)
    ]


def _cfg(runner: Runner, scheduler: str, args: Namespace, scheduler_args: dict[str, Any]) -> dict[str, CfgVal]:
    import json

    from topcoat.runner import config

    opts = runner.scheduler_run_opts(scheduler)
    cfg = opts.cfg_from_json_repr(json.dumps(scheduler_args)) | parse_cfg(opts, args.cfg)
    config.apply(scheduler, cfg)
    return cfg


def _workspace(runner: Runner, scheduler: str, app: AppDef, args: Namespace) -> str | None:
    """Return the workspace for the first role, ``None`` to leave it as it is."""
    if hasattr(args, "workspace"):
        if not args.workspace:
            for role in app.roles:
                role.workspace = None
        return args.workspace or None
    # A default applies only if the scheduler takes a workspace and the role has none.
    if not runner.scheduler_uses_workspace(scheduler) or (app.roles and app.roles[0].workspace):
        return None
    configured: str | None = args.configured.get("workspace")
    return "." if configured is None else configured or None


def _watch(runner: Runner, app: AppDef, submission: Submission) -> int:
    from topcoat.cli.watch import watch

    if submission.scheduler not in ("local", "local_docker"):
        raise UsageError(
            f"--watch works with local and local_docker, not with {submission.scheduler}",
            hint="topcoat run -s local --watch ...",
        )
    workspace = submission.workspace or (app.roles[0].workspace if app.roles else None)
    return watch(runner, lambda: _submit(runner, app, submission, interactive=False), str(workspace or ""))


def _is_local(scheduler: str) -> bool:
    return scheduler == "local" or scheduler.startswith("local_")


def _submit(runner: Runner, app: AppDef, submission: Submission, *, interactive: bool) -> str:
    from topcoat.cli.progress import Progress
    from topcoat.cli.what_goes import shipments
    from topcoat.notices import notice
    from topcoat.scan.retry import retry_if_changed

    def attempt() -> tuple[AppDryRunInfo[Any], str]:
        scheduler, _, cfg, workspace, parent_run_id = submission
        info = runner.dryrun(app, scheduler, cfg, workspace, parent_run_id)
        if interactive:
            runner.make_interactive(info)
        for shipment in shipments(info.workspace_plan, remember=True):
            notice(str(shipment))
        return info, runner.schedule(info)

    with Progress(f"submitting {app.name} to {submission.scheduler}", quiet=bool(submission.cfg.get("quiet"))):
        info, handle = retry_if_changed(attempt)
    for line in info.workspace_plan.lines() if info.workspace_plan else []:
        say(line)
    return handle


def _after_submit(runner: Runner, handle: str, *, local: bool, args: Namespace) -> int:
    from topcoat.cli.jobs import job_facts, status_facts
    from topcoat.cli.wait import failure, wait_for

    wait = not args.detach and (local or args.wait or args.log)
    if not wait:
        if not args.json:
            result(handle)
        else:
            current = None
            # The job is submitted: print its handle even if the status request fails.
            with suppress(TopcoatError):
                current = runner.status(handle)
            # As in TorchX, state and ui_url are always present.
            unknown = {**job_facts(handle), "state": None, "ui_url": None}
            json_result(status_facts(handle, current) if current else unknown)
        return 0
    status = wait_for(
        *(runner, handle),
        logs=local or args.log,
        cancel=local,
        show_handle=not args.json,
        always_prefix=args.tee_logs,
    )
    if args.json:
        json_result(status_facts(handle, status))
    if str(status.state) != "SUCCEEDED":
        raise failure(handle, status)
    return 0
