from __future__ import annotations

import configparser
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


class TestLinks:
    """A workspace does not make topcoat print other files of this machine."""

    @pytest.mark.parametrize("target", ["/proc/self/environ", "../secret", "/etc/passwd", "a/../../secret", "hop"])
    def test_a_link_of_the_workspace_that_leads_out_is_an_error_without_a_line_of_the_file(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, target: str
    ) -> None:
        monkeypatch.setenv("TOKEN", "hush-hush")
        cwd = home.parent / "cwd"
        (cwd / "a").mkdir()
        (cwd / "hop").symlink_to("../secret")
        (home.parent / "secret").write_text("hush-hush\n")
        (cwd / ".torchxconfig").symlink_to(target)
        for call in (find_configs, lambda: find_configs([str(cwd)])):
            with pytest.raises(InvalidConfigFile, match="is a link that leads out of its directory") as caught:
                call()
            assert "hush" not in f"{caught.value}{caught.value.hint}"
        monkeypatch.setenv("TORCHXCONFIG", ".torchxconfig")
        with pytest.raises(InvalidConfigFile, match="is a link that leads out of its directory"):
            find_configs()

    def test_a_link_within_the_workspace_is_obeyed(self, home: Path) -> None:
        cwd = home.parent / "cwd"
        (cwd / "conf").write_text("[a]\nk = 1\n")
        (cwd / ".torchxconfig").symlink_to("conf")
        assert find_configs() == [str(cwd / "conf")]

    def test_the_file_of_the_home_directory_may_be_a_link(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home.parent / "dotfiles").mkdir()
        (home.parent / "dotfiles/torchx").write_text("[a]\nk = 1\n")
        (home / ".torchxconfig").symlink_to("../dotfiles/torchx")
        assert find_configs() == [str(home.parent / "dotfiles/torchx")]
        monkeypatch.chdir(home)
        assert find_configs() == [str(home.parent / "dotfiles/torchx")]

    def test_not_even_the_home_directory_lends_the_environment(self, home: Path) -> None:
        (home / ".torchxconfig").symlink_to("/proc/self/environ")
        with pytest.raises(InvalidConfigFile, match="is a link that leads out"):
            find_configs()


class TestLimits:
    """A small file does not need much memory or time."""

    def test_values_that_use_others_have_a_maximum_length(self) -> None:
        lines = ["v0 = lol", *(f"v{n} = {f'%(v{n - 1})s' * 10}" for n in range(1, 10))]
        with pytest.raises(InvalidConfigFile, match=r"conf:7: v5 has more than 65536 characters with the values"):
            parse_config(io.StringIO("[a]\n" + "\n".join(lines)), "conf")

    def test_empty_values_count_too(self) -> None:
        lines = ["v0 =", *(f"v{n} = {f'%(v{n - 1})s' * 100}" for n in range(1, 10))]
        with pytest.raises(InvalidConfigFile, match=r"conf:4: v2|conf:5: v3 has more than 65536 characters"):
            parse_config(io.StringIO("[a]\n" + "\n".join(lines)), "conf")

    def test_all_values_have_a_maximum_length(self) -> None:
        many = "\n".join(f"v{n} = %(big)s" for n in range(100))
        with pytest.raises(InvalidConfigFile, match="the values of all sections have more than"):
            parse_config(io.StringIO(f"[a]\nbig = {'x' * 60000}\n{many}"), "conf")
        defaults = "\n".join(f"v{n} = 1" for n in range(5000))
        sections = "\n".join(f"[s{n}]" for n in range(5000))
        with pytest.raises(InvalidConfigFile, match="the values of all sections have more than"):
            parse_config(io.StringIO(f"[DEFAULT]\n{defaults}\n{sections}\n"), "conf")

    def test_a_file_has_a_maximum_length(self) -> None:
        with pytest.raises(InvalidConfigFile, match="conf is longer than 1048576 characters"):
            parse_config(io.StringIO("#" * ((1 << 20) + 1)), "conf")

    @pytest.mark.parametrize("line", ["a{}b = 1", "a{}b", "  a{}b = 1", "[a{}", "a = 1{}2"])
    def test_many_spaces_in_a_row_are_an_error(self, line: str) -> None:
        # The standard library's parser takes hours for them.
        with pytest.raises(InvalidConfigFile, match="conf:2: 500 spaces or more in a row"):
            parse_config(io.StringIO("[a]\n" + line.format(" " * 500_000) + "\n"), "conf")

    def test_a_value_that_uses_itself_is_an_error(self) -> None:
        with pytest.raises(InvalidConfigFile, match="conf:2: k refers to other values more than 10 deep"):
            parse_config(io.StringIO("[a]\nk = %(k)s\n"), "conf")


@given(
    st.lists(st.sampled_from(["%", "%%", "%(a)s", "%(b)s", "%(none)s", "%(a", "x", "(", ")s"]), max_size=8), st.data()
)
def test_values_are_interpolated_as_by_the_standard_library(words: list[str], data: st.DataObject) -> None:
    a = data.draw(st.sampled_from(["1", "%%", "%(b)s"]))
    text = f"[s]\nb = 2\na = {a}\nk = {''.join(words)}\n"
    reference = configparser.ConfigParser()
    reference.read_string(text)
    try:
        expected = reference.get("s", "k")
    except configparser.InterpolationError:
        with pytest.raises(InvalidConfigFile):
            parse_config(io.StringIO(text), "conf")
    else:
        assert parse_config(io.StringIO(text), "conf").sections["s"]["k"].text == expected
