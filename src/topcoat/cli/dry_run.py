"""Print what ``topcoat run --dryrun`` would submit."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from topcoat.cli.output import json_result, result

if TYPE_CHECKING:
    from topcoat.specs import AppDef, AppDryRunInfo


def print_dry_run(info: AppDryRunInfo[Any], *, as_json: bool) -> None:
    """Print the request, with the application and the plan for its workspaces as comments.

    So the output is what the backend's own command takes: ``... | kubectl apply -f -``, ``... | sbatch``.
    """
    plan = info.workspace_plan.lines() if info.workspace_plan else []
    if as_json:
        app = dataclasses.asdict(info.app) if info.app else None
        facts = {"scheduler": info.scheduler, "cfg": dict(info.cfg), "app": app, "workspaces": plan}
        json_result({**facts, "request": _as_data(info)})
        return
    request = str(info).rstrip()
    sections = [("APPLICATION", _app_text(info.app)), ("WORKSPACES", plan)]
    comments = [line for title, lines in sections if lines for line in (f"=== {title} ===", *lines, "")]
    if request.startswith("#!"):  # the first line of a script says what runs it
        result(request)
        comments = ["", *comments]
    for line in comments:
        result(f"# {line}".rstrip())
    if not request.startswith("#!"):
        result(f"# === SCHEDULER REQUEST ===\n{request}")


def _as_data(info: AppDryRunInfo[Any]) -> object:
    """Return the request as plain data if it has fields, else as text."""
    request = info.request
    if dataclasses.is_dataclass(request) and not isinstance(request, type):
        return dataclasses.asdict(request)
    return request if isinstance(request, (dict, list)) else str(info)


def _app_text(app: AppDef | None) -> list[str]:
    """Return *app* as lines of YAML, without what is empty."""
    if app is None:
        return []
    import yaml

    data = _without_empty(json.loads(json.dumps(dataclasses.asdict(app), default=str)))
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)).splitlines()


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, "", [], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
