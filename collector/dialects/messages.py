"""Chat messages, in every shape the SDKs write them, read into one.

Understood are: OTel parts (`text`, `tool_call`, `tool_call_response`, `reasoning`), OpenAI chat (`content`, `tool_calls`,
`tool_call_id`) and Responses items (`function_call`, `function_call_output`), Anthropic blocks (`tool_use`,
`tool_result`), Bedrock blocks (`toolUse`, `toolResult`), Gemini parts (`functionCall`, `functionResponse`), pydantic-ai's
older events and LangChain's serialised messages.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from collector.dialects.base import ToolAnswer
from collector.dialects.values import REDACTS, answer, as_bool, as_dict, as_id, as_json, as_list, as_text, ask, json_text
from collector.telemetry_data import Attributes
from detectors.model import ToolAsk

ASSISTANT: Final = frozenset({"assistant", "ai", "model", "aimessage", "aimessagechunk"})
_TEXT_TYPES: Final = frozenset({"text", "output_text", "input_text"})
_TOOL_ROLES: Final = frozenset({"tool", "function", "toolmessage"})
_NOT_SAID: Final = _TOOL_ROLES | {"user"}
_ROLES: Final = {"human": "user", "function_call": "assistant", "function_call_output": "tool"}
MAX_TRAILING: Final = 64
"""Messages looked at after the last assistant message: a turn does not hold more."""
MAX_MESSAGES: Final = 4096
"""Messages of one call whose fields are attributes of their own."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message: its text (None where it has none), the tool calls it asks for, the outcomes it brings."""

    role: str = ""
    text: str | None = None
    asks: tuple[ToolAsk, ...] = ()
    answers: tuple[ToolAnswer, ...] = ()


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """What one model call was told and what it said."""

    input_text: str | None = None
    output_text: str | None = None
    asks: tuple[ToolAsk, ...] = ()
    answers: tuple[ToolAnswer, ...] = ()
    joins: tuple[str, ...] = ()


NOTHING: Final = Exchange()


def exchange(trailing: Sequence[Message], output: Sequence[Message]) -> Exchange:
    """Combines the input's trailing messages (see `trailing`) with the output's messages."""
    if len(output) == 1 and len(trailing) == 1:
        told, said = trailing[0], output[0]
        text, asks, answers = said.text if said.role not in _NOT_SAID else None, said.asks, told.answers
        return Exchange(told.text, text, asks, answers, joined(asks, answers) if asks or answers else ())
    asks = tuple(item for message in output for item in message.asks)
    answers = tuple(item for message in trailing for item in message.answers)
    texts = [message.text for message in output if message.text and message.role not in _NOT_SAID]
    return Exchange(
        input_text=trailing[-1].text if trailing else None,
        output_text="\n".join(texts) or None,
        asks=asks,
        answers=answers,
        joins=joined(asks, answers),
    )


def joined(asks: Iterable[ToolAsk], answers: Iterable[ToolAnswer]) -> tuple[str, ...]:
    """Tool-call ids, which only calls of the same session share; each once."""
    return tuple(dict.fromkeys([item.call_id for group in (asks, answers) for item in group if item.call_id]))


def trailing(value: Any) -> list[Message]:
    """The messages after the last assistant message of a history, oldest first.

    Only these are new; what comes before was read when it was new.
    """
    if isinstance(value, str) and len(value) > _LONG and (later := _later(value)) is not None:
        return later
    items = as_json(value)
    if isinstance(items, dict):
        items = items.get("messages", [items])
    if not isinstance(items, list):
        return []
    while len(items) == 1 and isinstance(items[0], list):  # LangChain sends a batch of one history
        items = items[0]
    return _after_assistant(reversed(items))


def _after_assistant(backwards: Iterable[Any]) -> list[Message]:
    found: list[Message] = []
    for item in backwards:
        message = read(item)
        if message.role in ASSISTANT or message.asks or len(found) >= MAX_TRAILING:
            if found and isinstance(item, dict) and item.get("type") == "function_call" and _answers(found[-1], message):
                continue
            break
        found.append(message)
    found.reverse()
    return found


def new(history: Sequence[dict[str, Any]], read_fields: Callable[[dict[str, Any]], Message], *, alternating: bool = False) -> list[Message]:
    """The new messages of a history: those behind its last assistant message. Of the older ones few are read.

    `alternating`: calls asked for at once stand one by one, each with its outcome behind it, as the Responses API has them.
    Then outcomes of earlier turns count as new too, at most eight: nothing tells where the turn began.
    """
    backwards: list[Message] = []
    older = 0
    for fields in reversed(history):
        message = read_fields(fields)
        backwards.append(message)
        if older or message.role in ASSISTANT or message.asks:
            older += 1
            if older > (2 * _PARALLEL if alternating else 0):
                break
    known = backwards[::-1]
    start = max((i + 1 for i, message in enumerate(known) if message.role in ASSISTANT or message.asks), default=0)
    for _ in range(_PARALLEL if alternating else 0):
        if start < 2 or start >= len(known) or not _answers(known[start], known[start - 1]) or not known[start - 2].answers:
            break
        start -= 2
    return known[start:]


_PARALLEL: Final = 8


def _answers(outcome: Message, request: Message) -> bool:
    """Whether a message is the outcome of the one call that the message before it asks for."""
    return len(request.asks) == 1 and not request.text and any(one.call_id == request.asks[0].call_id for one in outcome.answers)


def _later(history: str) -> list[Message] | None:
    """The trailing messages of a long history, the only ones that are parsed: the rest is skipped, at a quarter of the cost.

    None where the text is not a plain list of messages.
    """
    try:
        items = _items.decode(history)
        if len(items) == 1:  # LangChain sends a batch of one history
            items = _items.decode(items[0])
        if len(items) < 2:
            return None
        return _after_assistant(orjson.loads(memoryview(item)) for item in reversed(items))
    except (msgspec.MsgspecError, orjson.JSONDecodeError, RecursionError):
        return None


_LONG: Final = 2048
"""Characters of a history from which skipping pays."""
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])


def numbered(attributes: Attributes, prefix: str, infix: str) -> list[dict[str, Any]]:
    """Fields of messages out of keys `<prefix>N<infix><field>`, in order of N."""
    by_index: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            place = (_known_place if len(key) < _KEY_CHARS else _place)(key, prefix, infix)
            if place is not None and len(by_index) < MAX_MESSAGES:
                by_index.setdefault(place[0], {})[place[1]] = value
    return [by_index[index] for index in sorted(by_index)]


def _place(key: str, prefix: str, infix: str) -> tuple[int, str] | None:
    number, _, field = key[len(prefix) :].partition(infix)
    return (int(number), field) if field and number.isdecimal() and len(number) < 6 else None


_KEY_CHARS: Final = 128
_known_place: Final = lru_cache(maxsize=8192)(_place)
"""The same keys come with every call of a session. Longer ones are not remembered."""


def last_asks(value: Any) -> tuple[ToolAsk, ...]:
    """Tool calls that the last assistant message of a history asks for."""
    items = as_list(value)[-MAX_TRAILING:]
    for item in reversed(items):
        message = read(item)
        if message.role in ASSISTANT or message.asks:
            return message.asks
    return ()


def messages(value: Any) -> list[Message]:
    """Every message of an output: a list of messages, a single message, or bare text."""
    items = as_json(value)
    if items is None:
        text = as_text(value)
        return [Message("assistant", text)] if text else []
    if isinstance(items, dict):
        items = items.get("messages", [items])
    return [read(item) for item in items] if isinstance(items, list) else []


def read(item: Any) -> Message:
    """One message of any known shape."""
    if type(item) is not dict:
        return Message("", as_text(item))
    body = item.get("parts")
    if type(body) is list and _OWN_CALLS.isdisjoint(item):
        plain = _conventional(item.get("role"), body)
        if plain is not None:
            return plain
    if body is None:
        item = unwrapped(item)
        body = item.get("content")
    role = item.get("role") or item.get("type") or ""
    role = role.lower() if isinstance(role, str) else ""
    role = _ROLES.get(role, role)
    texts: list[str] = []
    asks: list[ToolAsk] = []
    answers: list[ToolAnswer] = []
    if item.get("type") == "function_call_output":
        _answer_part(item, answers)
    elif role in _TOOL_ROLES and (item.get("tool_call_id") or (item.get("id") and not isinstance(body, list))):
        error = (
            True if item.get("status") == "error" or item.get("is_error") is True else False if item.get("status") == "success" else None
        )
        answers.append(answer(item.get("tool_call_id") or item.get("id"), item.get("name"), plain_content(body), error))
    elif isinstance(body, list):
        for part in body:
            _part(part, texts, asks, answers)
    elif (text := as_text(body)) is not None:
        _text_or_blocks(text, texts, asks, answers)
    else:
        _part(item, texts, asks, answers)
    calls = item.get("tool_calls")
    if isinstance(calls, list):
        known = {item.call_id for item in asks if item.call_id}
        asks += [found for call in calls if (found := _call(call)) is not None and (found.call_id is None or found.call_id not in known)]
    if not texts and answers:
        texts = [outcome.result for outcome in answers if outcome.result]
    return Message(role, "\n".join(texts) or None, tuple(asks), tuple(answers))


_OWN_CALLS: Final = frozenset({"tool_calls", "tool_call_id", "id"})
_USUAL_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})


def _conventional(role: Any, parts: list[Any]) -> Message | None:
    """A message whose parts are all as the conventions say, the commonest kind; None for any other."""
    if type(role) is not str or (role not in _USUAL_ROLES and (role in _ROLES or role.lower() != role)):
        return None
    if len(parts) == 1 and type(part := parts[0]) is dict and part.get("type") == "text":
        text = part.get("content")
        return Message(role, as_text(text)) if type(text) is str else None
    texts: list[str] = []
    asks: list[ToolAsk] = []
    answers: list[ToolAnswer] = []
    for part in parts:
        kind = part.get("type") if type(part) is dict else None
        if kind == "text":
            text = part.get("content")
            if type(text) is not str:
                return None
            if text and (text[0] not in REDACTS or as_text(text)):
                texts.append(text)
        elif kind == "tool_call" and "arguments" in part and part.get("id"):
            asks.append(ask(part["id"], part.get("name"), part["arguments"]))
        elif kind == "tool_call_response":
            _answer_part(part, answers)
        else:
            return None
    if answers and not texts:
        texts = [outcome.result for outcome in answers if outcome.result]
    return Message(role, (texts[0] if len(texts) == 1 else "\n".join(texts)) if texts else None, tuple(asks), tuple(answers))


def unwrapped(item: dict[str, Any]) -> dict[str, Any]:
    """A LangChain message without its serialisation (`{"lc": 1, "kwargs": …}`, `{"type": "tool", "data": …}`)."""
    inner = item.get("kwargs") if "lc" in item else item.get("data")
    if isinstance(inner, dict) and ("content" in inner or "tool_calls" in inner):
        return inner
    return item


def _text_or_blocks(text: str, texts: list[str], asks: list[ToolAsk], answers: list[ToolAnswer]) -> None:
    """Bedrock-style SDKs send the content blocks as JSON inside the content string."""
    blocks = as_json(text) if text.startswith("[{") else None
    if isinstance(blocks, list) and all(isinstance(block, dict) and _BLOCK_KEYS & block.keys() for block in blocks):
        for block in blocks:
            _part(block, texts, asks, answers)
    else:
        texts.append(text)


_BLOCK_KEYS: Final = frozenset(
    {"text", "toolUse", "toolResult", "functionCall", "functionResponse", "reasoningContent", "image", "document"}
)


def _part(part: Any, texts: list[str], asks: list[ToolAsk], answers: list[ToolAnswer]) -> None:
    if isinstance(part, str):
        if part:
            texts.append(part)
        return
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        return
    if kind is None or kind in _TEXT_TYPES:
        text = as_text(part.get("content")) or as_text(part.get("text"))
        if text:
            texts.append(text)
        if kind is not None:
            return
    if kind in {"tool_call", "tool-call", "tool_use", "function_call"}:
        arguments = part.get("arguments", part.get("input", part.get("args")))
        asks.append(
            ask(part.get("call_id") or part.get("id") or part.get("toolCallId"), part.get("name") or part.get("toolName"), arguments)
        )
    elif kind in {"tool_call_response", "tool-result", "tool_result", "function_call_output"}:
        _answer_part(part, answers)
    else:
        _vendor_part(part, asks, answers)


def _answer_part(part: dict[str, Any], answers: list[ToolAnswer]) -> None:
    call_id = part.get("call_id") or part.get("id") or part.get("tool_use_id") or part.get("toolCallId")
    get = part.get
    result = get("response")
    if result is None and (result := get("result")) is None and (result := get("output")) is None:
        result = get("content")
    flag = get("is_error", get("isError"))
    error = None if flag is None else as_bool(flag)
    if isinstance(result, dict) and result.keys() == {"type", "value"} and isinstance(result["type"], str):
        # The AI SDK types its results: text, json, error-text, error-json, content.
        error = True if result["type"].startswith("error") else error
        result = result["value"]
    answers.append(answer(call_id, part.get("name") or part.get("toolName"), plain_content(result), error))


def _vendor_part(part: dict[str, Any], asks: list[ToolAsk], answers: list[ToolAnswer]) -> None:
    if isinstance(use := part.get("toolUse"), dict):
        asks.append(ask(use.get("toolUseId"), use.get("name"), use.get("input")))
    elif isinstance(call := part.get("functionCall") or part.get("function_call"), dict):
        asks.append(ask(call.get("id"), call.get("name"), call.get("args", call.get("arguments"))))
    elif isinstance(result := part.get("toolResult"), dict):
        error = {"error": True, "success": False}.get(result["status"]) if isinstance(result.get("status"), str) else None
        answers.append(answer(result.get("toolUseId"), None, plain_content(result.get("content")), error))
    elif isinstance(response := part.get("functionResponse") or part.get("function_response"), dict):
        answers.append(answer(response.get("id"), response.get("name"), response.get("response"), None))


def _call(call: Any) -> ToolAsk | None:
    """One entry of `tool_calls`: OpenAI's with `function`, or LangChain's flat one."""
    if not isinstance(call, dict):
        return None
    function = as_dict(call.get("function"))
    source = function or call
    name, arguments = source.get("name"), source.get("arguments", source.get("args"))
    return ask(call.get("id"), name, arguments) if as_text(name) or as_id(call.get("id")) else None


def plain_content(value: Any) -> str | None:
    """A tool's result as text: a list of text blocks is their text, other values are JSON text."""
    if type(value) is str and value and value[0] > " " and value[0] not in "[{":
        return as_text(value)
    blocks = as_json(value)
    if isinstance(blocks, list) and blocks and all(_is_text_block(block) for block in blocks):
        return "\n".join(text for block in blocks if (text := block.get("text", block.get("content")))) or None
    return json_text(value)


def _is_text_block(block: Any) -> bool:
    if not isinstance(block, dict) or not block.keys() <= {"text", "type", "content", "id", "annotations", "index"}:
        return False
    kind = block.get("type", "text")
    return isinstance(block.get("text", block.get("content")), str) and isinstance(kind, str) and kind in _TEXT_TYPES
