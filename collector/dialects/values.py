"""Total readers: whatever an attribute holds, the answer is a value of the wanted type or None. None of them raises."""

import json
import re
from decimal import Decimal
from typing import Any, Final

import orjson

from collector.dialects.base import ToolAnswer
from collector.dialects.python_repr import plain
from detectors.model import ToolAsk

MAX_ID: Final = 512
"""Longer ids are no ids: somebody put content there."""
MAX_COUNT: Final = 2**31 - 1
"""No call takes or makes more tokens, bytes or milliseconds than this: a larger count is an error of whoever counted."""

MAX_USD: Final = 10_000
"""No call costs more: millions of tokens at the dearest price there is are some hundreds of dollars."""
_LEAST_USD: Final = Decimal("1e-12")
_ONE: Final = Decimal(1)
_MAX_NUMBER: Final = 40
"""Characters of a number in text."""

_REDACTED: Final = re.compile(r"^\s*(\[scrubbed\b|__redacted__|<redacted>|\[redacted|\*\*\*+\s*$|redacted$)", re.IGNORECASE)
_SCRUBBED: Final = "[Scrubbed due to "
REDACTS: Final = frozenset("[<_*rR \t\n")
"""What a placeholder may begin with: most values need no regular expression."""
_REDACTS_LONG: Final = REDACTS - {"r", "R"}
"""The same beyond the word `redacted`, which is a placeholder only by itself."""
_OPENS: Final = frozenset({"[", "{"})
_BLANKS: Final = frozenset(" \t\r\n")
_NO_ID: Final = frozenset({"none", "null", "undefined", "nil", "unknown", "n/a", "-"})
_FAILED_TEXT: Final = re.compile(
    r"^\s*(error\b\s*(:|-|calling|running|executing|invoking|while|in tool|during|code)|an error occurred"
    r"|traceback \(most recent call last\)|exception:|tool (call |execution |input )?(error|failed|validation error)"
    r"|<tool_use_error>|\w++(?:(?<=\werror)|(?<=\wexception)):\s)",
    re.IGNORECASE,
)
_EXIT_CODE: Final = re.compile(r"(?:process )?(?:exited|completed) with (?:exit )?code (-?\d+)", re.IGNORECASE)


def as_text(value: Any) -> str | None:
    """A non-empty string that is content: placeholders of redaction are absent content."""
    if type(value) is not str or not value:
        return None
    if value[0] in REDACTS and (len(value) < 10 or value[0] in _REDACTS_LONG) and _REDACTED.match(value):
        return None
    return value


def as_id(value: Any) -> str | None:
    """An identifier. Placeholders are refused: a constant or scrubbed id would merge what does not belong together."""
    if type(value) is str and 9 < len(value) <= MAX_ID and value[0] not in _REDACTS_LONG and value[-1] > " ":
        return value
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    if type(value) is not str or not value:
        return None
    text: str = value.strip()
    if not text or len(text) > MAX_ID or (text[0] in REDACTS and _REDACTED.match(text)) or (len(text) < 10 and text.lower() in _NO_ID):
        return None
    return text


def as_int(value: Any) -> int | None:
    """A count from 0 to MAX_COUNT; some senders write counts as decimal strings or as floats."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, float):
        return int(value) if 0 <= value <= MAX_COUNT and value.is_integer() else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return as_int(int(value))
    return None


def as_usd(value: Any, *, digits: int = 0) -> Decimal | None:
    """An amount from 0 to MAX_USD in US dollars, or in units of which 10^`digits` are one; numbers and decimal text alike.

    Exact to 10⁻¹² dollars, so that what is a sum of floats reads as somebody meant it.

    >>> as_usd(0.0013100000000000002), as_usd("6846", digits=6), as_usd("NaN"), as_usd(-1)
    (Decimal('0.00131'), Decimal('0.006846'), None, None)
    """
    if type(value) not in {int, float, str} or (type(value) is str and len(value) > _MAX_NUMBER):
        return None
    try:
        amount = Decimal(str(value)).scaleb(-digits)
        if not 0 <= amount <= MAX_USD:
            return None
        amount = amount.quantize(_LEAST_USD).normalize()
    except (ArithmeticError, ValueError):
        return None
    return amount.quantize(_ONE) if amount == amount.to_integral_value() else amount


def as_bool(value: Any) -> bool | None:
    """True or False, also written as text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def as_json(value: Any) -> Any:
    """A list or dict, whether sent as such or as JSON text; None for everything else."""
    if type(value) is not str:
        return value if isinstance(value, (list, dict)) else None
    if value and (value[0] in _OPENS or (value[0] in _BLANKS and value.lstrip()[:1] in _OPENS)):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return None


_REPR_CHARS: Final = 65_536


def from_repr(value: Any) -> Any:
    """What a string holds that is JSON or the repr of Python's lists, dicts and plain values; None for everything else."""
    found = as_json(value)
    if found is not None or not isinstance(value, str) or len(value) > _REPR_CHARS or value[:1] not in {"[", "{"}:
        return found
    return plain(value)


def as_dict(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    found = as_json(value)
    return found if isinstance(found, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A JSON array, or an empty one."""
    found = as_json(value)
    return found if isinstance(found, list) else []


def as_texts(value: Any) -> tuple[str, ...]:
    """Strings of an array, of a JSON array in a string, or of a bare string: finish reasons come as all three."""
    if isinstance(value, str):
        value = as_json(value) or ([value] if value else [])
    if not isinstance(value, list):
        return ()
    if len(value) == 1:
        return (value[0],) if value[0] and isinstance(value[0], str) else ()
    return tuple([item for item in value if isinstance(item, str) and item])


def json_text(value: Any) -> str | None:
    """JSON text of a value; a string stays as it was sent, since it already is JSON text or simply text."""
    if value is None:
        return None
    if isinstance(value, str):
        return as_text(value)
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        pass
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return None


def arguments_text(value: Any) -> str | None:
    """A tool's arguments as JSON text; None where part of them was scrubbed: the rest is not what the tool was called with."""
    text = json_text(value)
    return None if text is not None and _SCRUBBED in text else text


def canonical(value: dict[str, Any]) -> str | None:
    """JSON text that is the same for the same object; None for an empty one."""
    if not value:
        return None
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError):
        return None


def first(attributes: dict[str, Any], *keys: str) -> Any:
    """Value of the first of `keys` that is present and not None."""
    for key in keys:
        value = attributes.get(key)
        if value is not None:
            return value
    return None


def first_int(attributes: dict[str, Any], *keys: str) -> int | None:
    """First of `keys` that holds a whole number."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and (number := as_int(value)) is not None:
            return number
    return None


def first_id(attributes: dict[str, Any], *keys: str) -> str | None:
    """First of `keys` that holds an identifier."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and (found := as_id(value)) is not None:
            return found
    return None


def seems_failed(result: Any) -> bool | None:
    """True where a tool's result says by itself that the call failed; None where it does not: results may hold anything."""
    # Only what holds one of these words can say so; parsing is dear.
    if type(result) is not str or (result[:1] in _OPENS and ("rror" in result or "status" in result)):
        content = as_json(result)
        if isinstance(content, dict):
            if content.get("isError") is True or content.get("is_error") is True or content.get("status") == "error":
                return True
            return True if content.get("error") and content.get("success") is not True else None
        if type(result) is not str:
            return None
    if _FAILED_TEXT.match(result, 0, 200):
        return True
    last = result[-200:]
    code = _EXIT_CODE.search(last) if "exit" in last else None
    return True if code and int(code[1]) != 0 else None


def ask(call_id: Any, name: Any, arguments: Any) -> ToolAsk:
    """A tool call out of a model's message."""
    return ToolAsk(call_id=as_id(call_id), name=as_text(name), arguments=arguments_text(arguments))


def answer(call_id: Any, name: Any, result: Any, error: bool | None) -> ToolAnswer:
    """A tool's outcome out of a prompt; where nothing says how it ended the result's own words may."""
    text = json_text(result)
    return ToolAnswer(call_id=as_id(call_id), name=as_text(name), result=text, error=seems_failed(text) if error is None else error)
