"""``.torchxconfig``: find and parse configuration files, and keep the line number of every value.

The format is INI as TorchX writes it: names are case-sensitive, a value may continue in indented lines, ``%`` is
written ``%%``.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import NamedTuple, TextIO

from topcoat.errors import InvalidConfigFile
from topcoat.linked_files import is_kernel_file, leads_out

CONFIG_FILE = ".torchxconfig"
CONFIG_VARIABLE = "TORCHXCONFIG"

MAX_FILE_CHARS = 1 << 20
# Of one value, and of all values, with the values that they refer to.
MAX_VALUE_CHARS = 1 << 16
MAX_TOTAL_CHARS = 4 << 20
# Memory of a value besides its text.
_VALUE_CHARS = 50

# The standard library takes quadratic time for them.
_MAX_SPACES = 500
_MANY_SPACES = re.compile(rf"(?<=\S)[^\S\n]{{{_MAX_SPACES}}}")
# Text, "%%", or the name in "%(name)s"; no name for another percent sign.
_REFERENCE = re.compile(r"([^%]+)|(%%)|%(?:\(([^)]+)\)s)?")


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
    default the home and the current directory. Raise ``InvalidConfigFile`` if ``$TORCHXCONFIG`` is not a file, or if a
    file is a link that leads out of its directory; the one of the home directory may do that.
    """
    only_path = os.environ.get(CONFIG_VARIABLE)
    if only_path is not None:
        if only_path and not os.path.isfile(only_path):
            raise InvalidConfigFile(
                f"{CONFIG_VARIABLE} names {only_path}, which is not a file",
                hint=f"unset {CONFIG_VARIABLE}, or correct it",
            )
        return [_checked(only_path)] if only_path else []
    # The current directory may be the home directory, or a link to it.
    found = [os.path.join(directory, CONFIG_FILE) for directory in dirs or _default_dirs()]
    paths = dict.fromkeys(Path(_checked(path)).resolve() for path in found if os.path.isfile(path))
    return [str(path) for path in paths]


def _checked(path: str) -> str:
    directory = os.path.dirname(os.path.abspath(path))
    is_workspace = os.path.realpath(directory) != os.path.realpath(_home())
    if is_kernel_file(path) or (is_workspace and leads_out(path, directory)):
        raise InvalidConfigFile(
            f"{path} is a link that leads out of its directory",
            hint="replace the link by a copy of the file: its lines appear in messages",
        )
    return path


def _home() -> str:
    return os.path.expanduser("~")


def _default_dirs() -> Iterable[str]:
    yield _home()
    with contextlib.suppress(FileNotFoundError):  # it was removed
        yield os.getcwd()


def read_config(path: str) -> ConfigFile:
    """Read the file *path*, or raise ``InvalidConfigFile``."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_config(file, path)
    except UnicodeDecodeError as error:
        raise InvalidConfigFile(f"cannot read {path}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise InvalidConfigFile(f"cannot read {path}: {error.strerror or error}") from error


def parse_config(file: TextIO, name: str | None = None) -> ConfigFile:
    """Parse *file*, called *name* in messages, or raise ``InvalidConfigFile`` with the number of the invalid line."""
    shown = name or str(getattr(file, "name", "<config>"))
    text = file.read(MAX_FILE_CHARS + 1)
    if len(text) > MAX_FILE_CHARS:
        raise InvalidConfigFile(f"{shown} is longer than {MAX_FILE_CHARS} characters")
    if spaces := _MANY_SPACES.search(text):
        line = text.count("\n", 0, spaces.start()) + 1
        raise InvalidConfigFile(f"{shown}:{line}: {_MAX_SPACES} spaces or more in a row")
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
    room = MAX_TOTAL_CHARS
    for section in parser.sections():
        sections[section] = {}
        for key in parser[section]:
            line = lines.get((section, key)) or lines.get((parser.default_section, key), 0)
            where = f"{shown}:{line}"
            try:
                sections[section][key] = Setting(parser.get(section, key), where)
            except configparser.InterpolationError as error:
                raise InvalidConfigFile(f"{where}: {key} {error.message}", hint="write %% for a percent sign") from None
            room -= _VALUE_CHARS + len(key) + len(sections[section][key].text)
            if room < 0:
                raise InvalidConfigFile(
                    f"{shown}: the values of all sections have more than {MAX_TOTAL_CHARS} characters"
                )
    return ConfigFile(shown, sections)


class _Interpolation(configparser.BasicInterpolation):
    """``%(name)s``, with a limit: of ten values, each of which has the one before ten times, the last has 10 GB."""

    def before_get(
        self,
        parser: MutableMapping[str, Mapping[str, str]],
        section: str,
        option: str,
        value: str,
        defaults: Mapping[str, str],
    ) -> str:
        room = MAX_VALUE_CHARS

        def fail(reason: str) -> configparser.InterpolationError:
            return configparser.InterpolationError(option, section, reason)

        def expand(text: str, depth: int) -> str:
            nonlocal room
            if depth > configparser.MAX_INTERPOLATION_DEPTH:
                raise fail(f"refers to other values more than {configparser.MAX_INTERPOLATION_DEPTH} deep")
            parts = []
            for plain, percent, name in _REFERENCE.findall(text):
                room -= 1 + len(plain)
                if room < 0:
                    raise fail(f"has more than {MAX_VALUE_CHARS} characters with the values that it refers to")
                if not plain and not percent and name not in defaults:
                    raise fail("has a % that does not start %(name)s")
                parts.append(plain or percent[:1] or expand(defaults[name], depth + 1))
            return "".join(parts)

        return expand(value, 1) if "%" in value else value


def new_parser() -> configparser.ConfigParser:
    """Return a parser for TorchX's dialect."""
    parser = configparser.ConfigParser(interpolation=_Interpolation())
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
