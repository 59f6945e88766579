from __future__ import annotations

import io
from pathlib import Path

import pytest

from topcoat.errors import InvalidConfigFile
from topcoat.runner.config_file import find_configs, parse_config, read_config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, beside the current directory ``cwd``."""
    for name in ("home", "cwd"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("TORCHXCONFIG", raising=False)
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "home"


def test_home_comes_before_the_current_directory(home: Path) -> None:
    here = home.parent / "cwd/.torchxconfig"
    assert find_configs() == []
    here.write_text("")
    assert find_configs() == [str(here)]
    (home / ".torchxconfig").write_text("")
    assert find_configs() == [str(home / ".torchxconfig"), str(here)]


def test_a_home_that_is_the_current_directory_counts_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".torchxconfig").write_text("")
    (home.parent / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(home.parent / "link"))
    monkeypatch.chdir(home)
    assert find_configs() == [str(home / ".torchxconfig")]


def test_directories_replace_the_default_ones_in_their_order(home: Path) -> None:
    for name in ("a", "b"):
        (home / name).mkdir()
        (home / name / ".torchxconfig").write_text("")
    (home / ".torchxconfig").write_text("")
    assert find_configs([str(home / "b"), str(home / "none"), str(home / "a")]) == [
        str(home / "b/.torchxconfig"),
        str(home / "a/.torchxconfig"),
    ]


def test_the_variable_names_the_only_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".torchxconfig").write_text("")
    (home / "other").write_text("")
    monkeypatch.setenv("TORCHXCONFIG", str(home / "other"))
    assert find_configs() == [str(home / "other")]
    assert find_configs([str(home)]) == [str(home / "other")]
    monkeypatch.setenv("TORCHXCONFIG", "")
    assert find_configs() == []
    monkeypatch.setenv("TORCHXCONFIG", str(home / "nope"))
    with pytest.raises(InvalidConfigFile, match=r"TORCHXCONFIG names .*nope, which is not a file"):
        find_configs()


def test_values_have_line_numbers_and_names_are_case_sensitive() -> None:
    text = "# first\n[a]\nKey = 1\nkey: 2\n\n[b]\nwide =\n    x: y\n    z: w\nlast = 50%% off\n"
    file = parse_config(io.StringIO(text), "conf")
    assert file.sections == {
        "a": {"Key": ("1", "conf:3"), "key": ("2", "conf:4")},
        "b": {"wide": ("\nx: y\nz: w", "conf:7"), "last": ("50% off", "conf:10")},
    }


def test_defaults_of_the_file_are_in_every_section() -> None:
    file = parse_config(io.StringIO("[DEFAULT]\nroot = /r\n[a]\npath = %(root)s/x\n"), "conf")
    assert file.sections == {"a": {"path": ("/r/x", "conf:4"), "root": ("/r", "conf:2")}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key = 1\n", "conf:1: not in a [section]: key = 1"),
        ("[a]\n\nnonsense\n", "conf:3: expected [section] or key = value: nonsense"),
        ("[a]\nk = 1\nk = 2\n", "conf:3: k appears twice in [a]"),
        ("[a]\n[b]\n[a]\n", "conf:3: [a] appears twice"),
        ("[a]\nk = 50%\n", "conf:2: k has a % that does not start %(name)s"),
        ("[a]\nk = %(nope)s\n", "conf:2: k has a % that does not start %(name)s"),
    ],
)
def test_a_file_that_cannot_be_parsed_names_the_line(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigFile) as caught:
        parse_config(io.StringIO(text), "conf")
    assert str(caught.value) == message


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    for path in (tmp_path, tmp_path / "none", tmp_path / "binary"):
        with pytest.raises(InvalidConfigFile, match=f"cannot read {path}"):
            read_config(str(path))


def test_an_open_file_has_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[a]\nk = 1\n")
    with open(tmp_path / "conf", encoding="utf-8") as file:
        assert parse_config(file).sections["a"]["k"].where == f"{tmp_path}/conf:2"
