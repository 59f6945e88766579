from __future__ import annotations

from tests.cli.conftest import Cli
from topcoat.schedulers import BUILT_IN


def test_runopts_lists_the_options_of_every_scheduler(cli: Cli) -> None:
    result = cli("runopts")
    assert result.code == 0
    assert [name for name in BUILT_IN if f"\n{name}:\n" in f"\n{result.out}"] == list(BUILT_IN)


def test_runopts_lists_the_options_of_one_scheduler(cli: Cli) -> None:
    result = cli("runopts", "local_docker")
    assert result.out.startswith("local_docker:\n    usage:")
    assert "image_repo=IMAGE_REPO (str, None)" in result.out
    options = cli("runopts", "local_docker", "--json").json
    assert options["local_docker"]["modes"] == {
        "type": "str",
        "default": "portable",
        "required": False,
        "help": "portable: files 0644 or 0755, directories 0755; exact: permission bits as they are",
    }


def test_an_unknown_scheduler_is_an_error(cli: Cli) -> None:
    result = cli("runopts", "local_dokcer")
    assert result.code == 2
    assert result.error == ("unknown scheduler 'local_dokcer'", "did you mean local_docker or local_cwd?")
