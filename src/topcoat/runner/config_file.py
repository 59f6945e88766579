"""``.torchxconfig``: find and parse configuration files, and keep the line number of every value.

The format is INI as TorchX writes it: names are case-sensitive, a value may continue in indented lines, ``%`` is
written ``%%``.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from topcoat.errors import InvalidConfigFile

CONFIG_FILE = ".torchxconfig"
CONFIG_VARIABLE = "TORCHXCONFIG"


class Setting(NamedTuple):
    """Hold the text of one value, and its position: file and line."""

    text: str
    where: str


class ConfigFile(NamedTuple):
    """Hold the sections of one file: section to name to setting."""

    name: str
    sections: dict[str, dict[str, Setting]]


def find_configs(dirs: Iterable[str] | None = None) -> list[str]:
    """Return the paths of the configuration files, in order of precedence.

    If ``$TORCHXCONFIG`` is set, it names the only file, or none if it is empty. Otherwise the files are in *dirs*, by
    default the home and the current directory. Raise ``InvalidConfigFile`` if ``$TORCHXCONFIG`` is not a file.
    """
    only_path = os.environ.get(CONFIG_VARIABLE)
    if only_path is not None:
        if only_path and not os.path.isfile(only_path):
            raise InvalidConfigFile(
                f"{CONFIG_VARIABLE} names {only_path}, which is not a file",
                hint=f"unset {CONFIG_VARIABLE}, or correct it",
            )
        return [only_path] if only_path else []
    # The current directory may be the home directory, or a link to it.
    paths = dict.fromkeys((Path(directory) / CONFIG_FILE).resolve() for directory in dirs or _default_dirs())
    return [str(path) for path in paths if os.path.isfile(path)]


def _default_dirs() -> Iterable[str]:
    yield os.path.expanduser("~")
    with contextlib.suppress(FileNotFoundError):  # it was removed
        yield os.getcwd()


def read_config(path: str) -> ConfigFile:
    """Read the file *path*, or raise ``InvalidConfigFile``."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_config(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigFile(f"cannot read {path}: {error}") from error


def parse_config(file: TextIO, name: str | None = None) -> ConfigFile:
    """Parse *file*, called *name* in messages, or raise ``InvalidConfigFile`` with the number of the invalid line."""
    shown = name or str(getattr(file, "name", "<config>"))
    text = file.read()
    parser = new_parser()
    try:
        parser.read_string(text, shown)
    except configparser.DuplicateOptionError as error:
        raise InvalidConfigFile(f"{shown}:{error.lineno}: {error.option} appears twice in [{error.section}]") from None
    except configparser.DuplicateSectionError as error:
        raise InvalidConfigFile(f"{shown}:{error.lineno}: [{error.section}] appears twice") from None
    except configparser.MissingSectionHeaderError as error:
        raise InvalidConfigFile(f"{shown}:{error.lineno}: not in a [section]: {error.line.strip()}") from None
    except configparser.ParsingError as error:
        line = error.errors[0][0]
        content = text.splitlines()[line - 1].strip()
        raise InvalidConfigFile(f"{shown}:{line}: expected [section] or key = value: {content}") from None
    lines = _line_numbers(text)
    sections: dict[str, dict[str, Setting]] = {}
    for section in parser.sections():
        sections[section] = {}
        for key in parser[section]:
            line = lines.get((section, key)) or lines.get((parser.default_section, key), 0)
            where = f"{shown}:{line}"
            try:
                sections[section][key] = Setting(parser.get(section, key), where)
            except configparser.InterpolationError:
                raise InvalidConfigFile(
                    f"{where}: {key} has a % that does not start %(name)s", hint="write %% for a percent sign"
                ) from None
    return ConfigFile(shown, sections)


def new_parser() -> configparser.ConfigParser:
    """Return a parser for TorchX's dialect."""
    parser = configparser.ConfigParser()
    # The default converts names to lower case.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each (section, key)."""
    numbers: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\[([^\]]+)\]", line):
            section = header[1]
        elif key := re.match(r"([^\s#;=:][^=:]*?)\s*[=:]", line):
            numbers.setdefault((section, key[1]), number)
    return numbers
