"""The run option ``image_entrypoint`` of every scheduler whose jobs are containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from topcoat.notices import notice
from topcoat.specs import CfgVal, runopts
from topcoat.specs.cfg import one_of

OPTION = "image_entrypoint"
KEEP_OR_REPLACE = ("keep", "replace")
"""What a scheduler allows, its default first; one that cannot replace an entrypoint allows ``("keep",)``."""


def add_image_entrypoint(opts: runopts, choices: tuple[str, ...]) -> None:
    """Add the option to *opts*, for a scheduler that allows *choices*."""
    opts.add(
        OPTION,
        type_=str,
        default=choices[0],
        help="keep: the image's ENTRYPOINT runs, with the command as its arguments"
        + "; replace: the command runs alone" * ("replace" in choices),
    )


def keeps_entrypoint(cfg: Mapping[str, CfgVal], choices: tuple[str, ...]) -> bool:
    """Return whether the image's ENTRYPOINT stays.

    Raises:
        InvalidRunConfigException: *choices* do not allow the value.
    """
    return one_of(cfg, OPTION, choices) == "keep"


def check_entrypoint(image: str, entrypoint: Sequence[str] | None, *, keep: bool) -> None:
    """Tell if the ENTRYPOINT of *image* is replaced, or if it is kept and ignores its arguments (shell form)."""
    if not entrypoint:
        return
    words = " ".join(entrypoint)
    if not keep:
        notice(f"{image}: the image's ENTRYPOINT ({words}) is replaced by the command; {OPTION}=keep keeps it")
    elif len(entrypoint) == 3 and entrypoint[1] == "-c" and not any(arg in words for arg in ("$@", "$*", "$0", "$1")):
        notice(
            f"{image}: the image's ENTRYPOINT ({words}) is in shell form and ignores the command; "
            f"{OPTION}=replace runs the command alone"
        )
