"""Defaults from ``.torchxconfig``: run options, component arguments, command-line flags.

``[<scheduler>]`` holds run options, ``[component:<name>]`` arguments of a component, ``[cli:<command>]`` flags of a
command. A value on the command line or in a call overrides the files, and an earlier file overrides a later one
(``config_file.find_configs``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from topcoat.errors import InvalidConfigFile, InvalidRunConfigException, SchedulerError
from topcoat.notices import notice
from topcoat.runner.config_file import CONFIG_FILE, ConfigFile, find_configs, new_parser, parse_config, read_config
from topcoat.schedulers import get_scheduler_factories, unknown_scheduler
from topcoat.specs import CfgVal, get_type_name, runopt, runopts

__all__ = ["CONFIG_FILE", "apply", "configure", "dump", "find_configs", "get_config", "get_configs", "load"]

_NONE = "None"
_FIXME = "#FIXME:"


def apply(scheduler: str, cfg: dict[str, CfgVal], dirs: Iterable[str] | None = None) -> None:
    """Add to *cfg* the run options of ``[scheduler]`` in the configuration files that *cfg* does not have.

    Args:
        scheduler: its name.
        cfg: run options; changed in place.
        dirs: where to look, in order of precedence; by default home, then the current directory.

    An unknown run option is ignored, with a notice. Raise ``InvalidConfigFile`` for a file or value that cannot be
    read, and ``UnknownScheduler``.
    """
    for path in find_configs(dirs):
        _load(scheduler, read_config(path), cfg)


def load(scheduler: str, f: TextIO, cfg: dict[str, CfgVal]) -> None:
    """Add to *cfg* the run options of ``[scheduler]`` in the open file *f* that *cfg* does not have; see ``apply``."""
    _load(scheduler, parse_config(f), cfg)


def _load(scheduler: str, file: ConfigFile, cfg: dict[str, CfgVal]) -> None:
    section = file.sections.get(scheduler)
    if not section:
        return
    opts = _run_opts(scheduler)
    given = {opts.canonical_key(name) or name for name in cfg}
    for name, setting in section.items():
        key = opts.canonical_key(name)
        if key is None:
            notice(f"{setting.where}: unknown run option {name!r} of {scheduler}, ignored")
            continue
        if key in given:
            continue
        if setting.text.startswith(_FIXME):
            raise InvalidConfigFile(
                f"{setting.where}: {name} is not filled in yet: {setting.text}",
                hint=f"put a value there, or add -cfg {name}=...",
            )
        try:
            value = None if setting.text == _NONE else opts.cast(key, setting.text)
        except InvalidRunConfigException as error:
            raise InvalidConfigFile(f"{setting.where}: {error}") from error
        if cfg.setdefault(key, value) != value:
            raise InvalidConfigFile(f"{setting.where}: {key} has two values, under two spellings")


def _run_opts(scheduler: str) -> runopts:
    factories = get_scheduler_factories()
    if scheduler not in factories:
        raise unknown_scheduler(scheduler, factories)
    with contextlib.closing(factories[scheduler](session_name="config")) as created:
        return created.run_opts()


def load_sections(prefix: str, dirs: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """Return every section ``[prefix:name]`` of the configuration files, as name to key to text.

    Raise ``InvalidConfigFile`` for a file that cannot be read.
    """
    sections: dict[str, dict[str, str]] = {}
    for path in find_configs(dirs):
        for title, section in read_config(path).sections.items():
            before, colon, name = title.partition(":")
            if colon and before == prefix and name:
                values = sections.setdefault(name, {})
                for key, setting in section.items():
                    values.setdefault(key, setting.text)
    return sections


def get_configs(prefix: str, name: str, dirs: Iterable[str] | None = None) -> dict[str, str]:
    """Return the section ``[prefix:name]``, empty if no file has it."""
    return load_sections(prefix, dirs).get(name, {})


def get_config(prefix: str, name: str, key: str, dirs: Iterable[str] | None = None) -> str | None:
    """Return one value of the section ``[prefix:name]``, ``None`` if no file has it."""
    return get_configs(prefix, name, dirs).get(key)


def dump(f: TextIO, schedulers: Iterable[str] | None = None, required_only: bool = False) -> None:
    """Write to *f* a configuration file with the run options of *schedulers*, by default of all.

    Optional ones get their defaults, required ones a placeholder to fill in. A scheduler that cannot be loaded is left
    out, with a notice, unless *schedulers* names it. Raise ``UnknownScheduler``.
    """
    parser = new_parser()
    for name in schedulers if schedulers is not None else get_scheduler_factories():
        try:
            opts = _run_opts(name)
        except (ImportError, SchedulerError) as error:
            if schedulers is not None:
                raise
            notice(f"the scheduler {name} is left out: {error}")
            continue
        parser.add_section(name)
        for key, opt in opts:
            if opt.is_required:
                parser.set(name, key, _escaped(f"{_FIXME}({get_type_name(opt.opt_type)}) {_one_line(opt.help)}"))
            elif not required_only:
                parser.set(name, key, _escaped(_default_text(opt)))
    parser.write(f)


def _default_text(opt: runopt) -> str:
    if isinstance(opt.default, list) and opt.default:
        return ";".join(opt.default)
    if isinstance(opt.default, dict) and opt.default:
        return ";".join(f"{key}:{value}" for key, value in opt.default.items())
    return _NONE if opt.default in (None, [], {}) else str(opt.default)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def configure(
    path: str | Path = CONFIG_FILE,
    schedulers: Iterable[str] | None = None,
    *,
    required_only: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a configuration file to *path* atomically and return its path.

    Raise ``InvalidConfigFile`` if it exists and *overwrite* is false, or if it cannot be written.
    """
    import os
    import tempfile

    target = Path(path)
    if target.exists() and not overwrite:
        raise InvalidConfigFile(f"{target} already exists", hint="add what is missing to it, or remove it first")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                dump(file, schedulers, required_only)
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise InvalidConfigFile(f"cannot write {target}: {error.strerror or error}") from error
    return target
