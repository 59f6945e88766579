"""Run options as a dataclass: fields become options, the string after a field becomes its help."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from topcoat.errors import InvalidRunConfigException
from topcoat.specs import CfgVal, runopts

S = TypeVar("S", bound="StructuredOpts")


@dataclasses.dataclass
class StructuredOpts(Mapping[str, CfgVal]):
    """Declare a scheduler's run options with types: derive from this, with ``@dataclass``.

    A field is an option, required if it has no default. A field that is a ``StructuredOpts`` is a group of options
    ``field.option``. Fields with a leading underscore are not options. The help is the string literal after a field, or
    ``help`` in its metadata; ``cfg_key`` in the metadata is a name that is not a Python name, such as ``mail-user``. An
    option is also accepted in camelCase. An instance is a mapping of options to values, undeclared ones included.
    """

    _extra_cfg: dict[str, CfgVal] = dataclasses.field(default_factory=dict, repr=False, compare=False, kw_only=True)
    _local_groups: typing.ClassVar[dict[str, type]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "<locals>" in cls.__qualname__:
            cls._local_groups = {**cls._local_groups, **_groups_beside(cls)}

    @classmethod
    def as_runopts(cls) -> runopts:
        """Return the fields as options."""
        opts = runopts()
        docs = cls.get_docstrings()
        for field, type_ in _options(cls):
            if is_structured(type_):
                for key, opt in type_.as_runopts():
                    opts.add(f"{field.name}.{key}", opt.opt_type, opt.help, opt.default, opt.is_required)
                continue
            default = None if field.default is dataclasses.MISSING else field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            opts.add(_key(field), type_, docs.get(field.name, field.name), default, _is_required(field))
        return opts

    @classmethod
    def from_cfg(cls: type[S], cfg: Mapping[str, CfgVal]) -> S:
        """Create an instance from options under any of their spellings.

        Raise ``InvalidRunConfigException`` for two spellings with two values.
        """
        values: dict[str, Any] = {}
        for field, type_ in _options(cls):
            if is_structured(type_):
                prefix = f"{field.name}."
                group = {key[len(prefix) :]: value for key, value in cfg.items() if key.startswith(prefix)}
                if group or _is_required(field):
                    values[field.name] = type_.from_cfg(group)
                continue
            spellings = [name for name in _spellings(field) if name in cfg]
            if any(cfg[name] != cfg[spellings[0]] for name in spellings):
                raise InvalidRunConfigException(
                    f"the run option {_key(field)!r} has two values, under two spellings: {' and '.join(spellings)}",
                    _key(field),
                    hint=f"give {_key(field)} once",
                )
            if spellings:
                values[field.name] = cfg[spellings[0]]
        opts = cls(**values)
        opts._extra_cfg = {key: value for key, value in cfg.items() if key not in opts}
        return opts

    @classmethod
    def get_docstrings(cls) -> dict[str, str]:
        """Return the help of each option that has one, by field name; ``group.field`` for those of a group."""
        docs: dict[str, str] = {}
        for klass in reversed(cls.__mro__):
            if is_structured(klass):
                docs.update(_strings_after_fields(klass))
        for field, type_ in _options(cls):
            if "help" in field.metadata:
                docs[field.name] = field.metadata["help"]
            if is_structured(type_):
                docs.update({f"{field.name}.{name}": text for name, text in type_.get_docstrings().items()})
        return docs

    def __getitem__(self, key: str) -> CfgVal:
        group, dot, rest = key.partition(".")
        for field, _ in _options(type(self)):
            value = getattr(self, field.name)
            if dot and isinstance(value, StructuredOpts):
                if group in _spellings(field):
                    return value[rest]
            elif key in _spellings(field):
                return value  # type: ignore[no-any-return]
        return self._extra_cfg[key]

    def __iter__(self) -> Iterator[str]:
        for field, type_ in _options(type(self)):
            if is_structured(type_):
                yield from (f"{field.name}.{key}" for key in getattr(self, field.name) or ())
            else:
                yield _key(field)
        yield from self._extra_cfg

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __or__(self, other: Mapping[str, CfgVal]) -> dict[str, CfgVal]:
        """Return the options of both as a dict; *other* overrides."""
        return {**self, **other}


def is_structured(type_: Any) -> bool:
    """Tell whether *type_* is a subclass of ``StructuredOpts``."""
    # In Python 3.10, isinstance(list[str], type) is true and issubclass(list[str], ...) raises.
    return (
        isinstance(type_, type)
        and typing.get_origin(type_) is None
        and issubclass(type_, StructuredOpts)
        and type_ is not StructuredOpts
    )


def _options(cls: type[StructuredOpts]) -> list[tuple[dataclasses.Field[Any], Any]]:
    """Return the public fields with their types, without ``| None``."""
    hints = typing.get_type_hints(cls, localns=cls._local_groups)
    return [(field, _unwrap(hints[field.name])) for field in dataclasses.fields(cls) if not field.name.startswith("_")]


def _groups_beside(cls: type) -> dict[str, type]:
    """Return the groups that are defined in the same function as *cls*: its postponed annotations may name them."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") != cls.__module__:
        frame = frame.f_back
    return {name: value for name, value in frame.f_locals.items() if is_structured(value)} if frame else {}


def _unwrap(type_: Any) -> Any:
    if typing.get_origin(type_) not in (typing.Union, types.UnionType):
        return type_
    rest = [part for part in typing.get_args(type_) if part is not type(None)]
    return rest[0] if len(rest) == 1 else type_


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("cfg_key", field.name))


def _spellings(field: dataclasses.Field[Any]) -> list[str]:
    camel = re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda match: match[1].upper(), field.name)
    return list(dict.fromkeys((_key(field), field.name, camel)))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _strings_after_fields(cls: type) -> dict[str, str]:
    """Return the string literals after the fields in the source of *cls*, empty if the source is unknown."""
    import ast

    try:
        source = inspect.getsource(cls)
        # An indented class is put into a block.
        tree = ast.parse(f"if 1:\n{source}" if source[:1].isspace() else source)
    except (OSError, TypeError, SyntaxError):
        return {}
    body = next((node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)), [])
    docs = {}
    for node, after in itertools.pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            docs[node.target.id] = inspect.cleandoc(after.value.value)
    return docs
