"""What frameworks wrap around a tool's arguments and result before they write them down."""

import ast
from typing import Any, Final, NamedTuple

from collector.dialects.messages import plain_content, unwrapped
from collector.dialects.values import as_dict, as_id, as_json, as_text, json_text

_CALL: Final = frozenset({"args", "kwargs"})
_LANGCHAIN_INPUT: Final = frozenset({"input_str", "inputs", "tags", "metadata", "kwargs"})


class Outcome(NamedTuple):
    """A tool's result without its envelope. `enveloped`: the framework's own message was found and tells how it ended."""

    text: str | None = None
    error: bool | None = None
    call_id: str | None = None
    enveloped: bool = False


def tool_arguments(value: Any) -> str | None:
    """Arguments as JSON text, without the envelope of a decorator or callback; other text as it was sent."""
    found = as_json(value)
    if not isinstance(found, dict):
        return json_text(value)
    keys = found.keys()
    if "input_str" in keys and keys <= _LANGCHAIN_INPUT:
        return _langchain_arguments(found)
    if keys and keys <= _CALL and isinstance(found.get("kwargs", {}), dict) and isinstance(found.get("args", []), list):
        if not found.get("args"):
            return json_text(found.get("kwargs", {}))
        # Positions have no names here.
        return None
    if keys == {"kw"} and isinstance(found["kw"], dict):
        return json_text(found["kw"])
    return json_text(value)


def _langchain_arguments(envelope: dict[str, Any]) -> str | None:
    inputs = envelope.get("inputs")
    if isinstance(inputs, dict):
        return json_text(inputs)
    text = as_text(envelope.get("input_str"))
    if text is None:
        return None
    if text.startswith("{"):
        if isinstance(as_json(text), dict):
            return text
        try:
            parsed = ast.literal_eval(text)  # Python's repr of a dict
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return text
        return json_text(parsed)
    return text


def tool_outcome(value: Any) -> Outcome:
    """Result of a tool span: a serialised ToolMessage gives its content, id and status; other values stay as sent."""
    found = as_json(value)
    if isinstance(found, dict):
        inner: Any = found
        if "output" in found and found.keys() <= {"output", "kwargs"}:
            inner = found["output"]
            if not isinstance(inner, dict):
                return Outcome(plain_content(inner))
        message = unwrapped(inner)
        if "tool_call_id" in message and ("content" in message or "status" in message):
            error = {"error": True, "success": False}.get(message["status"]) if isinstance(message.get("status"), str) else None
            return Outcome(plain_content(message.get("content")), error, as_id(message.get("tool_call_id")), enveloped=True)
        if inner is not found:
            return Outcome(json_text(inner), *_of_command(inner))
        return Outcome(plain_content(value), *_of_command(found))
    return Outcome(plain_content(value))


def _of_command(command: dict[str, Any]) -> tuple[bool | None, str | None]:
    """A LangGraph Command holds the ToolMessage among its updates: outcome and call id of the last one."""
    update = as_dict(command.get("update")) if "graph" in command else {}
    items = update.get("messages")
    for item in reversed(items) if isinstance(items, list) else ():
        message = unwrapped(item) if isinstance(item, dict) else {}
        if "tool_call_id" in message:
            status = message.get("status")
            error = {"error": True, "success": False}.get(status) if isinstance(status, str) else None
            return error, as_id(message.get("tool_call_id"))
    return None, None
