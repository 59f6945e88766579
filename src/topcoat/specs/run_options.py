"""The run options of a scheduler or workspace, with types, defaults and help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from topcoat.errors import InvalidRunConfigException, MissingRunOption
from topcoat.specs.cfg import CfgVal, base_type, cast, get_type_name, is_type, split_pairs
from topcoat.suggest import did_you_mean


@dataclass
class runopt:  # noqa: N801  (TorchX's name)
    """Describe one run option."""

    default: CfgVal
    opt_type: Any
    is_required: bool
    help: str

    @property
    def is_type_list_of_str(self) -> bool:
        """Whether values are ``list[str]``."""
        return base_type(self.opt_type) is list

    @property
    def is_type_dict_of_str(self) -> bool:
        """Whether values are ``dict[str, str]``."""
        return base_type(self.opt_type) is dict

    def cast_to_type(self, value: str) -> CfgVal:
        """Parse *value* for this option (grammar: ``topcoat.specs.cfg``); raise ``ValueError`` if it is invalid."""
        return cast(value, self.opt_type)


class runopts:  # noqa: N801  (TorchX's name)
    """Hold options by name, in the order they were added.

    A snake_case name can also be spelled in camelCase, as in TorchX.
    """

    def __init__(self) -> None:
        self._opts: dict[str, runopt] = {}

    def __iter__(self) -> Iterator[tuple[str, runopt]]:
        return iter(self._opts.items())

    def __len__(self) -> int:
        return len(self._opts)

    def __or__(self, other: runopts) -> runopts:
        """Return a new object with the options of both; *other* overrides."""
        merged = runopts()
        merged.update(self)
        merged.update(other)
        return merged

    def update(self, other: runopts) -> None:
        """Add the options of *other*, replacing those of the same name."""
        self._opts.update(other._opts)

    @staticmethod
    def is_type(obj: CfgVal, tp: Any) -> bool:
        """Tell whether *obj* has the type *tp*, including the items of lists and dicts; a bool is not an int."""
        return is_type(obj, tp)

    def add(
        self,
        cfg_key: str,
        type_: Any,
        help: str,  # noqa: A002  (TorchX's name)
        default: CfgVal = None,
        required: bool = False,
    ) -> None:
        """Add an option: str, int, float, bool, ``list[str]`` or ``dict[str, str]``.

        An empty list is also an empty dict, as in TorchX. Raise ``InvalidRunConfigException`` for any other type, for a
        default of another type, and for a required option with a default.
        """
        try:
            default = {} if base_type(type_) is dict and default == [] else default
        except TypeError as error:
            message = f"the run option {cfg_key!r} cannot be declared: {error}"
            raise InvalidRunConfigException(message, cfg_key) from None
        if required and default is not None:
            message = f"the run option {cfg_key!r} is required, so it cannot have the default {default!r}"
            raise InvalidRunConfigException(message, cfg_key)
        if default is not None and not is_type(default, type_):
            message = f"invalid default {default!r} of the run option {cfg_key!r}: expected {get_type_name(type_)}"
            raise InvalidRunConfigException(message, cfg_key)
        self._opts[cfg_key] = runopt(default, type_, required, help)

    def get(self, name: str) -> runopt | None:
        """Return the option *name*, or ``None``."""
        key = self.canonical_key(name)
        return None if key is None else self._opts[key]

    def canonical_key(self, name: str) -> str | None:
        """Return the name that the option *name* was added with, or ``None``."""
        if name in self._opts:
            return name
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
        return snake if snake in self._opts else None

    def resolve(self, cfg: Mapping[str, CfgVal], *, ignore_unknown: bool = False) -> dict[str, CfgVal]:
        """Return a checked copy of *cfg*, with defaults, and every option under its canonical name.

        ``None`` is valid for every option that is not required. Raise ``InvalidRunConfigException`` for an unknown
        option (*ignore_unknown* keeps it), for a missing required one and for a value of the wrong type.
        """
        resolved: dict[str, CfgVal] = {}
        for name, value in cfg.items():
            key = self.canonical_key(name)
            if key is None and not ignore_unknown:
                raise self._unknown(name)
            _put(resolved, key or name, value)
        for key, opt in self._opts.items():
            value = resolved.setdefault(key, opt.default)
            if value is None and opt.is_required:
                raise MissingRunOption(
                    f"the run option {key!r} is required: {opt.help}", key, cfg, hint=f"add -cfg {key}=..."
                )
            if value is not None and not is_type(value, opt.opt_type):
                raise InvalidRunConfigException(
                    f"the run option {key!r} must be a {get_type_name(opt.opt_type)}, not {value!r}", key, cfg
                )
        return resolved

    def cfg_from_str(self, cfg_str: str | None) -> dict[str, CfgVal]:
        """Parse ``key=value,key2=value2`` (grammar: ``topcoat.specs.cfg``) into typed values, without defaults.

        Raise ``InvalidRunConfigException`` for malformed text or values and for unknown options.
        """
        parsed: dict[str, CfgVal] = {}
        for name, text in split_pairs(cfg_str or "").items():
            key = self.canonical_key(name)
            if key is None:
                raise self._unknown(name)
            _put(parsed, key, self.cast(key, text))
        return parsed

    def cfg_from_json_repr(self, json_repr: str, *, ignore_unknown: bool = False) -> dict[str, CfgVal]:
        """Parse a JSON object into values for ``resolve``; items become strings.

        Raise ``InvalidRunConfigException`` for other JSON and for unknown options (*ignore_unknown* drops them).
        """
        from topcoat.foreign_text import parse_json

        try:
            loaded = parse_json(json_repr)
        except ValueError as error:
            raise InvalidRunConfigException(f"invalid JSON in run options: {error}") from error
        if not isinstance(loaded, dict):
            raise InvalidRunConfigException(f"run options must be a JSON object, not a {type(loaded).__name__}")
        parsed: dict[str, CfgVal] = {}
        for name, value in loaded.items():
            key = self.canonical_key(name)
            if key is not None:
                _put(parsed, key, _items_as_strings(value, self._opts[key]))
            elif not ignore_unknown:
                raise self._unknown(name)
        return parsed

    def cast(self, key: str, text: str) -> CfgVal:
        """Parse *text* for the option *key*, or raise ``InvalidRunConfigException``."""
        opt = self._opts[key]
        try:
            return opt.cast_to_type(text)
        except ValueError as error:
            raise InvalidRunConfigException(
                f"the run option {key!r} must be a {get_type_name(opt.opt_type)}: {error}", key
            ) from None

    def _unknown(self, name: str) -> InvalidRunConfigException:
        otherwise = f"known options: {', '.join(sorted(self._opts)) or 'none'}"
        hint = did_you_mean(name, self._opts, otherwise=otherwise)
        return InvalidRunConfigException(f"unknown run option {name!r}", name, hint=hint)

    def __repr__(self) -> str:
        required = [(key, opt) for key, opt in self if opt.is_required]
        optional = [(key, opt) for key, opt in self if not opt.is_required]
        usage = [f"{key}={key.upper()}" for key, _ in required]
        usage += [f"[{key}={key.upper()}]" for key, _ in optional]
        lines = ["    usage:", "        " + ",".join(usage)]
        for title, opts in (("required", required), ("optional", optional)):
            if opts:
                lines += ["", f"    {title} arguments:"]
            for key, opt in opts:
                default = "" if opt.is_required else f", {opt.default}"
                lines.append(f"        {key}={key.upper()} ({get_type_name(opt.opt_type)}{default})")
                lines += [f"            {line}" for line in opt.help.splitlines()]
        return "\n".join(lines)


def _put(into: dict[str, CfgVal], key: str, value: CfgVal) -> None:
    if key in into and into[key] != value:
        message = f"the run option {key!r} is given under two spellings with two values"
        raise InvalidRunConfigException(message, key, hint=f"give {key} once")
    into[key] = value


def _items_as_strings(value: Any, opt: runopt) -> CfgVal:
    if opt.is_type_list_of_str and isinstance(value, list):
        return [str(item) for item in value]
    if opt.is_type_dict_of_str and isinstance(value, dict):
        return {str(key): str(item) for key, item in value.items()}
    return value  # type: ignore[no-any-return]
