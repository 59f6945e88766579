from __future__ import annotations

import pytest

from tests.support.notices import recorded_notices
from topcoat.errors import InvalidRunConfigException
from topcoat.schedulers.image_entrypoint import add_image_entrypoint, check_entrypoint, keeps_entrypoint
from topcoat.specs import runopts


@pytest.mark.parametrize("choices", [("keep", "replace"), ("replace", "keep"), ("keep",)])
def test_the_first_choice_of_a_scheduler_is_its_default(choices: tuple[str, ...]) -> None:
    opts = runopts()
    add_image_entrypoint(opts, choices)
    assert opts.resolve({}) == {"image_entrypoint": choices[0]}
    assert keeps_entrypoint({}, choices) is keeps_entrypoint(opts.resolve({}), choices) is (choices[0] == "keep")


def test_a_scheduler_that_cannot_replace_it_refuses_to() -> None:
    with pytest.raises(InvalidRunConfigException, match="invalid image_entrypoint 'replace'") as caught:
        keeps_entrypoint({"image_entrypoint": "replace"}, ("keep",))
    assert caught.value.hint == "choose keep"


@pytest.mark.parametrize(
    ("entrypoint", "keep", "text"),
    [
        (None, False, ""),
        ([], False, ""),
        (["/entry.sh"], False, "(/entry.sh) is replaced by the command; image_entrypoint=keep keeps it"),
        (["/entry.sh"], True, ""),
        (["/bin/sh", "-c", "setup; run"], True, "in shell form and ignores the command"),
        (["/bin/sh", "-c", 'setup; exec "$@"'], True, ""),
        (["/bin/sh", "-c", "setup", "x"], True, ""),
    ],
)
def test_a_notice_tells_what_becomes_of_the_images_entrypoint(
    entrypoint: list[str] | None, keep: bool, text: str
) -> None:
    with recorded_notices() as notices:
        check_entrypoint("image:1", entrypoint, keep=keep)
    assert len(notices) == bool(text)
    assert text in "".join(notices)
