"""Checks the arguments of a call against the tool's JSON Schema, and names the parameter that is wrong."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

_SCHEMAS: Final = 512
"""Compiled schemas kept over all sessions."""
_LARGEST: Final = 65_536
"""Characters of a schema, or of arguments, above which nothing is checked."""
_QUOTED: Final = re.compile(r"'([^']*)'")
_SHAPES: Final = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "additionalProperties"})
"""Keywords that may allow more parameters than `properties` lists."""


class Violation(msgspec.Struct, frozen=True):
    """What is wrong with the arguments: the path of the parameter (empty: the arguments as a whole), and why in a sentence."""

    parameter: str
    message: str


def violation(schema: str, arguments: str | None) -> Violation | None:
    """The first thing in `arguments` that `schema` does not allow. None where all is well or the schema cannot be used.

    A parameter that `properties` does not list is wrong unless the schema allows for more in so many words: models that make
    parameters up are the point, and few schemas forbid them. Regular expressions in schemas are not evaluated: they come from
    outside and may take for ever.

    >>> violation('{"properties": {"since": {"type": "string"}}}', '{"untill": "may"}')
    Violation(parameter='untill', message="'untill' is not a parameter of the tool")
    """
    if arguments is None or len(arguments) > _LARGEST:
        return None
    compiled = _compiled(schema)
    if compiled is None:
        return None
    try:
        given = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    validator, known = compiled
    if known is not None and isinstance(given, dict):
        strange = next((key for key in given if key not in known), None)
        if strange is not None:
            return Violation(strange, f"'{strange}' is not a parameter of the tool")
    try:
        worst = next(iter(validator.iter_errors(given)), None)
    except Exception:  # noqa: BLE001 — a schema from outside may hold anything, such as a reference to nowhere
        return None
    return None if worst is None else Violation(_parameter(worst), worst.message[:160])


def _parameter(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator in {"required", "additionalProperties"}:
        named = _QUOTED.search(error.message)
        if named:
            return f"{path}.{named.group(1)}" if path else named.group(1)
    return path


@lru_cache(maxsize=_SCHEMAS)
def _compiled(schema: str) -> tuple[Any, frozenset[str] | None] | None:
    """A validator, and the only parameters there are, where that is certain."""
    if len(schema) > _LARGEST:
        return None
    # imported here because it is slow to import and most sessions never need it
    import jsonschema  # noqa: PLC0415
    from jsonschema import validators  # noqa: PLC0415

    try:
        document = msgspec.json.decode(schema)
        if not isinstance(document, dict):
            return None
        kind = validators.validator_for(document, default=jsonschema.Draft202012Validator)
        kind.check_schema(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError, jsonschema.SchemaError):
        return None
    except Exception:  # noqa: BLE001 — as above
        return None
    safe = cast("Any", validators).extend(kind, {"pattern": _passes, "patternProperties": _passes})
    properties = document.get("properties")
    known = frozenset(properties) if isinstance(properties, dict) and not _SHAPES & document.keys() else None
    return safe(document), known


def _passes(*_: Any) -> Iterator[Any]:
    return iter(())
