"""What frameworks wrap around a tool's arguments and result before they write them down."""

import re
from typing import Any, Final, NamedTuple

from collector.dialects.messages import plain_content, unwrapped
from collector.dialects.steps import Ending, Usage, failed, judged
from collector.dialects.usage_json import usage_of
from collector.dialects.values import as_bool, as_dict, as_id, as_json, as_text, from_repr, json_text

_NAME: Final = re.compile(r"^[A-Za-z_][\w.-]{0,63}$")
_CALL: Final = frozenset({"args", "kwargs"})
_CALL_OPTIONS: Final = frozenset({"sanitize_inputs_outputs"})
"""What smolagents adds to the envelope, which is no argument of the tool."""
_MCP_CALL: Final = frozenset({"tool_name", "arguments"})
_MCP_RESULT: Final = frozenset({"result", "is_error"})
_LANGCHAIN_INPUT: Final = frozenset({"input_str", "inputs", "tags", "metadata", "kwargs"})


class Outcome(NamedTuple):
    """A tool's result without its envelope. `enveloped`: the framework's own message was found, tells how it ended and names the tool."""

    text: str | None = None
    error: bool | None = None
    call_id: str | None = None
    enveloped: bool = False
    name: str | None = None

    def ending(self, known: Ending) -> Ending:
        """How the call ended: as its span says, `known`, unless the result tells of a failure that the framework handled."""
        ended = judged(known if self.error is None or known.error is True else Ending(error=self.error), self.text)
        return failed(None, self.text) if self.error and ended.error_message is None else ended


def tool_arguments(value: Any) -> str | None:
    """Arguments as JSON text, without the envelope of a decorator or callback; other text as it was sent."""
    found = as_json(value)
    if not isinstance(found, dict):
        return json_text(value)
    keys = found.keys() - _CALL_OPTIONS if "kwargs" in found else found.keys()
    if "input_str" in keys and keys <= _LANGCHAIN_INPUT:
        return _langchain_arguments(found)
    if keys and keys <= _CALL and isinstance(found.get("kwargs", {}), dict) and isinstance(found.get("args", []), list):
        if not found.get("args"):
            return json_text(found.get("kwargs", {}))
        # Positions have no names here.
        return None
    if keys == _MCP_CALL:
        return json_text(found["arguments"])
    if keys == {"kw"} and isinstance(found["kw"], dict):
        return json_text(found["kw"])
    return json_text(value)


def dispatched(value: Any) -> tuple[str, str] | None:
    """Tool and arguments where the traced function only dispatches: its own are exactly a tool's name and a JSON object."""
    found = as_json(value)
    if not isinstance(found, dict) or not found.keys() <= _CALL or found.get("kwargs"):
        return None
    args = found.get("args")
    if not isinstance(args, list) or len(args) != 2 or not isinstance(args[0], str) or not _NAME.match(args[0]):
        return None
    return (args[0], json_text(args[1]) or "{}") if isinstance(as_json(args[1]), dict) else None


def decoded(value: Any) -> Any:
    """What a decorator returned: text is JSON text here, with its quotes."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        inner = as_json(f"[{value}]")
        return inner[0] if isinstance(inner, list) and len(inner) == 1 else value
    return value


def mcp_result(value: Any) -> Any:
    """A successful result without the envelope that OpenLLMetry's MCP instrumentation puts around every one."""
    found = as_dict(value)
    return found["result"] if found.keys() == {"result"} else value


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
        parsed = from_repr(text)
        return text if parsed is None else json_text(parsed)
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
            call_id, name = as_id(message.get("tool_call_id")), as_text(message.get("name"))
            return Outcome(plain_content(message.get("content")), error, call_id, enveloped=True, name=name)
        if found.keys() == _MCP_RESULT:
            return Outcome(plain_content(found["result"]), as_bool(found["is_error"]))
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


class ReturnedCall(NamedTuple):
    """A model call as the message that LangChain made of its response tells it."""

    response_id: str
    model: str | None
    usage: Usage


def returned_call(value: Any) -> ReturnedCall | None:
    """The model call behind a LangGraph node's output, where that is one message of a model and nothing else."""
    outputs = as_dict(value).get("outputs")
    if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], dict):
        outputs = outputs[0].get("update")
    found = outputs.get("messages") if isinstance(outputs, dict) else None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        return None
    message = unwrapped(found[0])
    metadata, counts = as_dict(message.get("response_metadata")), as_dict(message.get("usage_metadata"))
    response_id = as_id(metadata.get("id"))
    if as_text(message.get("type")) not in {"ai", "AIMessageChunk"} or response_id is None or not counts:
        return None
    return ReturnedCall(response_id, as_text(metadata.get("model_name")), usage_of(counts))
