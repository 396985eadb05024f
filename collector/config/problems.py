"""Mistakes in the configuration, worded for the person who has to fix them: where, which key, what is wrong, the fix."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]
"""Path of a key from the root: `("security", "tokens", 0, "name")`."""

_SECRET_KEYS = frozenset({"token", "secret", "url", "alertmanager_url"})
_PLAIN = {
    "missing": "required key is missing",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text (put it in quotes)",
    "path_type": "must be a path",
    "model_type": "must be a section of keys",
    "model_attributes_type": "must be a section of keys",
    "dict_type": "must be a section of keys",
    "tuple_type": "must be a list, such as [a, b]",
    "frozen_set_type": "must be a list, such as [a, b]",
}
_LIMITS = {"greater_than": ("greater than", "gt"), "greater_than_equal": ("at least", "ge"), "finite_number": ("finite", "")}
_LENGTHS = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}
_TEXT_LENGTHS = {"string_too_short": ("at least", "min_length"), "string_too_long": ("at most", "max_length")}


@dataclass(frozen=True)
class Problem:
    """One mistake: where, and what to do."""

    location: Location
    text: str


def dotted(location: Location) -> str:
    """The path as people write it.

    >>> dotted(("security", "tokens", 0, "name"))
    'security.tokens[0].name'
    """
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object) -> str:
    """A value as a message may show it: scalars shortened, containers by kind."""
    if isinstance(value, Mapping | BaseModel):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return repr(text) if len(text) <= 60 else repr(text[:57] + "…")


def suggestion(key: str, known: Iterable[str]) -> str:
    """What to append to "unknown key": the nearest known one, else all of them when they are few."""
    names = list(known)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f", did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if 0 < len(names) <= 20 else ""


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Every mistake pydantic found, in our words."""
    return [_problem(details, root) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, root: type[BaseModel]) -> Problem:
    location: Location = tuple(details["loc"])
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    got = "" if _is_secret(location) else f", got {shown(value)}"
    if kind == "extra_forbidden":
        return Problem(location, f"unknown key{_key_suggestion(root, location)}")
    if kind == "value_error":
        cause = context["error"]
        key = getattr(cause, "key", None)
        if key is not None:
            return Problem((*location, *str(key).split(".")), str(cause))
        return Problem(location, str(cause) if isinstance(value, Mapping | BaseModel) else f"{cause}{got}")
    if kind == "literal_error":
        allowed = _alternatives(root, location) or [str(context["expected"])]
        close = difflib.get_close_matches(str(value), allowed, n=1)
        return Problem(location, f"must be one of {', '.join(allowed)}{got}" + (f", did you mean {close[0]}?" if close else ""))
    if kind in _PLAIN:
        return Problem(location, _PLAIN[kind] + ("" if kind == "missing" else got))
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        return Problem(location, f"must be {words} {context.get(limit, '')}".rstrip() + got)
    if kind in _LENGTHS:
        words, limit = _LENGTHS[kind]
        return Problem(location, f"must have {words} {context[limit]} {'entry' if context[limit] == 1 else 'entries'}")
    if kind in _TEXT_LENGTHS:
        words, limit = _TEXT_LENGTHS[kind]
        return Problem(location, f"must have {words} {context[limit]} {'character' if context[limit] == 1 else 'characters'}")
    return Problem(location, details["msg"][:1].lower() + details["msg"][1:] + got)


def _is_secret(location: Location) -> bool:
    # a list given as one value, or an entry given as text, is the secret itself
    names = [part for part in location if isinstance(part, str)]
    return any(name in _SECRET_KEYS for name in names) or names[-1:] in (["tokens"], ["runtimes"])


def _key_suggestion(root: type[BaseModel], location: Location) -> str:
    key = str(location[-1])
    section = _type_at(root, location[:-1])
    known = list(section.model_fields) if section is not None else []
    near = suggestion(key, known)
    if near.startswith(","):
        return near
    elsewhere = [dotted((*path, key)) for path, model in sections(root) if key in model.model_fields]
    return f", did you mean {elsewhere[0]}?" if len(elsewhere) == 1 else near


def _alternatives(root: type[BaseModel], location: Location) -> list[str]:
    names = [part for part in location if isinstance(part, str)]
    # a literal inside a list (scopes) is located by index below its key
    parents = _type_at(root, location[: location.index(names[-1])])
    field = parents.model_fields.get(names[-1]) if parents is not None else None
    return [str(value) for value in _literals(field.annotation)] if field is not None else []


def _literals(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from typing.get_args(annotation)
    else:
        for argument in typing.get_args(annotation):
            yield from _literals(argument)


def _type_at(root: type[BaseModel], location: Location) -> type[BaseModel] | None:
    current: Any = root
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field is not None else None
        else:
            current = typing.get_args(current)[1 if typing.get_origin(current) is dict else 0]
        current = _without_none(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return next(argument for argument in typing.get_args(annotation) if argument is not types.NoneType)
    return annotation


def sections(root: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every section below `root` with its path; `<name>` stands for a free key and `[]` for a list."""
    yield path, root
    for name, field in root.model_fields.items():
        annotation, below = _without_none(field.annotation), (*path, name)
        origin = typing.get_origin(annotation)
        if origin is dict:
            annotation, below = _without_none(typing.get_args(annotation)[1]), (*below, "<name>")
        elif origin in {tuple, frozenset}:
            annotation, below = typing.get_args(annotation)[0], (*path, f"{name}[]")
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from sections(annotation, below)
