"""Write ``docs/torchx-names.md``: ``python -m tests.against_torchx.names_page > docs/torchx-names.md``.

``documented_names.txt`` has every public name of TorchX's API reference, also the public members of its classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from topcoat import install_as_torchx
from topcoat.torchx_alias import install_as_torchx_if_missing

NAMES = Path(__file__).with_name("documented_names.txt").read_text(encoding="utf-8").split()

REASONS = {
    "torchx.cli.cmd_tracker": "experiment trackers",
    "torchx.components.utils.booth": "an example for trackers; its program is in TorchX's image",
    "torchx.deprecations": "decorators for TorchX's own code",
    "torchx.runner.Runner.describe_native": "`describe` returns the AppDef; the backend's own tool shows the rest",
    "torchx.runtime": "helpers for code that runs in the job",
    "torchx.schedulers.api.Scheduler.describe_native": "see `Runner.describe_native`",
    "torchx.schedulers.kubernetes_scheduler.KubernetesScheduler.describe_native": "see `Runner.describe_native`",
    "torchx.schedulers.local_scheduler.LocalScheduler.auto_set_CUDA_VISIBLE_DEVICES": "the run option does it",
    "torchx.schedulers.local_scheduler.LocalScheduler.describe_native": "see `Runner.describe_native`",
    "torchx.schedulers.local_scheduler.LocalScheduler.run_local_job": "jobs run under a supervisor of their own",
    "torchx.schedulers.local_scheduler.SignalException": "a signal ends the command, and the job with it",
    "torchx.schedulers.slurm_scheduler.SlurmBatchRequest.images_to_push": "the plan of the workspaces pushes images",
    "torchx.specs.file_linter": "a component is checked when it is loaded",
    "torchx.tracker": "experiment trackers",
}
"""Why topcoat does not have a name, or any name below it."""


def exists(full_name: str) -> bool:
    """Tell whether ``import torchx`` of topcoat has *full_name*."""
    parts = full_name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            fields = getattr(value, "__dataclass_fields__", {}) | getattr(value, "__annotations__", {})
            if not hasattr(value, part):
                return part in fields and part == parts[-1]
            value = getattr(value, part)
        return True
    return False


def reason(full_name: str) -> str:
    """Return why topcoat does not have *full_name*; empty if no reason is known."""
    return next((text for prefix, text in REASONS.items() if f"{full_name}.".startswith(f"{prefix}.")), "")


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    missing = [name for name in NAMES if not exists(name)]
    yield "# The names of TorchX's documentation"
    yield ""
    yield f"TorchX's API reference has {len(NAMES)} public names. topcoat has {len(NAMES) - len(missing)} of them: in"
    yield "`topcoat` in place of `torchx`, and in `torchx` after `topcoat.install_as_torchx()`. A test compares this"
    yield "page with the code."
    yield ""
    yield "| name | here |"
    yield "| --- | --- |"
    for name in NAMES:
        yield f"| `{name}` | {'no: ' + reason(name) if name in missing else 'yes'} |"


if __name__ == "__main__":
    install_as_torchx()
    print(page(), end="")
else:
    install_as_torchx_if_missing()
