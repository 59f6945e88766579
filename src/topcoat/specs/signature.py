"""The parameters of a component, read from its signature and docstring, and its help text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

from topcoat.errors import InvalidComponent
from topcoat.specs.docstring import parse_docstring
from topcoat.specs.values import ParameterType, parameter_type

NO_DEFAULT = inspect.Parameter.empty


class ComponentParameter(NamedTuple):
    """Describe one parameter of a component."""

    name: str
    type: ParameterType
    default: object
    keyword_only: bool
    help: str

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is NO_DEFAULT

    @property
    def flags(self) -> tuple[str, ...]:
        """Its flags on the command line, short flags first."""
        short = (f"-{self.name}",) if len(self.name) == 1 else ()
        return (*self.type.flags, *short, f"--{self.name}")


class ComponentSignature(NamedTuple):
    """Describe a component: its location, its parameters, and the name of its ``*args`` if it has them."""

    where: str
    description: str
    parameters: tuple[ComponentParameter, ...]
    var_args: str | None
    var_args_help: str

    def find(self, flag: str) -> ComponentParameter | None:
        """Return the parameter for *flag* (``-x`` or ``--name``; dashes may replace underscores), or ``None``."""
        spelling = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
        return next((parameter for parameter in self.parameters if spelling in parameter.flags), None)


def component_signature(function: Callable[..., object]) -> ComponentSignature:
    """Read *function*'s signature; raise ``InvalidComponent`` if the command line cannot set its parameters."""
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
    doc = parse_docstring(function)
    parameters: list[ComponentParameter] = []
    var_args: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            raise InvalidComponent(
                f"the component {where} has **{parameter.name}, which the command line cannot set",
                hint="name the parameters, or take a dict[str, str]",
            )
        if parameter.kind is parameter.VAR_POSITIONAL:
            var_args = parameter.name
            continue
        type_ = _type_of(parameter, function, where)
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        help_ = doc.parameters.get(parameter.name, "")
        parameters.append(ComponentParameter(parameter.name, type_, parameter.default, keyword_only, help_))
    return ComponentSignature(
        where, doc.description, tuple(parameters), var_args, doc.parameters.get(var_args or "", "")
    )


def _type_of(parameter: inspect.Parameter, function: Callable[..., object], where: str) -> ParameterType:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        # Without a type, that of the default, as in a call from Python; else text.
        annotation = type(parameter.default) if type(parameter.default) in (str, int, float, bool) else str
    try:
        if isinstance(annotation, str):
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
        return parameter_type(annotation)
    except Exception as error:
        raise InvalidComponent(
            f"invalid type of the parameter {parameter.name!r} of the component {where}: {error}"
        ) from error


def component_help(function: Callable[..., object], name: str) -> str:
    """Return the help text of the component *function*, which the user calls *name*."""
    import textwrap

    signature = component_signature(function)
    positional = f" [{signature.var_args} ...]" if signature.var_args else ""
    lines = [f"usage: topcoat run [...] {name} [--help] [--PARAMETER VALUE ...]{positional}", ""]
    if signature.description:
        lines += [signature.description, ""]
    rows = [(f"{', '.join(p.flags)} {p.type}", _help_of(p)) for p in signature.parameters]
    if signature.var_args:
        rows.append((f"{signature.var_args} ...", signature.var_args_help))
    for title, text in rows:
        lines.append(f"  {title}")
        lines += textwrap.wrap(text, 92, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"


def _help_of(parameter: ComponentParameter) -> str:
    note = "(required)" if parameter.required else f"(default: {parameter.default!r})"
    return f"{parameter.help} {note}".strip()
