"""Every key with its type, default, variable and meaning, for the generated documentation."""

import ast
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from collector.config import detectors as detector_sections
from collector.config.model import Config
from collector.config.problems import sections
from collector.config.source import ENV_PREFIX
from collector.config.units import NO_EFFECT_YET, Kind

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


class ConfigKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key as documented. `name` has `<name>` for free keys and `[]` for lists; `env` is empty where it cannot be named."""

    name: str
    kind: str
    default: str | None
    """As it would be written; None where the key is required, empty where absent means none."""
    env: str
    help: str


def reference() -> list[ConfigKey]:
    """Every key of the configuration, in order, the registered detectors' own included."""
    keys = []
    for path, section in sections(Config):
        if section is detector_sections.DetectorSettings:
            continue
        keys += [_key((*path, name), field, section) for name, field in section.model_fields.items() if not _is_section(field)]
    for name, params in detector_sections.registry().items():
        settings = detector_sections.DetectorSettings(params=params())
        keys.append(_detector_key(name, "mode", "one of " + ", ".join(detector_sections.MODES), settings.mode))
        texts = attribute_docstrings(params)
        for field in msgspec.structs.fields(params):
            default = msgspec.to_builtins(getattr(settings.params, field.name))
            keys.append(_detector_key(name, field.encode_name, _type_name(field.type), default, texts.get(field.name, "")))
    return keys


def _key(path: tuple[str, ...], field: FieldInfo, section: type[BaseModel]) -> ConfigKey:
    name = ".".join(path)
    kind = next((kind.text for kind in field.metadata if isinstance(kind, Kind)), None) or _kind(field.annotation)
    default = None if field.is_required() else _written(section, path[-1], field)
    env = "" if "<" in name or "[" in name else _env(name)
    help_text = f"{field.description or ''}{' No effect yet.' if has_no_effect(field) else ''}"
    return ConfigKey(name=name, kind=kind, default=default, env=env, help=help_text)


def has_no_effect(field: FieldInfo) -> bool:
    """Whether nothing reads it in this version."""
    return NO_EFFECT_YET in field.metadata


def without_effect(config: Config) -> list[str]:
    """The keys that were given values although nothing reads them, so that nobody relies on them. Of several with free names, each."""
    as_built = dict(_unread(Config(), ""))
    return [name for name, value in _unread(config, "") if as_built.get(name) != value]


def _unread(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if has_no_effect(field):
            if value != field.default:
                yield f"{prefix}{name}", value
        elif isinstance(value, BaseModel):
            yield from _unread(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, BaseModel):
                    yield from _unread(inner, f"{prefix}{name}.{key}.")


def _written(section: type[BaseModel], name: str, field: FieldInfo) -> str:
    # dumped through the section, since its serialisers know how sizes and durations are written
    value = section.model_construct().model_dump(mode="json", include={name}, warnings=False).get(name, field.default)
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _detector_key(detector: str, key: str, kind: str, default: Any, text: str = "") -> ConfigKey:
    name = f"detectors.{detector}.{key}"
    help_text = detector_sections.DetectorSettings.model_fields["mode"].description if key == "mode" else text
    return ConfigKey(name=name, kind=kind, default=str(default), env=_env(name), help=help_text or "")


def _env(name: str) -> str:
    return ENV_PREFIX + name.upper().replace(".", "__")


def _is_section(field: FieldInfo) -> bool:
    """Whether its keys are listed one by one, so that it needs no line of its own."""
    annotation = _first(field.annotation)
    while typing.get_origin(annotation) in {dict, tuple}:
        annotation = _first(typing.get_args(annotation)[1 if typing.get_origin(annotation) is dict else 0])
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _first(annotation: Any) -> Any:
    """The type beside None, without its metadata."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        annotation = next(argument for argument in typing.get_args(annotation) if argument is not types.NoneType)
    return annotation


def _kind(annotation: Any) -> str:
    annotation = _first(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is typing.Annotated:
        return next((extra.text for extra in arguments if isinstance(extra, Kind)), None) or _kind(arguments[0])
    if origin in {tuple, frozenset}:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_kind(arguments[1])}"
    return _KINDS.get(annotation) or {"Path": "path", "SecretStr": "secret"}.get(annotation.__name__, annotation.__name__)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return _KINDS.get(annotation) or (annotation.__name__ if isinstance(annotation, type) else str(annotation))


def attribute_docstrings(cls: type) -> dict[str, str]:
    """The strings that stand below the attributes of `cls`, as one line each. Python keeps them only in the source."""
    found: dict[str, str] = {}
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    for statement, following in itertools.pairwise(getattr(definition, "body", [])):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(following, ast.Expr):
            text = following.value.value if isinstance(following.value, ast.Constant) else None
            if isinstance(text, str):
                found[statement.target.id] = " ".join(text.split())
    return found
