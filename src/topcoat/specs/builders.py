"""Call a component, a function that returns an application, with command-line arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from topcoat.errors import InvalidComponent, TopcoatError
from topcoat.notices import notice
from topcoat.specs.app import AppDef
from topcoat.specs.handle import make_app_handle
from topcoat.specs.mounts import parse_mounts
from topcoat.suggest import did_you_mean

if TYPE_CHECKING:
    from topcoat.specs.signature import ComponentParameter, ComponentSignature

__all__ = ["ComponentArgs", "component_args", "make_app_handle", "materialize_appdef", "parse_mounts"]


class ComponentArgs(NamedTuple):
    """Hold the arguments of a call to a component."""

    positional_args: dict[str, Any]
    var_args: list[str]
    kwargs: dict[str, Any]


def materialize_appdef(
    cmpnt_fn: Callable[..., AppDef],
    cmpnt_args: Sequence[str] | Mapping[str, Any],
    cmpnt_defaults: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> AppDef:
    """Call the component *cmpnt_fn* and return its application.

    Args:
        cmpnt_fn: the component.
        cmpnt_args: command-line words (``--name value`` or ``--name=value``, then the words of ``*args``), or
            parameter name to value.
        cmpnt_defaults: text values from a configuration file that replace the defaults of the signature; unknown
            names are logged and ignored.
        config: parameter name to value; overrides *cmpnt_defaults*, and *cmpnt_args* overrides it.

    Raise ``InvalidComponent`` for invalid arguments, and if the component raises an exception that is not topcoat's, or
    does not return an ``AppDef``. An ``AppDef`` of an installed TorchX is converted.
    """
    from topcoat.specs.from_torchx import as_appdef
    from topcoat.specs.signature import component_signature

    signature = component_signature(cmpnt_fn)
    args = component_args(signature, cmpnt_args, cmpnt_defaults, config)
    try:
        returned = cmpnt_fn(*args.positional_args.values(), *args.var_args, **args.kwargs)
    except TopcoatError:
        raise
    except Exception as error:
        raise InvalidComponent(
            f"the component {signature.where} raised {type(error).__name__}: {error}{_raised_at(error)}"
        ) from error
    app = as_appdef(returned)
    if app is None:
        raise InvalidComponent(
            f"the component {signature.where} returned a {type(returned).__name__}, not an AppDef",
            hint="end it with: return AppDef(name=..., roles=[Role(...)])",
        )
    return app


def component_args(
    signature: ComponentSignature,
    given: Sequence[str] | Mapping[str, Any],
    defaults: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> ComponentArgs:
    """Return the arguments for a component with *signature*; see ``materialize_appdef``."""
    values: dict[str, Any] = {}
    rest: list[str] | None = None
    for source in (_from_text(signature, defaults or {}), _checked(signature, config or {})):
        rest = source.pop(signature.var_args or "", rest)
        values.update(source)
    if isinstance(given, Mapping):
        source = _checked(signature, given)
        rest = source.pop(signature.var_args or "", rest)
    else:
        source, words = _parse_words(signature, given)
        rest = words or rest
    values.update(source)
    missing = [p.name for p in signature.parameters if p.required and p.name not in values]
    if missing:
        raise InvalidComponent(
            f"the component {signature.where} needs {', '.join(f'--{name}' for name in missing)}",
            hint="add --help after the component's name to see its parameters",
        )
    values = {p.name: values.get(p.name, p.default) for p in signature.parameters}
    keywords = {p.name for p in signature.parameters if p.keyword_only}
    return ComponentArgs(
        {name: value for name, value in values.items() if name not in keywords},
        rest or [],
        {name: value for name, value in values.items() if name in keywords},
    )


def _parse_words(signature: ComponentSignature, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--" or not word.startswith("-") or word == "-":
            break
        flag, equals, text = word.partition("=")
        parameter = signature.find(flag)
        if parameter is None and not word.startswith("--") and len(word) > 2:
            flag, equals, text = word[:2], word[2:], word[2:].removeprefix("=")
            parameter = signature.find(flag)
        if parameter is None:
            raise _unknown(signature, flag)
        if not equals:
            position += 1
            if position == len(words):
                raise InvalidComponent(f"{flag} of the component {signature.where} needs a value")
            text = words[position]
        if parameter.name in values:
            raise InvalidComponent(f"{flag} of the component {signature.where} is given twice")
        values[parameter.name] = _decode(signature, parameter, text)
        position += 1
    rest = list(words[position:])
    if rest[:1] == ["--"]:
        rest = rest[1:]
    if rest and signature.var_args is None:
        message = f"the component {signature.where} takes flags only, not {rest[0]!r}"
        raise InvalidComponent(message, hint=_flags(signature))
    return values, rest


def _from_text(signature: ComponentSignature, defaults: Mapping[str, str]) -> dict[str, Any]:
    import shlex

    values: dict[str, Any] = {}
    for name, text in defaults.items():
        if name == signature.var_args:
            values[name] = shlex.split(text)
            continue
        parameter = signature.find(f"--{name}")
        if parameter is None:
            notice(f"{_unknown(signature, f'--{name}').message}, ignored")
            continue
        is_none = text == "None" and parameter.type.optional
        values[parameter.name] = None if is_none else _decode(signature, parameter, text)
    return values


def _checked(signature: ComponentSignature, given: Mapping[str, Any]) -> dict[str, Any]:
    from topcoat.specs.values import accepts

    values: dict[str, Any] = {}
    for name, value in given.items():
        parameter = signature.find(f"--{name}")
        if name == signature.var_args:
            values[name] = [str(item) for item in ([value] if isinstance(value, str) else value)]
        elif parameter is None:
            raise _unknown(signature, f"--{name}")
        elif accepts(value, parameter.type):
            values[parameter.name] = value
        elif isinstance(value, str):
            values[parameter.name] = _decode(signature, parameter, value)
        else:
            raise InvalidComponent(
                f"{name!r} of the component {signature.where} must be a {parameter.type}, not {value!r}"
            )
    return values


def _decode(signature: ComponentSignature, parameter: ComponentParameter, text: str) -> object:
    from topcoat.specs.values import decode

    try:
        return decode(text, parameter.type)
    except ValueError as error:
        raise InvalidComponent(
            f"--{parameter.name} of the component {signature.where} must be a {parameter.type}: {error}",
            hint=getattr(error, "hint", None),
        ) from None


def _unknown(signature: ComponentSignature, flag: str) -> InvalidComponent:
    spellings = [flag for parameter in signature.parameters for flag in parameter.flags]
    hint = did_you_mean(flag, spellings, otherwise=_flags(signature))
    return InvalidComponent(f"the component {signature.where} has no parameter {flag}", hint=hint)


def _flags(signature: ComponentSignature) -> str:
    return f"its parameters: {' '.join(f'--{p.name}' for p in signature.parameters) or 'none'}"


def _raised_at(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""
